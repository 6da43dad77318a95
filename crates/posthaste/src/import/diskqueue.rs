//! One queue as nsqd leaves it on disk: `NAME.diskqueue.000000.dat` and on, and `NAME.diskqueue.meta.dat`.
//!
//! A data file is messages end to end, each behind its length (32 bits, big-endian): timestamp (64 bits), attempts (16 bits),
//! id (16 hex digits), body. The meta file says how many there are, and where reading and writing stand, as file number
//! and offset. It is written now and then only, so it is believed for one thing: where reading stood. What the data files
//! hold behind that is read to their ends, whatever the meta file says of writing: after a kill it lags behind, and nsqd
//! itself drops messages by it. Some may then come twice, none is lost.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use bytes::Bytes;

/// Timestamp, attempts and id.
const HEAD_BYTES: usize = 8 + 2 + 16;
/// No nsqd was ever told to take a message so large: a length above it is damage.
const MESSAGE_BYTES_MAX: usize = 1 << 30;

/// A message out of a data file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stored {
    /// Nanoseconds since 1970.
    pub(super) timestamp: i64,
    pub(super) attempts: u16,
    pub(super) id: [u8; 16],
    pub(super) body: Bytes,
}

/// The messages of one queue, in order.
#[derive(Debug)]
pub(super) struct DiskQueue {
    /// Files still to be read, the next one last.
    files: Vec<PathBuf>,
    current: Option<Current>,
    /// Where reading stood in the first file.
    offset: u64,
    /// Bytes that could not be read as messages: the rest of the file that each stood in.
    damaged_bytes: u64,
}

#[derive(Debug)]
struct Current {
    reader: BufReader<File>,
    left: u64,
}

impl DiskQueue {
    /// The queue of this name in `folder`; one without files is empty.
    pub(super) fn open(folder: &Path, name: &str) -> io::Result<DiskQueue> {
        let (read_file, offset) = read_position(&folder.join(format!("{name}.diskqueue.meta.dat")))?;
        let mut files: Vec<(u64, PathBuf)> = std::fs::read_dir(folder)?
            .filter_map(|entry| {
                let path = entry.ok()?.path();
                let (queue, number) = numbered_file(path.file_name()?.to_str()?)?;
                (queue == name && number >= read_file).then_some((number, path))
            })
            .collect();
        files.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
        // The offset is of that very file; were it gone, the next one is read from its start.
        let offset = if files.last().is_some_and(|(number, _)| *number == read_file) { offset } else { 0 };
        let files = files.into_iter().map(|(_, path)| path).collect();
        Ok(DiskQueue { files, current: None, offset, damaged_bytes: 0 })
    }

    pub(super) fn damaged_bytes(&self) -> u64 {
        self.damaged_bytes
    }

    fn next_file(&mut self) -> io::Result<bool> {
        let Some(path) = self.files.pop() else { return Ok(false) };
        let mut file = File::open(path)?;
        let bytes = file.metadata()?.len();
        let offset = std::mem::take(&mut self.offset).min(bytes);
        file.seek(SeekFrom::Start(offset))?;
        self.current =
            Some(Current { reader: BufReader::with_capacity(1 << 20, file), left: bytes - offset });
        Ok(true)
    }

    /// The next message; `None` at the end of the last file.
    pub(super) fn next(&mut self) -> io::Result<Option<Stored>> {
        loop {
            let Some(current) = &mut self.current else {
                if self.next_file()? {
                    continue;
                }
                return Ok(None);
            };
            match current.next()? {
                Some(stored) => return Ok(Some(stored)),
                None => {
                    self.damaged_bytes += current.left;
                    self.current = None;
                }
            }
        }
    }
}

impl Current {
    /// The next message; `None` where there is none, with `left` the bytes that are no message.
    fn next(&mut self) -> io::Result<Option<Stored>> {
        let mut head = [0; 4 + HEAD_BYTES];
        if self.left < head.len() as u64 {
            return Ok(None);
        }
        self.reader.read_exact(&mut head)?;
        let [a, b, c, d, head @ ..] = head;
        let bytes = u32::from_be_bytes([a, b, c, d]) as usize;
        if !(HEAD_BYTES..=MESSAGE_BYTES_MAX).contains(&bytes) || (bytes + 4) as u64 > self.left {
            return Ok(None);
        }
        let mut body = vec![0; bytes - HEAD_BYTES];
        self.reader.read_exact(&mut body)?;
        self.left -= (bytes + 4) as u64;
        let (timestamp, rest) = head.split_first_chunk().expect("the head has 26 bytes");
        let (attempts, id) = rest.split_first_chunk().expect("18 bytes are left");
        Ok(Some(Stored {
            timestamp: i64::from_be_bytes(*timestamp),
            attempts: u16::from_be_bytes(*attempts),
            id: id.try_into().expect("16 bytes are left"),
            body: body.into(),
        }))
    }
}

