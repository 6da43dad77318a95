//! Fuzz targets of the codec, on stable Rust.
//!
//! Under plain `cargo test` each target replays its corpus (`__fuzz__/TARGET/corpus`, one file per input; the
//! files named `nsqd-*` are what nsqd v1.3.0 sent) and then makes inputs of its own for a second. For longer:
//! `BOLERO_RANDOM_TEST_TIME_MS=3600000 cargo test -p wire --test fuzz`. An input that fails belongs into the
//! corpus.
//!
//! `*__bytes` take any bytes; `mutations` takes corpus files and damages them, which gets deeper than bytes
//! made of nothing; `round_trip` makes values and expects them back.

mod command;
mod error_code;
mod frame;
mod identify;
mod mutations;
mod name;
mod round_trip;

/// A corpus that is not found would be replayed without a word as nothing.
#[test]
fn every_corpus_is_there() {
    for target in ["command__bytes", "error_code__bytes", "frame__bytes", "identify__bytes", "name__bytes"] {
        let files = mutations::corpus(target);
        assert!(files.len() >= 5, "{target} has {} files", files.len());
    }
}
