//! Corpus files, damaged: bytes changed, put in, taken out, cut off, two inputs in a row.

use std::fs;
use std::path::Path;

use bolero::TypeGenerator;

/// The files of a target's corpus, in the order of their names.
pub(crate) fn corpus(target: &str) -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/__fuzz__").join(target).join("corpus");
    let mut paths: Vec<_> = fs::read_dir(&dir)
        .unwrap_or_else(|error| panic!("{}: {error}", dir.display()))
        .map(|entry| entry.expect("readable").path())
        .collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).expect("readable")).collect()
}

#[derive(Debug, Clone, TypeGenerator)]
enum Damage {
    Set { at: u16, byte: u8 },
    Flip { at: u16, bit: u8 },
    Insert { at: u16, byte: u8 },
    Remove { at: u16, count: u8 },
    Append { other: u8 },
    Cut { at: u16 },
}

impl Damage {
    fn act(&self, bytes: &mut Vec<u8>, corpus: &[Vec<u8>]) {
        let place = |at: u16| usize::from(at) % (bytes.len() + 1);
        match *self {
            Self::Set { at, byte } => {
                let at = place(at);
                if let Some(place) = bytes.get_mut(at) {
                    *place = byte;
                }
            }
            Self::Flip { at, bit } => {
                let at = place(at);
                if let Some(place) = bytes.get_mut(at) {
                    *place ^= 1 << (bit % 8);
                }
            }
            Self::Insert { at, byte } => bytes.insert(place(at), byte),
            Self::Remove { at, count } => {
                let at = place(at);
                bytes.drain(at..(at + usize::from(count % 16)).min(bytes.len()));
            }
            Self::Append { other } => bytes.extend_from_slice(&corpus[usize::from(other) % corpus.len()]),
            Self::Cut { at } => bytes.truncate(place(at)),
        }
    }
}

fn damaged(target: &str, check: impl Fn(&[u8]) + std::panic::RefUnwindSafe) {
    let corpus = corpus(target);
    bolero::check!().with_type::<(u8, [Option<Damage>; 4])>().for_each(|(seed, damages)| {
        let mut bytes = corpus[usize::from(*seed) % corpus.len()].clone();
        for damage in damages.iter().flatten() {
            damage.act(&mut bytes, &corpus);
        }
        check(&bytes);
    });
}

#[test]
fn damaged_commands() {
    damaged("command__bytes", super::command::check);
}

#[test]
fn damaged_frames() {
    damaged("frame__bytes", super::frame::check);
}

#[test]
fn damaged_errors() {
    damaged("error_code__bytes", super::error_code::check);
}

#[test]
fn damaged_json() {
    damaged("identify__bytes", super::identify::check);
}

#[test]
fn damaged_names() {
    damaged("name__bytes", super::name::check);
}
