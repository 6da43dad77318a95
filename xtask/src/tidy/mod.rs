//! Rules of the tree that no compiler checks, so that they are a test and not a remark in a review.
//!
//! - `edges`: which crate may depend on which
//! - `sizes`: how long a file and a function may be
//! - `names`: words that say nothing about what a thing is
//! - `words`: what belongs to a desk and not to the project
//! - `source`: a Rust file, divided into code, comments and tests

mod edges;
mod names;
mod sizes;
mod source;
mod words;

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::checkout::{Checkout, output};
use crate::test::Tally;
use source::Source;

/// A file of the tree as git knows it: committed, or new and not ignored.
struct TreeFile {
    /// From the root, with `/`.
    path: String,
    text: String,
}

pub(crate) fn run(checkout: &Checkout) -> Result<()> {
    let tally = tally(checkout)?;
    println!("{}", tally.closing_line());
    if tally.failed.is_empty() { Ok(()) } else { bail!("{} rules are broken", tally.failed.len()) }
}

/// Each rule is counted as one test.
pub(crate) fn tally(checkout: &Checkout) -> Result<Tally> {
    let files = tree(checkout)?;
    let sources: Vec<Source<'_>> = files
        .iter()
        .filter(|file| file.path.ends_with(".rs"))
        .map(|file| Source::new(&file.path, &file.text))
        .collect();
    let rules = [
        ("crates depend only on what the map allows", edges::broken(checkout)?),
        ("every crate takes the workspace's lints", edges::without_lints(&files)),
        ("files and functions stay short", sizes::broken(&sources)),
        ("names say what a thing is", names::broken(&sources)),
        ("nothing is left to be done", words::leftovers(&sources)),
        ("the project speaks only of itself", words::of_a_desk(checkout, &files)),
    ];
    let mut tally = Tally::default();
    for (rule, broken) in rules {
        for place in &broken {
            println!("tidy: {place}");
        }
        println!("tidy: {rule} ... {}", if broken.is_empty() { "ok" } else { "FAILED" });
        match broken.is_empty() {
            true => tally.passed += 1,
            false => tally.failed.push(format!("tidy: {rule}")),
        }
    }
    Ok(tally)
}

fn tree(checkout: &Checkout) -> Result<Vec<TreeFile>> {
    let mut git = Command::new("git");
    git.current_dir(&checkout.root).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let listed = output(&mut git)?;
    let paths = listed.split_terminator('\0');
    // What is no text has no words, and what is deleted but not yet committed has none any more.
    Ok(paths.filter_map(|path| read(&checkout.root, path)).collect())
}

fn read(root: &Path, path: &str) -> Option<TreeFile> {
    fs::read_to_string(root.join(path)).ok().map(|text| TreeFile { path: path.to_owned(), text })
}
