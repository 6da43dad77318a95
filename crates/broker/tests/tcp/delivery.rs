//! Messages on their way: handed out, settled, requeued, timed out, deferred, by one and by several clients.

use broker::Settings;
use wire::{Command, IdentifyRequest};

use crate::script::{Act, Both, alone, commands, identify, mpub, publish, say};
use crate::served::settings;

/// A topic with its channel, so that everything published is fanned out at once.
fn subscribed(topic: &str) -> Act {
    commands(&[Command::Sub { topic, channel: "c" }])
}

#[test]
fn a_message_is_finished_once() {
    let both = Both::plain();
    both.agree(
        "finish",
        &alone([
            subscribed("finish"),
            Act::Hear(1),
            publish("finish", "hello"),
            Act::Hear(1),
            say("RDY 1\n"),
            Act::Hear(1),
            say("FIN {0}\nFIN {0}\nTOUCH {0}\nREQ {0} 0\nFIN 0123456789abcdef\n"),
            Act::Hear(4),
            Act::Half,
            Act::End,
        ]),
    );
}

#[test]
fn a_requeued_message_comes_again_with_its_attempts() {
    let both = Both::plain();
    both.agree(
        "requeue",
        &alone([
            subscribed("requeue"),
            Act::Hear(1),
            publish("requeue", "hello"),
            Act::Hear(1),
            say("RDY 1\n"),
            Act::Hear(1),
            say("REQ {0} 0\n"),
            Act::Hear(1),
            say("REQ {0} 300\nREQ {0} 300\n"),
            Act::Hear(2),
            say("TOUCH {0}\nFIN {0}\nFIN {0}\n"),
            Act::Hear(1),
            Act::Half,
            Act::End,
        ]),
    );
}

#[test]
fn only_its_owner_settles_a_message() {
    let both = Both::plain();
    let mut steps = alone([
        subscribed("owner"),
        Act::Hear(1),
        publish("owner", "hello"),
        Act::Hear(1),
        say("RDY 1\n"),
        Act::Hear(1),
    ]);
    steps.extend([
        (1, subscribed("owner")),
        (1, Act::Hear(1)),
        (1, say("FIN {0}\nREQ {0} 0\nTOUCH {0}\nNOP\n")),
        (1, Act::Hear(3)),
        // Given back by the first, it comes to the second, and then the first owns it no more.
        (1, say("RDY 1\n")),
        (0, say("RDY 0\nREQ {0} 0\n")),
        (1, Act::Hear(1)),
        (0, say("FIN {0}\n")),
        (0, Act::Hear(1)),
        (1, say("FIN {0}\n")),
        (1, Act::Half),
        (1, Act::End),
    ]);
    both.agree("owner", &steps);
}

#[test]
fn a_closing_client_may_settle_and_nothing_else() {
    let both = Both::plain();
    both.agree(
        "closing",
        &alone([
            subscribed("closing"),
            Act::Hear(1),
            mpub("closing", &["a", "b"]),
            Act::Hear(1),
            say("RDY 1\n"),
            Act::Hear(1),
            say("CLS\n"),
            Act::Hear(1),
            say("RDY 100\nTOUCH {0}\nFIN {0}\nFIN {0}\nRDY nonsense\nPUB closing\n\0\0\0\x01cCLS\n"),
            Act::End,
        ]),
    );
}

#[test]
fn ready_is_a_ceiling() {
    let both = Both::plain();
    both.agree(
        "ready",
        &alone([
            subscribed("ready"),
            Act::Hear(1),
            mpub("ready", &["a", "b", "c", "d", "e"]),
            Act::Hear(1),
            say("RDY 2\n"),
            Act::Hear(2),
            say("FIN {0}\n"),
            Act::Hear(1),
            say("RDY 4\n"),
            Act::Hear(2),
            say("RDY 0\nFIN {1}\nFIN {2}\nFIN {3}\nFIN {4}\nFIN {4}\n"),
            Act::Hear(1),
        ]),
    );
}

#[test]
fn what_was_published_before_there_was_a_channel_goes_to_the_first() {
    let both = Both::plain();
    let mut steps = alone([publish("first", "a"), publish("first", "b"), Act::Hear(2), subscribed("first")]);
    steps.extend([
        (0, Act::Hear(1)),
        (0, say("RDY 2\n")),
        (0, Act::Hear(2)),
        (1, say("SUB first other\nRDY 10\n")),
        (1, Act::Hear(1)),
        (1, publish("first", "c")),
        (0, say("FIN {0}\nFIN {1}\n")),
        (0, Act::Hear(1)),
    ]);
    both.agree("first", &steps);
}

#[test]
fn a_deferred_message_comes_later() {
    let both = Both::plain();
    both.agree(
        "deferred",
        &alone([
            subscribed("deferred"),
            Act::Hear(1),
            say("RDY 5\n"),
            commands(&[Command::Dpub { topic: "deferred", delay_ms: 700, body: b"late" }]),
            Act::Hear(1),
            publish("deferred", "early"),
            Act::HearAny(2),
            Act::Hear(1),
            say("FIN {0}\nFIN {1}\nFIN {1}\n"),
            Act::Hear(1),
        ]),
    );
}

#[test]
fn a_message_whose_time_is_up_comes_again() {
    let both = Both::start(&["--msg-timeout=2s"], settings());
    let request = IdentifyRequest { msg_timeout_ms: Some(1_000), ..IdentifyRequest::default() };
    both.agree(
        "timeout",
        &alone([
            identify(&request),
            Act::Hear(1),
            subscribed("timeout"),
            Act::Hear(1),
            publish("timeout", "hello"),
            Act::Hear(1),
            say("RDY 1\n"),
            Act::Hear(2),
            say("RDY 0\nFIN {0}\nFIN {0}\n"),
            Act::Hear(1),
        ]),
    );
}

#[test]
fn a_heartbeat_comes_when_it_was_asked_for() {
    let both = Both::plain();
    let request = IdentifyRequest { heartbeat_interval_ms: Some(1_000), ..IdentifyRequest::default() };
    let steps = [
        identify(&request),
        Act::Hear(2),
        say("NOP\n"),
        Act::Hear(1),
        publish("heartbeat", "x"),
        Act::Hear(1),
        Act::Half,
        Act::End,
    ];
    both.agree("heartbeat", &alone(steps));
}

#[test]
fn a_channel_takes_so_many_consumers() {
    let flags = ["--max-channel-consumers=1"];
    let both = Both::start(&flags, Settings { max_channel_consumers: 1, ..settings() });
    let steps = [
        (0, say("SUB few c\n")),
        (0, Act::Hear(1)),
        (1, say("SUB few other\n")),
        (1, Act::Hear(1)),
        (2, say("SUB few c\n")),
        (2, Act::End),
        (0, Act::Half),
        (0, Act::End),
        (3, say("SUB few c\n")),
        (3, Act::Hear(1)),
    ];
    both.agree("consumers", &steps);
}

#[test]
fn ephemeral_channels_hand_out_too() {
    let both = Both::plain();
    for (topic, channel) in [("e", "c#ephemeral"), ("e#ephemeral", "c"), ("f#ephemeral", "c#ephemeral")] {
        both.agree(
            topic,
            &alone([
                commands(&[Command::Sub { topic, channel }]),
                Act::Hear(1),
                publish(topic, "hello"),
                Act::Hear(1),
                say("RDY 1\n"),
                Act::Hear(1),
                say("REQ {0} 0\n"),
                Act::Hear(1),
                say("FIN {0}\nFIN {0}\n"),
                Act::Hear(1),
                Act::Half,
                Act::End,
            ]),
        );
    }
}
