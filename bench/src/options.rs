//! What is run.

use std::path::PathBuf;

use crate::peer::Peer;

pub(crate) const USAGE: &str = "\
cargo xtask bench [--peers A,B,...]  posthaste, posthaste-lanes, go-consumer, nsq_to_http, wrk (default: all)
                  [--messages N]     per run (default 100000)
                  [--body-bytes N]   of each message (default 1024)
                  [--concurrency N]  requests at once (default 100)
                  [--rounds N]       each round runs every peer once; the medians are shown (default 3)
                  [--json FILE]      every run's figures
                  [--write]          write BENCH.md";

pub(crate) struct Options {
    pub(crate) peers: Vec<Peer>,
    pub(crate) messages: usize,
    pub(crate) body_bytes: usize,
    pub(crate) concurrency: usize,
    pub(crate) rounds: usize,
    pub(crate) json: Option<PathBuf>,
    pub(crate) write: bool,
}

impl Options {
    pub(crate) fn parse(arguments: &[String]) -> Result<Options, String> {
        let mut options = Options {
            peers: Peer::ALL.to_vec(),
            messages: 100_000,
            body_bytes: 1024,
            concurrency: 100,
            rounds: 3,
            json: None,
            write: false,
        };
        let mut rest = arguments.iter();
        while let Some(flag) = rest.next() {
            let mut value = || rest.next().ok_or_else(|| format!("{flag} needs a value"));
            match flag.as_str() {
                "--peers" => options.peers = peers(value()?)?,
                "--messages" => options.messages = count(flag, value()?)?,
                "--body-bytes" => options.body_bytes = count(flag, value()?)?,
                "--concurrency" => options.concurrency = count(flag, value()?)?,
                "--rounds" => options.rounds = count(flag, value()?)?,
                "--json" => options.json = Some(value()?.into()),
                "--write" => options.write = true,
                other => return Err(format!("there is no `{other}`")),
            }
        }
        Ok(options)
    }
}

fn peers(names: &str) -> Result<Vec<Peer>, String> {
    names
        .split(',')
        .map(|name| Peer::named(name).ok_or_else(|| format!("there is no peer `{name}`")))
        .collect()
}

fn count(flag: &str, value: &str) -> Result<usize, String> {
    match value.parse() {
        Ok(count) if count > 0 => Ok(count),
        _ => Err(format!("{flag} takes a number above 0, not `{value}`")),
    }
}

#[cfg(test)]
mod tests {
    use super::Options;
    use crate::peer::Peer;

    fn parse(line: &str) -> Result<Options, String> {
        Options::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn a_subset_of_peers_and_counts() {
        let options = parse("--peers go-consumer,wrk --messages 500 --write").expect("they are right");
        assert_eq!(options.peers, [Peer::GoConsumer, Peer::Wrk]);
        assert_eq!((options.messages, options.rounds, options.write), (500, 3, true));
    }

    #[test]
    fn wrong_ones_are_named() {
        for (line, part) in
            [("--peers curl", "curl"), ("--rounds 0", "--rounds"), ("--fast", "--fast"), ("--json", "--json")]
        {
            assert!(parse(line).err().is_some_and(|wrong| wrong.contains(part)), "{line}");
        }
    }
}
