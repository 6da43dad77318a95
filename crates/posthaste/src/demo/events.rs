//! What the demo sends: made-up events of a shop, the same ones at every run, or the lines of the user's own file.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::{Context, bail};
use bytes::Bytes;

use super::EVENTS_MAX;

/// nsqd's default limit, which the embedded queue has too.
const EVENT_BYTES_MAX: usize = 1 << 20;
/// All of them are held in memory, to be sent twice.
const BYTES_MAX: usize = 1 << 30;

const KINDS: [&str; 6] =
    ["order.created", "order.paid", "order.shipped", "cart.updated", "customer.signed_up", "refund.issued"];
const CITIES: [&str; 6] = ["Lisboa", "Köln", "Nairobi", "Osaka", "Montréal", "Quito"];
const GOODS: [&str; 6] = ["lamp", "kettle", "notebook", "rain coat", "desk", "headphones"];

/// Makes `count` of them.
pub(super) fn make(count: u32) -> Vec<Bytes> {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    (0..count).map(|serial| event(serial, &mut dice)).collect()
}

fn event(serial: u32, dice: &mut Dice) -> Bytes {
    let kind = dice.one_of(&KINDS);
    let items: Vec<String> = (0..=dice.below(3))
        .map(|_| {
            let (good, pieces, cents) = (dice.one_of(&GOODS), 1 + dice.below(4), 199 + dice.below(19_800));
            format!(r#"{{"name":"{good}","pieces":{pieces},"unit_price_cents":{cents}}}"#)
        })
        .collect();
    let (customer, city) = (dice.below(50_000), dice.one_of(&CITIES));
    let second = serial / 50;
    format!(
        r#"{{"id":"evt_{serial:08}","type":"{kind}","created":"2026-01-15T{:02}:{:02}:{:02}Z","customer":{{"id":"cus_{customer:05}","city":"{city}"}},"items":[{}],"currency":"EUR"}}"#,
        second / 3_600 % 24,
        second / 60 % 60,
        second % 60,
        items.join(",")
    )
    .into()
}

/// xorshift64*: made-up events need no better source, and the same one every time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u32) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) % u64::from(bound)) as u32
    }

    fn one_of<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.below(u32::try_from(words.len()).expect("a handful of words")) as usize]
    }
}

/// Reads a file, a line an event; empty lines are none.
///
/// # Errors
/// When it cannot be read, holds none, too many, or one that the queue would refuse.
pub(super) fn read(path: &Path) -> anyhow::Result<Vec<Bytes>> {
    let shown = path.display();
    let mut reader = BufReader::new(File::open(path).with_context(|| format!("cannot open {shown}"))?);
    let (mut events, mut total, mut line) = (Vec::new(), 0, Vec::new());
    for number in 1_u64.. {
        line.clear();
        if reader.read_until(b'\n', &mut line).with_context(|| format!("cannot read {shown}"))? == 0 {
            break;
        }
        let event = line.strip_suffix(b"\n").unwrap_or(&line);
        let event = event.strip_suffix(b"\r").unwrap_or(event);
        if event.is_empty() {
            continue;
        }
        total += event.len();
        if event.len() > EVENT_BYTES_MAX {
            bail!("{shown}:{number}: {} bytes, and a message has {EVENT_BYTES_MAX} at most", event.len());
        }
        if events.len() == EVENTS_MAX as usize || total > BYTES_MAX {
            bail!("{shown}:{number}: the demo takes {EVENTS_MAX} events and {BYTES_MAX} bytes at most");
        }
        events.push(Bytes::copy_from_slice(event));
    }
    if events.is_empty() {
        bail!("{shown} holds no event: it takes one a line");
    }
    Ok(events)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_up_events_are_json_and_the_same_every_time() {
        let events = make(1_000);
        assert_eq!(events, make(1_000));
        for (serial, event) in events.iter().enumerate() {
            let event: serde_json::Value = serde_json::from_slice(event).expect("it is JSON");
            assert_eq!(event["id"], format!("evt_{serial:08}"));
            assert!(event["items"].as_array().is_some_and(|items| (1..=3).contains(&items.len())));
        }
        let bytes: usize = events.iter().map(Bytes::len).sum();
        assert!((150_000..500_000).contains(&bytes), "{bytes}");
    }

    #[test]
    fn a_file_is_read_line_by_line() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("events.ndjson");
        std::fs::write(&path, "{\"a\":1}\r\n\n{\"b\":2}").expect("the folder is ours");
        assert_eq!(read(&path).expect("it is right"), [&b"{\"a\":1}"[..], b"{\"b\":2}"]);
        std::fs::write(&path, "\n\n").expect("the folder is ours");
        assert!(read(&path).is_err_and(|error| error.to_string().contains("holds no event")));
        std::fs::write(&path, [b"x\n".to_vec(), vec![b'x'; EVENT_BYTES_MAX + 1]].concat()).expect("ours");
        assert!(read(&path).is_err_and(|error| error.to_string().contains(":2: 1048577 bytes")));
    }
}
