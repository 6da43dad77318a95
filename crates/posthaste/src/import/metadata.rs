//! nsqd's list of topics and channels, `nsqd.dat`: JSON.

use std::io;
use std::path::Path;

use serde::Deserialize;

/// The file's name.
pub(super) const FILE: &str = "nsqd.dat";

/// All of it.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Metadata {
    #[serde(default)]
    pub(super) topics: Vec<Topic>,
}

/// A topic.
#[derive(Debug, Deserialize)]
pub(super) struct Topic {
    pub(super) name: String,
    #[serde(default)]
    pub(super) paused: bool,
    // Go writes an empty list as null.
    #[serde(default)]
    pub(super) channels: Option<Vec<Channel>>,
}

/// A channel.
#[derive(Debug, Deserialize)]
pub(super) struct Channel {
    pub(super) name: String,
    #[serde(default)]
    pub(super) paused: bool,
}

/// Reads it; where there is none, there are no topics.
pub(super) fn read(folder: &Path) -> io::Result<Metadata> {
    match std::fs::read(folder.join(FILE)) {
        Ok(text) => serde_json::from_slice(&text).map_err(io::Error::from),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Metadata::default()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nsqds_own_file_is_read() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        assert!(read(folder.path()).expect("nothing is fine").topics.is_empty());
        let text = r#"{"topics":[{"channels":[{"name":"a","paused":true}],"name":"events","paused":false},
                       {"channels":[],"name":"idle","paused":true},{"channels":null,"name":"null"}],"version":"1.3.0"}"#;
        std::fs::write(folder.path().join(FILE), text).expect("the folder is ours");
        let metadata = read(folder.path()).expect("it is JSON");
        assert_eq!(metadata.topics.len(), 3);
        assert!(metadata.topics[1].paused && metadata.topics[0].channels.as_ref().expect("some")[0].paused);
        std::fs::write(folder.path().join(FILE), "{").expect("the folder is ours");
        assert!(read(folder.path()).is_err());
    }
}
