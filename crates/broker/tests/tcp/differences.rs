//! All that the two say differently over TCP, with the reason. `docs/broker.md` has the same list.

use crate::script::{Act, Both, alone, converse, say};

/// What is said, nsqd's transcript, the broker's, and why they differ.
struct Difference {
    name: &'static str,
    said: Vec<u8>,
    nsqd: &'static str,
    broker: &'static str,
    #[expect(dead_code, reason = "for the reader, and for docs/broker.md")]
    why: &'static str,
}

fn table() -> Vec<Difference> {
    let mpub = |size: u8, rest: &[u8]| [b"MPUB t\n\0\0\0", &[size][..], rest].concat();
    vec![
        Difference {
            name: "an MPUB that ends before its body does",
            said: mpub(11, b"\0\0\0\x01\0\0\0\x01aXX"),
            nsqd: "0 response OK\n0 end\n",
            broker: "0 error E_BAD_BODY MPUB body size 11 does not fit its messages, which end at 9\n0 end\n",
            why: "nsqd takes what is left for the next command",
        },
        Difference {
            name: "an MPUB that ends behind its body",
            said: mpub(9, b"\0\0\0\x01\0\0\0\x02abNOP\n"),
            nsqd: "0 response OK\n0 end\n",
            broker: "0 error E_BAD_MESSAGE MPUB message(0) ends behind the body\n0 end\n",
            why: "the length that a client states is believed; nsqd reads on",
        },
        Difference {
            name: "a RDY beyond 64 bits",
            // A topic of its own: nsqd hands out what is there.
            said: b"SUB empty c\nRDY 18446744073709551617\n".to_vec(),
            nsqd: "0 response OK\n0 end\n",
            broker: "0 response OK\n0 error E_INVALID RDY count 18446744073709551615 out of range 0-2500\n0 end\n",
            why: "nsqd's number wraps: this was RDY 1",
        },
        Difference {
            name: "a DPUB delay beyond 64 bits",
            said: b"DPUB t 18446744073709551617\n\0\0\0\x01x".to_vec(),
            nsqd: "0 response OK\n0 end\n",
            broker: "0 error E_INVALID DPUB timeout 18446744073709551615 out of range 0-3600000\n0 end\n",
            why: "likewise",
        },
        Difference {
            name: "a command that is no text",
            said: b"\x1b[2J\xff\n".to_vec(),
            nsqd: "0 error E_INVALID invalid command \u{1b}[2J\u{fffd}\n0 end\n",
            broker: "0 error E_INVALID invalid command \\x1b[2J\\xff\n0 end\n",
            why: "what is sent back may end in a log or on a terminal: it is made printable, and cut after 512 bytes",
        },
    ]
}

#[test]
fn every_listed_difference_is_one_and_no_other() {
    let both = Both::plain();
    for Difference { name, said, nsqd, broker, .. } in table() {
        let steps = alone([say(said), Act::Half, Act::End]);
        assert_eq!(converse(both.nsqd.tcp_address(), &steps), nsqd, "{name}: nsqd");
        assert_eq!(converse(both.broker.tcp(), &steps), broker, "{name}: the broker");
    }
}

/// REQ's delay is cut to the longest there is. nsqd's overflows, and the message comes back at once.
#[test]
fn a_delay_beyond_all_bounds_is_the_longest_there_is() {
    let both = Both::plain();
    let steps = alone([
        say("SUB t c\nRDY 1\nPUB t\n\0\0\0\x01x"),
        Act::Hear(3),
        say("REQ {0} 10000000000000\nPUB t\n\0\0\0\x01y"),
        Act::Hear(2),
    ]);
    let messages = |transcript: &str| -> Vec<String> {
        transcript.lines().filter(|line| line.contains("message")).map(str::to_owned).collect()
    };
    let theirs = messages(&converse(both.nsqd.tcp_address(), &steps));
    assert_eq!(theirs, ["0 message #0 attempt 1 x", "0 message #0 attempt 2 x"]);
    let ours = messages(&converse(both.broker.tcp(), &steps));
    assert_eq!(ours, ["0 message #0 attempt 1 x", "0 message #1 attempt 1 y"]);
}
