//! The queue against a plain model of nsqd's topics and channels, through kills, checkpoints and rewriting.
//!
//! What the model does not say is in which order messages come: NSQ promises none.

use std::collections::{BTreeMap, VecDeque};

use super::*;

const TOPICS: [&str; 2] = ["t", "u"];
const CHANNELS: [&str; 3] = ["a", "b", "c"];

#[derive(Debug, Clone, Copy, PartialEq)]
enum Place {
    Ready,
    Deferred { due_ms: u64 },
    InFlight { consumer: usize },
}

#[derive(Debug, Clone, Copy)]
struct Message {
    place: Place,
    attempts: u16,
    /// Deliveries that a kill may have wiped out, or not: a checkpoint knows of them, the log does not.
    perhaps: u16,
}

#[derive(Debug, Default)]
struct ModelChannel {
    paused: bool,
    messages: BTreeMap<String, Message>,
}

#[derive(Debug, Default)]
struct ModelTopic {
    paused: bool,
    waiting: VecDeque<(String, u64)>,
    channels: BTreeMap<&'static str, ModelChannel>,
}

impl ModelTopic {
    fn fan_out(&mut self, now_ms: u64) {
        if self.paused || self.channels.is_empty() {
            return;
        }
        for (body, delay_ms) in self.waiting.drain(..) {
            let place =
                if delay_ms == 0 { Place::Ready } else { Place::Deferred { due_ms: now_ms + delay_ms } };
            for channel in self.channels.values_mut() {
                channel.messages.insert(body.clone(), Message { place, attempts: 0, perhaps: 0 });
            }
        }
    }
}

struct Consumer {
    topic: &'static str,
    channel: &'static str,
    subscription: Option<Subscription>,
    held: Vec<Handed>,
}

struct Model {
    chance: Chance,
    disk: Simulated,
    open: Option<Open>,
    topics: BTreeMap<&'static str, ModelTopic>,
    consumers: Vec<Consumer>,
    published: u64,
    began: tokio::time::Instant,
    steps: Vec<String>,
}

impl Model {
    fn open(&self) -> &Open {
        self.open.as_ref().expect("it is open between kills")
    }