/// Where reading stood, file number and offset: the second line of the meta file. Without one, at the beginning.
fn read_position(meta: &Path) -> io::Result<(u64, u64)> {
    let text = match std::fs::read_to_string(meta) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((0, 0)),
        Err(error) => return Err(error),
    };
    let position = text.lines().nth(1).and_then(|line| {
        let (file, offset) = line.split_once(',')?;
        Some((file.parse().ok()?, offset.parse().ok()?))
    });
    // One that cannot be read is treated like one that is not there.
    Ok(position.unwrap_or_default())
}

/// Queue and number of a data file's name.
pub(super) fn numbered_file(name: &str) -> Option<(&str, u64)> {
    let (queue, number) = name.strip_suffix(".dat")?.rsplit_once(".diskqueue.")?;
    let digits = number.len() >= 6 && number.bytes().all(|byte| byte.is_ascii_digit());
    Some((queue, number.parse().ok().filter(|_| digits)?))
}

/// Queue of a meta file's name.
pub(super) fn meta_file(name: &str) -> Option<&str> {
    name.strip_suffix(".diskqueue.meta.dat")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(serial: u8) -> Vec<u8> {
        let mut message = 1_000_i64.to_be_bytes().to_vec();
        message.extend(u16::from(serial).to_be_bytes());
        message.extend(b"0123456789abcdef");
        message.extend(vec![serial; serial.into()]);
        let mut bytes = u32::try_from(message.len()).unwrap().to_be_bytes().to_vec();
        bytes.extend(message);
        bytes
    }

    fn attempts(folder: &Path, name: &str) -> (Vec<u16>, u64) {
        let mut queue = DiskQueue::open(folder, name).unwrap();
        let mut found = Vec::new();
        while let Some(message) = queue.next().unwrap() {
            assert_eq!(message.body.len(), usize::from(message.attempts));
            found.push(message.attempts);
        }
        (found, queue.damaged_bytes())
    }

    #[test]
    fn names_of_files_are_told_apart_whatever_the_topics_are_called() {
        assert_eq!(numbered_file("events:a#1.diskqueue.000007.dat"), Some(("events:a#1", 7)));
        assert_eq!(numbered_file("a.diskqueue.meta.diskqueue.000000.dat"), Some(("a.diskqueue.meta", 0)));
        assert_eq!(numbered_file("a.diskqueue.1000000.dat"), Some(("a", 1_000_000)));
        for other in ["a.diskqueue.meta.dat", "a.diskqueue.000000.dat.bad", "a.diskqueue.1.dat", "nsqd.dat"] {
            assert_eq!(numbered_file(other), None, "{other}");
        }
        assert_eq!(meta_file("a:b.diskqueue.meta.dat"), Some("a:b"));
    }

    #[test]
    fn reading_begins_where_it_stood_and_goes_to_the_end_of_the_last_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes: Vec<u8>| std::fs::write(folder.path().join(name), bytes).unwrap();
        file("q.diskqueue.000001.dat", [stored(1), stored(2)].concat());
        file("q.diskqueue.000002.dat", [stored(3), stored(4)].concat());
        file("q.diskqueue.000010.dat", stored(5));
        file("other.diskqueue.000002.dat", stored(9));
        assert_eq!(attempts(folder.path(), "q").0, [1, 2, 3, 4, 5]);
        let second = stored(1).len();
        // What it says of writing is behind the times.
        file("q.diskqueue.meta.dat", format!("1\n1,{second}\n1,{second}\n").into_bytes());
        assert_eq!(attempts(folder.path(), "q"), (vec![2, 3, 4, 5], 0));
        file("q.diskqueue.meta.dat", b"3\n3,77\n9,9\n".to_vec());
        assert_eq!(attempts(folder.path(), "q"), (vec![5], 0));
        file("q.diskqueue.meta.dat", b"nonsense".to_vec());
        assert_eq!(attempts(folder.path(), "q").0.len(), 5);
        assert_eq!(attempts(folder.path(), "none"), (vec![], 0));
    }

    #[test]
    fn damage_costs_the_rest_of_its_file_and_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes: Vec<u8>| std::fs::write(folder.path().join(name), bytes).unwrap();
        let torn = &stored(2)[..20];
        file("q.diskqueue.000000.dat", [&stored(1)[..], torn].concat());
        file("q.diskqueue.000001.dat", [vec![0xff; 64], stored(3)].concat());
        file("q.diskqueue.000002.dat", stored(4));
        let lost = torn.len() + 64 + stored(3).len();
        assert_eq!(attempts(folder.path(), "q"), (vec![1, 4], lost as u64));
    }
}
