//! What an nsqlookupd is told of this node, as a set, and the commands that turn one set into another.

use std::collections::BTreeSet;

use wire::{ChannelName, TopicName};

use crate::queue::Queue;

/// A topic, or one of its channels.
pub(super) type Registration = (TopicName, Option<ChannelName>);

/// Topics and channels. Ordered: a topic stands before its channels.
pub(super) type Registrations = BTreeSet<Registration>;

/// Everything that the queue has now.
pub(super) fn of(queue: &Queue) -> Registrations {
    let mut all = Registrations::new();
    for topic in queue.topics() {
        let channels = queue.channels(&topic).unwrap_or_default();
        all.extend(channels.into_iter().map(|channel| (topic.clone(), Some(channel))));
        all.insert((topic, None));
    }
    all
}

/// One command, and what is registered once it was answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    Register(Registration),
    /// Without a channel: the topic with all its channels.
    Unregister(Registration),
}

impl Step {
    /// As it goes over the wire.
    pub(super) fn command(&self) -> Vec<u8> {
        let (verb, (topic, channel)) = match self {
            Self::Register(registration) => ("REGISTER", registration),
            Self::Unregister(registration) => ("UNREGISTER", registration),
        };
        match channel {
            Some(channel) => format!("{verb} {topic} {channel}\n"),
            None => format!("{verb} {topic}\n"),
        }
        .into_bytes()
    }
}

/// What is to be said so that `registered` becomes `wanted`. What goes is said first.
pub(super) fn steps(registered: &Registrations, wanted: &Registrations) -> Vec<Step> {
    let gone = registered.difference(wanted).filter(|(topic, channel)| {
        // nsqlookupd drops the channels with the topic.
        channel.is_none() || wanted.contains(&(topic.clone(), None))
    });
    let new = wanted.difference(registered);
    gone.cloned().map(Step::Unregister).chain(new.cloned().map(Step::Register)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> Registrations {
        let registration = |name: &&str| {
            let (topic, channel) = name.split_once('/').map_or((*name, None), |(t, c)| (t, Some(c)));
            (TopicName::new(topic).unwrap(), channel.map(|channel| ChannelName::new(channel).unwrap()))
        };
        names.iter().map(registration).collect()
    }

    fn said(registered: &[&str], wanted: &[&str]) -> Vec<String> {
        let steps = steps(&set(registered), &set(wanted));
        steps.iter().map(|step| String::from_utf8(step.command()).unwrap()).collect()
    }

    #[test]
    fn only_the_difference_is_said() {
        assert_eq!(said(&[], &["t", "t/c", "u"]), ["REGISTER t\n", "REGISTER t c\n", "REGISTER u\n"]);
        assert_eq!(said(&["t", "t/c"], &["t", "t/c"]), Vec::<String>::new());
        assert_eq!(said(&["t", "t/c"], &["t", "t/d"]), ["UNREGISTER t c\n", "REGISTER t d\n"]);
    }

    #[test]
    fn a_topic_that_goes_takes_its_channels_along() {
        assert_eq!(said(&["t", "t/c", "u"], &["u"]), ["UNREGISTER t\n"]);
    }
}
