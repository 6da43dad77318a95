//! One connection in `/stats`.

use std::cell::Ref;
use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::super::go;
use crate::client::Client;

#[derive(Serialize)]
pub(super) struct ClientJson {
    client_id: String,
    hostname: String,
    version: &'static str,
    remote_address: String,
    state: i32,
    ready_count: u32,
    in_flight_count: i64,
    message_count: u64,
    finish_count: u64,
    requeue_count: u64,
    connect_ts: i64,
    sample_rate: i32,
    deflate: bool,
    snappy: bool,
    user_agent: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    authed: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    auth_identity: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    auth_identity_url: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub_counts: Vec<PubCount>,
    tls: bool,
    tls_cipher_suite: String,
    tls_version: String,
    tls_negotiated_protocol: String,
    tls_negotiated_protocol_is_mutual: bool,
}

#[derive(Serialize)]
struct PubCount {
    topic: String,
    count: u64,
}

/// What it has published: to `topic` only, if one is given.
fn pub_counts(client: &Client, topic: Option<&str>) -> Vec<PubCount> {
    let counts = client.pub_counts.borrow();
    let shown = counts.iter().filter(|(name, _)| topic.is_none_or(|topic| topic == name.as_str()));
    shown.map(|(topic, count)| PubCount { topic: topic.to_string(), count: *count }).collect()
}

pub(super) fn json(client: &Client, topic: Option<&str>) -> ClientJson {
    let tls = Ref::map(client.tls.borrow(), |tls| tls).clone();
    let text = |text: &std::cell::RefCell<String>| text.borrow().clone();
    ClientJson {
        client_id: text(&client.client_id),
        hostname: text(&client.hostname),
        version: client.version,
        remote_address: client.remote_address.clone(),
        state: client.state.get(),
        ready_count: client.ready_count.get(),
        in_flight_count: client.in_flight_count.get(),
        message_count: client.message_count.get(),
        finish_count: client.finish_count.get(),
        requeue_count: client.requeue_count.get(),
        connect_ts: client.connect_ts,
        sample_rate: client.sample_rate.get(),
        deflate: client.deflate.get(),
        snappy: client.snappy.get(),
        user_agent: text(&client.user_agent),
        authed: client.authed.get(),
        auth_identity: text(&client.auth_identity),
        auth_identity_url: text(&client.auth_identity_url),
        pub_counts: pub_counts(client, topic),
        tls: tls.is_some(),
        tls_negotiated_protocol_is_mutual: tls.as_ref().is_some_and(|tls| tls.negotiated_protocol_is_mutual),
        tls_cipher_suite: tls.as_ref().map(|tls| tls.cipher_suite.clone()).unwrap_or_default(),
        tls_version: tls.as_ref().map(|tls| tls.version.clone()).unwrap_or_default(),
        tls_negotiated_protocol: tls.map(|tls| tls.negotiated_protocol).unwrap_or_default(),
    }
}

/// The line of the text form; another one for who has published.
pub(super) fn line(client: &Client, topic: Option<&str>, now: SystemTime) -> String {
    let connected = u64::try_from(go::unix(now) - client.connect_ts).unwrap_or(0);
    let connected = go::duration(Duration::from_secs(connected));
    let port = client.remote_address.rsplit_once(':').map_or("", |(_, port)| port);
    let id = format!("{}:{port} {}", client.hostname.borrow(), client.user_agent.borrow());
    let mut line = format!("[{} {id:<21}] ", client.version);
    let counts = pub_counts(client, topic);
    if counts.is_empty() {
        write!(
            line,
            "state: {} inflt: {:<4} rdy: {:<4} fin: {:<8} re-q: {:<8} msgs: {:<8} connected: {connected}",
            client.state.get(),
            client.in_flight_count.get(),
            client.ready_count.get(),
            client.finish_count.get(),
            client.requeue_count.get(),
            client.message_count.get(),
        )
        .expect("a String takes everything");
        return line;
    }
    let total: u64 = counts.iter().map(|count| count.count).sum();
    let topics: Vec<String> = counts.iter().map(|count| format!("{}={}", count.topic, count.count)).collect();
    write!(line, "msgs: {total:<8} topics: {} connected: {connected}", topics.join(","))
        .expect("a String takes everything");
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::TopicName;

    fn client() -> Client {
        let client = Client::new(7, "127.0.0.1:5000".to_owned(), 1_000, Duration::from_secs(60));
        client.user_agent.replace("agent/1".to_owned());
        client
    }

    #[test]
    fn a_consumer_has_its_line() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_065);
        let client = client();
        client.ready_count.set(200);
        assert_eq!(
            line(&client, None, now),
            "[V2 127.0.0.1:5000 agent/1] state: 0 inflt: 0    rdy: 200  fin: 0        re-q: 0        msgs: 0        \
             connected: 1m5s"
        );
    }

    #[test]
    fn a_producer_is_told_by_its_topics() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        let client = client();
        for (topic, messages) in [("a", 2), ("b", 3)] {
            client.count_published(&TopicName::new(topic).unwrap(), messages);
        }
        assert_eq!(
            line(&client, None, now),
            "[V2 127.0.0.1:5000 agent/1] msgs: 5        topics: a=2,b=3 connected: 0s"
        );
        assert!(line(&client, Some("b"), now).contains("msgs: 3        topics: b=3"));
        assert!(line(&client, Some("c"), now).contains("state: 0"));
    }

    #[test]
    fn json_leaves_out_what_nsqd_leaves_out() {
        let text = |client: &Client| serde_json::to_string(&json(client, None)).unwrap();
        let client = client();
        assert!(!text(&client).contains("auth") && !text(&client).contains("pub_counts"));
        client.authed.set(true);
        client.auth_identity.replace("me".to_owned());
        client.count_published(&TopicName::new("a").unwrap(), 1);
        assert!(text(&client).contains(
            r#""user_agent":"agent/1","authed":true,"auth_identity":"me","pub_counts":[{"topic":"a","count":1}],"tls":false"#
        ));
    }
}
