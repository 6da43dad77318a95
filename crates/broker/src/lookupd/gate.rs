//! Opens a new topic's gate once it has the channels that the cluster knows of.

use std::rc::Rc;
use std::time::Duration;

use serde::Deserialize;
use tokio::task::JoinSet;
use tokio::time::timeout;
use wire::{ChannelName, TopicName};

use super::peer::Peer;
use crate::outbound::GetError;
use crate::shared::BrokerShared;

/// How long a gate waits for the first dials of nsqlookupds, when a topic is made right after the start. A dial and an IDENTIFY take 1 s each at most.
const FIRST_DIAL: Duration = Duration::from_secs(2);

/// `/channels` of nsqlookupd, also with the envelope that it had before 1.0.
#[derive(Deserialize)]
#[serde(untagged)]
enum Listing {
    Bare { channels: Vec<String> },
    Enveloped { data: Bare },
}

#[derive(Deserialize)]
struct Bare {
    channels: Vec<String>,
}

/// Asks every nsqlookupd, creates the channels that any knows, but for those that are gone with their last client, and opens the gate. Whoever does
/// not answer in time is left out: a publish is worth more than a channel of another node.
pub(super) async fn open(topic: TopicName, peers: Vec<Rc<Peer>>, broker: Rc<BrokerShared>) {
    let mut asked = JoinSet::new();
    for peer in peers {
        asked.spawn_local(channels(peer, topic.clone(), Rc::clone(&broker)));
    }
    while let Some(answer) = asked.join_next().await {
        for channel in answer.unwrap_or_default() {
            if channel.is_ephemeral() {
                continue;
            }
            if let Err(error) = broker.queue.create_channel(&topic, &channel) {
                tracing::warn!(%topic, %channel, %error, "a channel that nsqlookupd knows cannot be created");
            }
        }
    }
    broker.queue.open_gate(&topic);
}

/// What one nsqlookupd knows. Its time is that of one question, the wait for its first dial included. It begins when there is a place to ask from:
/// an nsqlookupd that hangs must not use up the time of the questions behind it.
async fn channels(peer: Rc<Peer>, topic: TopicName, broker: Rc<BrokerShared>) -> Vec<ChannelName> {
    let outbound = &broker.outbound;
    let _place = outbound.place_for_cluster().await;
    let asked = async {
        let Ok(Some(address)) = timeout(FIRST_DIAL, peer.http_address()).await else {
            tracing::error!(%topic, "an nsqlookupd cannot be asked for the channels of a new topic");
            return Ok(Vec::new());
        };
        outbound.get(&url(&address, &topic)).await.map(|body| parse(&body))
    };
    match timeout(outbound.request_timeout(), asked).await.unwrap_or(Err(GetError::Late)) {
        Ok(channels) => channels,
        // nsqlookupd does not know the topic.
        Err(GetError::Status(404)) => Vec::new(),
        Err(error) => {
            let nsqlookupd = peer.address();
            tracing::warn!(%topic, nsqlookupd, %error, "an nsqlookupd does not say which channels a new topic has");
            Vec::new()
        }
    }
}

/// The one character of a name that would end a URL is that of `#ephemeral`.
fn url(address: &str, topic: &TopicName) -> String {
    format!("http://{address}/channels?topic={}", topic.as_str().replace('#', "%23"))
}

fn parse(body: &[u8]) -> Vec<ChannelName> {
    let channels = match serde_json::from_slice(body) {
        Ok(Listing::Bare { channels } | Listing::Enveloped { data: Bare { channels } }) => channels,
        Err(error) => {
            tracing::warn!(%error, "an nsqlookupd's channels cannot be read");
            Vec::new()
        }
    };
    channels.iter().filter_map(|name| ChannelName::new(name).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_read_with_and_without_an_envelope() {
        let read = |json: &str| parse(json.as_bytes()).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(read(r#"{"channels":["a","b#ephemeral","no good"]}"#), ["a", "b#ephemeral"]);
        assert_eq!(read(r#"{"status_code":200,"status_txt":"OK","data":{"channels":["a"]}}"#), ["a"]);
        assert_eq!(read("[]"), Vec::<String>::new());
    }

    #[test]
    fn an_ephemeral_topic_stays_whole() {
        let topic = TopicName::new("t#ephemeral").unwrap();
        assert_eq!(url("a:1", &topic), "http://a:1/channels?topic=t%23ephemeral");
    }
}
