//! Where things lie in this checkout, and how a command is run.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The working tree that this program was built from.
pub(crate) struct Checkout {
    /// The folder of the workspace's Cargo.toml.
    pub(crate) root: PathBuf,
}

impl Checkout {
    pub(crate) fn find() -> Checkout {
        let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
        Checkout { root: xtask.parent().expect("xtask lies in the workspace's folder").to_owned() }
    }

    /// What is got and built besides cargo's own output. Always the checkout's `target`, whatever CARGO_TARGET_DIR
    /// says, so that the tests find it by one rule.
    pub(crate) fn target(&self, name: &str) -> PathBuf {
        self.root.join("target").join(name)
    }

    /// The same cargo (and so the same toolchain) as the one that runs this.
    pub(crate) fn cargo(&self) -> Command {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(&self.root).stdin(Stdio::null());
        cargo
    }
}

/// Runs to the end with the terminal's output; anything but success is an error that shows the command.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start {}", shown(command)))?;
    if !status.success() {
        bail!("{} ended with {status}", shown(command));
    }
    Ok(())
}

/// Runs to the end and gives what was written to standard output; its errors still reach the terminal.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start {}", shown(command)))?;
    if !output.status.success() {
        bail!("{} ended with {}", shown(command), output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("{} wrote no UTF-8", shown(command)))
}

/// The command as one would type it.
pub(crate) fn shown(command: &Command) -> String {
    let words: Vec<_> = std::iter::once(command.get_program()).chain(command.get_args()).collect();
    words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// Looks a program up in PATH, and where a plain user's PATH does not reach: Debian keeps nginx and nft in
/// `/usr/sbin`, and Go's own installer puts nothing into PATH.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let beyond = ["/usr/sbin", "/sbin", "/usr/local/go/bin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(beyond).map(|folder| folder.join(name)).find(|file| file.is_file())
}