    fn now_ms(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    fn channel(&mut self, at: usize) -> &mut ModelChannel {
        let consumer = &self.consumers[at];
        let topic = self.topics.get_mut(consumer.topic).expect("consumers go with their topic");
        topic.channels.get_mut(consumer.channel).expect("consumers go with their channel")
    }

    async fn publish(&mut self) {
        let to = TOPICS[self.chance.below(2) as usize];
        let delay_ms = if self.chance.below(5) == 0 { 1 + self.chance.below(3_000) } else { 0 };
        let bodies: Vec<String> = (0..1 + self.chance.below(6))
            .map(|_| {
                self.published += 1;
                format!("{}/{}", self.published, "x".repeat(self.chance.below(3_000) as usize))
            })
            .collect();
        let bytes: Vec<Bytes> = bodies.iter().cloned().map(Bytes::from).collect();
        let commit = self.open().queue.publish(&topic(to), &bytes, Duration::from_millis(delay_ms));
        let now_ms = self.now_ms();
        let model = self.topics.entry(to).or_default();
        model.waiting.extend(bodies.into_iter().map(|body| (body, delay_ms)));
        model.fan_out(now_ms);
        self.open().stored(commit).await;
    }

    async fn change(&mut self) {
        let to = TOPICS[self.chance.below(2) as usize];
        let name = CHANNELS[self.chance.below(3) as usize];
        let (on, what, now_ms) = (self.chance.below(2) == 0, self.chance.below(24), self.now_ms());
        let queue = self.open().queue.clone();
        let (there, has_channel) = match self.topics.get(to) {
            Some(topic) => (true, topic.channels.contains_key(name)),
            None => (false, false),
        };
        if !there {
            return;
        }
        let model = self.topics.get_mut(to).expect("it was just found");
        let commit = match what {
            0..4 => {
                model.paused = on;
                model.fan_out(now_ms);
                queue.pause_topic(&topic(to), on)
            }
            4..6 => {
                model.waiting.clear();
                queue.empty_topic(&topic(to))
            }
            6..12 => {
                model.channels.entry(name).or_default();
                model.fan_out(now_ms);
                queue.create_channel(&topic(to), &channel(name))
            }
            12..16 if has_channel => {
                model.channels.get_mut(name).expect("it has it").paused = on;
                queue.pause_channel(&topic(to), &channel(name), on)
            }
            16..18 if has_channel => {
                model.channels.get_mut(name).expect("it has it").messages.clear();
                self.let_go(to, Some(name));
                queue.empty_channel(&topic(to), &channel(name))
            }
            18 if has_channel => {
                model.channels.remove(name);
                let commit = queue.delete_channel(&topic(to), &channel(name));
                self.consumers.retain(|it| it.topic != to || it.channel != name);
                commit
            }
            19 if self.chance.below(4) == 0 => {
                self.topics.remove(to);
                let commit = queue.delete_topic(&topic(to));
                self.consumers.retain(|it| it.topic != to);
                commit
            }
            _ => return,
        };
        self.open().stored(commit).await;
    }

    /// What consumers of a channel hold is nobody's any more.
    fn let_go(&mut self, to: &str, name: Option<&str>) {
        let gone = self
            .consumers
            .iter_mut()
            .filter(|it| it.topic == to && name.is_none_or(|it_is| it.channel == it_is));
        gone.for_each(|consumer| consumer.held.clear());
    }

    fn subscribe(&mut self) {
        let to = TOPICS[self.chance.below(2) as usize];
        let name = CHANNELS[self.chance.below(3) as usize];
        let is_there = self.topics.get(to).is_some_and(|topic| topic.channels.contains_key(name));
        if is_there && self.consumers.len() < 5 {
            let subscription = self.open().subscribe_with(to, name, 1_000_000, Duration::from_secs(100_000));
            let subscription = Some(subscription);
            self.consumers.push(Consumer { topic: to, channel: name, subscription, held: Vec::new() });
        }
    }

    fn unsubscribe(&mut self) {
        if self.consumers.is_empty() {
            return;
        }
        let at = self.chance.below(self.consumers.len() as u64) as usize;
        let last = self.consumers.len() - 1;
        for message in self.channel(at).messages.values_mut() {
            if message.place == (Place::InFlight { consumer: at }) {
                message.place = Place::Ready;
            }
        }
        self.consumers.swap_remove(at);
        if at < self.consumers.len() {
            for message in self.channel(at).messages.values_mut() {
                if message.place == (Place::InFlight { consumer: last }) {
                    message.place = Place::InFlight { consumer: at };
                }
            }
        }
    }

    /// Everything in flight is renumbered after consumers went in other ways.
    fn renumber(&mut self) {
        for topic in self.topics.values_mut() {
            for channel in topic.channels.values_mut() {
                for message in channel.messages.values_mut() {
                    if let Place::InFlight { .. } = message.place {
                        message.place = Place::Ready;
                    }
                }
            }
        }
        for at in 0..self.consumers.len() {
            let held: Vec<String> = self.consumers[at].held.iter().map(text).collect();
            for body in held {
                let message =
                    self.channel(at).messages.get_mut(&body).expect("what is held is in the channel");
                message.place = Place::InFlight { consumer: at };
            }
        }
    }

    fn consume(&mut self) {
        if self.consumers.is_empty() {
            return;
        }
        let at = self.chance.below(self.consumers.len() as u64) as usize;
        let now_ms = self.now_ms();
        for _ in 0..self.chance.below(20) {
            let subscription = self.consumers[at].subscription.as_mut().expect("it is subscribed");
            let Some(handed) = take(subscription) else {
                let channel = self.channel(at);
                let left = channel.messages.iter().find(|(_, message)| match message.place {
                    Place::Ready => true,
                    Place::Deferred { due_ms } => due_ms < now_ms,
                    Place::InFlight { .. } => false,
                });
                assert!(channel.paused || left.is_none(), "not handed out: {:.30}", format!("{left:?}"));
                break;
            };
            let body = text(&handed);
            let channel = self.channel(at);
            assert!(!channel.paused);
            let message = channel.messages.get_mut(&body).expect("it is in the channel");
            match message.place {
                Place::Ready => {}
                Place::Deferred { due_ms } => assert!(due_ms <= now_ms, "before its time"),
                Place::InFlight { .. } => panic!("handed out twice"),
            }
            let attempts = message.attempts + 1..=message.attempts + 1 + message.perhaps;
            assert!(
                attempts.contains(&handed.head.attempts),
                "attempt {}, not {attempts:?}",
                handed.head.attempts
            );
            *message = Message {
                place: Place::InFlight { consumer: at },
                attempts: handed.head.attempts,
                perhaps: 0,
            };
            self.consumers[at].held.push(handed);
        }
    }

    fn settle(&mut self) {
        let held = self.consumers.iter().position(|consumer| !consumer.held.is_empty());
        let Some(at) = held else { return };
        for _ in 0..self.chance.below(20) {
            let now_ms = self.now_ms();
            if self.consumers[at].held.is_empty() {
                return;
            }
            let which = self.chance.below(self.consumers[at].held.len() as u64) as usize;
            let handed = self.consumers[at].held.swap_remove(which);
            let delay_ms = 1 + self.chance.below(4_000);
            let how = self.chance.below(5);
            let subscription = self.consumers[at].subscription.as_mut().expect("it is subscribed");
            let id = handed.head.id;
            match how {
                0 => subscription.requeue(id, Duration::ZERO),
                1 => subscription.requeue(id, Duration::from_millis(delay_ms)),
                _ => subscription.finish(id),
            }
            .expect("it is in flight");
            let channel = self.channel(at);
            let message = channel.messages.get_mut(&text(&handed)).expect("it is in the channel");
            match how {
                0 => message.place = Place::Ready,
                1 => message.place = Place::Deferred { due_ms: now_ms + delay_ms },
                _ => drop(channel.messages.remove(&text(&handed))),
            }
        }
    }

    /// What was not settled is ready again; how often it was handed out is known only of what was settled.
    async fn kill(&mut self, power: bool) {
        pass(250).await;
        let disk = if power { self.disk.crash() } else { self.disk.kill() };
        for consumer in self.consumers.drain(..) {
            std::mem::forget(consumer.subscription);
        }
        if let Some(open) = self.open.take() {
            open.forget().await;
        }
        self.disk = disk;
        self.open = Some(Open::on(&self.disk));
        let open = self.open.as_ref().expect("just opened");
        assert_eq!(open.recovery.skipped, 0, "{:?}", self.steps);
        for topic in self.topics.values_mut() {
            for message in topic.channels.values_mut().flat_map(|channel| channel.messages.values_mut()) {
                if let Place::InFlight { .. } = message.place {
                    message.place = Place::Ready;
                    message.attempts -= 1;
                    message.perhaps += 1;
                }
            }
        }
    }

    fn check(&self) {
        let now_ms = self.now_ms();
        let mut live = 0;
        assert_eq!(self.open().queue.topics().len(), self.topics.len());
        for (name, model) in &self.topics {
            let stats = self.open().topic_stats(name);
            assert_eq!((stats.depth, stats.paused), (model.waiting.len() as u64, model.paused));
            assert_eq!(stats.channels.len(), model.channels.len());
            let mut bodies: std::collections::BTreeSet<&String> =
                model.waiting.iter().map(|(body, _)| body).collect();
            for (name, model) in &model.channels {
                let stats = stats.channels.iter().find(|it| it.channel_name.as_str() == *name).expect(name);
                let count = |f: &dyn Fn(Place) -> bool| {
                    model.messages.values().filter(|message| f(message.place)).count() as u64
                };
                let in_flight = count(&|place| matches!(place, Place::InFlight { .. }));
                assert_eq!(stats.in_flight_count, in_flight);
                assert_eq!(stats.depth + stats.deferred_count, model.messages.len() as u64 - in_flight);
                // A millisecond's rounding may be on either side.
                let surely =
                    count(&|place| matches!(place, Place::Deferred { due_ms } if due_ms > now_ms + 2));
                let perhaps =
                    count(&|place| matches!(place, Place::Deferred { due_ms } if due_ms + 2 >= now_ms));
                assert!((surely..=perhaps).contains(&stats.deferred_count));
                bodies.extend(model.messages.keys());
            }
            live += bodies.len() as u64;
        }
        assert_eq!(self.open().queue.counters().messages, live, "what is live");
    }
}

fn run(seed: u64) -> u64 {
    println!("seed {seed}");
    simulate(async {
        let disk = Simulated::new(seed);
        let open = Some(Open::on(&disk));
        let mut model = Model {
            chance: Chance::new(seed + 1),
            disk,
            open,
            topics: BTreeMap::new(),
            consumers: Vec::new(),
            published: 0,
            began: tokio::time::Instant::now(),
            steps: Vec::new(),
        };
        for _ in 0..200 {
            let step = model.chance.below(40);
            model.steps.push(step.to_string());
            match step {
                0..10 => model.publish().await,
                10..15 => {
                    model.change().await;
                    model.renumber();
                }
                15..18 => model.subscribe(),
                18 => model.unsubscribe(),
                19..28 => model.consume(),
                28..37 => model.settle(),
                37 => {
                    let power = model.chance.below(2) == 0;
                    model.kill(power).await;
                }
                _ => pass(model.chance.below(1_500)).await,
            }
            model.check();
        }
        let moved = model.open().queue.counters().messages_moved;
        model.consumers.into_iter().for_each(drop);
        moved
    })
}

#[test]
fn it_is_what_the_model_says() {
    let moved: u64 = seeds(300, 20_000).map(run).sum();
    assert!(moved > 0, "no message was ever moved: the test tests less than it should");
}
