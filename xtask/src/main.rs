//! The one door to everything that is done to this repository, the same at a desk and in CI.
//!
//! - `checkout`: where things lie, and how a command is run
//! - `setup`: the programs that the tests need from the system
//! - `nsq`: the real NSQ, built into `target/nsq`
//! - `peers`: other people's NSQ libraries, each with a producer and a consumer, in `target/peers`
//! - `tidy`: rules of the tree that no compiler checks
//! - `test`: all of the above, then every test
//! - `bench`: Posthaste beside its peers
//! - `deny`: licences, bans and sources of the dependencies
//!
//! It has no async runtime and no argument parser, because it is compiled before anything else can start.

#![expect(
    clippy::disallowed_methods,
    reason = "there is no runtime here, so the standard library's clock is the only one"
)]

mod bench;
mod checkout;
mod deny;
mod nsq;
mod peers;
mod setup;
mod test;
mod tidy;

use std::process::ExitCode;

use checkout::Checkout;

const USAGE: &str = "\
cargo xtask setup                        get the programs that the tests need (apt-get on Debian and Ubuntu, pip, npm)
cargo xtask nsq                          build the real NSQ into target/nsq
cargo xtask test [--full] [--filter X]   setup, nsq, then every test; --full takes the long variants too
cargo xtask tidy                         the rules of the tree: crate edges, sizes, names, words
cargo xtask bench [...]                  Posthaste beside its peers; `cargo xtask bench --help` lists the flags
cargo xtask deny                         cargo-deny: bans, licences and sources of the dependencies";

/// `EX_USAGE` of sysexits.h, as the `posthaste` binary has it.
const EXIT_USAGE: u8 = 64;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((verb, rest)) = arguments.split_first() else { return usage("which of these?") };
    let checkout = Checkout::find();
    let done = match (verb.as_str(), rest) {
        ("setup", []) => setup::run().and_then(|()| peers::run(&checkout)),
        ("nsq", []) => setup::run().and_then(|()| nsq::run(&checkout)),
        ("tidy", []) => tidy::run(&checkout),
        ("deny", []) => deny::run(&checkout),
        ("bench", rest) => bench::run(&checkout, rest),
        ("test", rest) => match test::Options::parse(rest) {
            Ok(options) => return ended(test::run(&checkout, &options)),
            Err(wrong) => return usage(&wrong),
        },
        _ => return usage(&format!("what is `{}`?", arguments.join(" "))),
    };
    ended(done.map(|()| ExitCode::SUCCESS))
}

fn ended(done: anyhow::Result<ExitCode>) -> ExitCode {
    done.unwrap_or_else(|error| {
        eprintln!("xtask: {error:#}");
        ExitCode::FAILURE
    })
}

fn usage(wrong: &str) -> ExitCode {
    eprintln!("xtask: {wrong}\n\n{USAGE}");
    ExitCode::from(EXIT_USAGE)
}
