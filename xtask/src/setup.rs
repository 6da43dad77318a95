//! Gets the programs that the tests need and the machine lacks, and says what it does.
//!
//! Only apt-get is driven. A package manager that nobody here tests would be a guess made with root's rights, so
//! elsewhere the programs are named and it stops.

use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::checkout::{self, program, shown};

/// A program, the Debian package that holds it, and what it is for.
struct Needed {
    program: &'static str,
    package: &'static str,
    purpose: &'static str,
}

const NEEDED: [Needed; 8] = [
    Needed {
        program: "go",
        package: "golang-go",
        purpose: "builds the real NSQ and the bench's Go consumer",
    },
    Needed { program: "nginx", package: "nginx", purpose: "an endpoint that nobody here wrote" },
    Needed { program: "wrk", package: "wrk", purpose: "the bench's limit: bare requests" },
    Needed { program: "nft", package: "nftables", purpose: "drops packets in a network namespace" },
    Needed { program: "ip", package: "iproute2", purpose: "makes network namespaces" },
    Needed { program: PYTHON, package: "python3-venv", purpose: "runs pynsq against the embedded queue" },
    Needed { program: "node", package: "nodejs", purpose: "runs nsqjs against the embedded queue" },
    Needed { program: "npm", package: "npm", purpose: "gets nsqjs" },
];

/// A name of its own, because it needs more than to be there.
pub(crate) const PYTHON: &str = "python3";

/// Debian's Python comes without what makes virtual environments.
fn is_missing(needed: &Needed) -> bool {
    let makes_environments = || {
        let asked =
            Command::new(PYTHON).args(["-c", "import ensurepip, venv"]).stderr(Stdio::null()).status();
        asked.is_ok_and(|status| status.success())
    };
    program(needed.program).is_none() || (needed.program == PYTHON && !makes_environments())
}

pub(crate) fn run() -> Result<()> {
    let missing: Vec<&Needed> = NEEDED.iter().filter(|needed| is_missing(needed)).collect();
    if missing.is_empty() {
        println!("setup: nothing to do, this machine has {}", NEEDED.map(|needed| needed.program).join(", "));
        return Ok(());
    }
    install(&missing)
}

fn install(missing: &[&Needed]) -> Result<()> {
    for needed in missing {
        println!("setup: {} is missing ({})", needed.program, needed.purpose);
    }
    let packages: Vec<&str> = missing.iter().map(|needed| needed.package).collect();
    if program("apt-get").is_none() {
        bail!(
            "this machine has no apt-get; please install, under your system's names: {} (Debian's names: {})",
            missing.iter().map(|needed| needed.program).collect::<Vec<_>>().join(", "),
            packages.join(" ")
        );
    }
    apt_get(&["update", "--quiet=2"])?;
    apt_get(&[&["install", "--yes", "--quiet", "--no-install-recommends"], packages.as_slice()].concat())?;
    if packages.contains(&"nginx") {
        println!(
            "setup: Debian's nginx package may have started a server on port 80; the tests do not use it"
        );
    }
    Ok(())
}

fn apt_get(arguments: &[&str]) -> Result<()> {
    let root = rustix::process::geteuid().is_root();
    let mut command = Command::new(if root { "apt-get" } else { "sudo" });
    if !root {
        // sudo drops the environment, so the variable goes through its command line.
        command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get"]);
    }
    command.env("DEBIAN_FRONTEND", "noninteractive").args(arguments);
    if root {
        command.stdin(Stdio::null());
    }
    println!("setup: {}", shown(&command));
    checkout::run(&mut command)
}
