//! `/topic/*` and `/channel/*`. Each is answered once its record is durable, so that what was answered also holds after a crash.

use hyper::Uri;

use super::Api;
use super::answer::{Rejected, Said};
use super::query::Query;
use super::route::Change;
use crate::queue::Commit;

impl Api {
    /// `POST /topic/CHANGE?topic=...`
    pub(super) async fn change_topic(&self, change: Change, uri: &Uri) -> Result<Said, Rejected> {
        let query = Query::parse(uri.query())?;
        let queue = &self.broker.queue;
        // nsqd looks at the name only where it makes or empties the topic.
        let topic = match change {
            Change::Create | Change::Empty => query.topic()?,
            Change::Delete | Change::Pause | Change::Unpause => query.existing_topic()?,
        };
        let commit = match change {
            Change::Create => queue.create_topic(&topic)?,
            Change::Delete => queue.delete_topic(&topic)?,
            Change::Empty => queue.empty_topic(&topic)?,
            Change::Pause => queue.pause_topic(&topic, true)?,
            Change::Unpause => queue.pause_topic(&topic, false)?,
        };
        self.done(commit).await
    }

    /// `POST /channel/CHANGE?topic=...&channel=...`
    pub(super) async fn change_channel(&self, change: Change, uri: &Uri) -> Result<Said, Rejected> {
        let (topic, channel) = Query::parse(uri.query())?.topic_and_channel()?;
        let queue = &self.broker.queue;
        let commit = match change {
            Change::Create => queue.create_channel(&topic, &channel)?,
            Change::Delete => queue.delete_channel(&topic, &channel)?,
            Change::Empty => queue.empty_channel(&topic, &channel)?,
            Change::Pause => queue.pause_channel(&topic, &channel, true)?,
            Change::Unpause => queue.pause_channel(&topic, &channel, false)?,
        };
        self.done(commit).await
    }

    async fn done(&self, commit: Commit) -> Result<Said, Rejected> {
        self.broker.queue.committed(commit).await?;
        Ok(Said::Nothing)
    }
}
