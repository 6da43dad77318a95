//! What is left in a file by accident: marks of unfinished work, and words of the desk where it was written.

use super::TreeFile;
use super::source::Source;
use crate::checkout::Checkout;

/// Marks of unfinished work; `todo!` and `dbg!` are clippy's. Spelled in halves here and below, so that this file keeps
/// its own rules.
const MARKS: [&str; 4] =
    [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X"), concat!("#[ig", "nore")];

/// A folder of somebody's own, and the hosts that a package client asks: both differ from machine to machine, and a
/// build that names one works at one desk only.
const OF_A_DESK: [&str; 8] = [
    concat!("/ho", "me/"),
    concat!("/ro", "ot/"),
    concat!("index.cra", "tes.io"),
    concat!("static.cra", "tes.io"),
    concat!("proxy.go", "lang.org"),
    concat!("sum.go", "lang.org"),
    concat!("deb.deb", "ian.org"),
    concat!("archive.ub", "untu.com"),
];

/// Written by package clients, not by us.
const LOCK_FILES: [&str; 2] = ["Cargo.lock", "go.sum"];

pub(super) fn leftovers(sources: &[Source<'_>]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources {
        for line in &source.lines {
            let marks = MARKS.iter().filter(|mark| holds_word(line.text, mark));
            found.extend(marks.map(|mark| format!("{}:{}: {mark}", source.path, line.number)));
        }
    }
    found
}

pub(super) fn of_a_desk(checkout: &Checkout, files: &[TreeFile]) -> Vec<String> {
    // Where this very checkout lies is no business of the project either.
    let here = checkout.root.to_string_lossy();
    let words: Vec<&str> = OF_A_DESK.iter().copied().chain([here.as_ref()]).collect();
    let written = files.iter().filter(|file| !LOCK_FILES.iter().any(|lock| file.path.ends_with(lock)));
    written.flat_map(|file| lines_with(file, &words)).collect()
}

fn lines_with(file: &TreeFile, words: &[&str]) -> Vec<String> {
    let lines = file.text.lines().enumerate();
    let found =
        lines.filter_map(|(index, line)| Some((index, words.iter().find(|word| line.contains(**word))?)));
    found.map(|(index, word)| format!("{}:{}: `{word}`", file.path, index + 1)).collect()
}

/// Not as a part of a longer word.
fn holds_word(line: &str, word: &str) -> bool {
    let beside = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    line.match_indices(word).any(|(at, _)| {
        let (before, after) = (&line[..at], &line[at + word.len()..]);
        !beside(before.chars().next_back()) && !beside(after.chars().next())
    })
}

#[cfg(test)]
mod tests {
    use super::{MARKS, TreeFile, holds_word, lines_with};

    #[test]
    fn marks_are_whole_words() {
        assert!(holds_word(&format!("// {}: later", MARKS[0]), MARKS[0]));
        assert!(!holds_word(&format!("// {}S", MARKS[0]), MARKS[0]));
    }

    #[test]
    fn a_place_is_named_by_its_line() {
        let file = TreeFile { path: "a.md".to_owned(), text: "one\nsee /somewhere/x\n".to_owned() };
        assert_eq!(lines_with(&file, &["/somewhere/"]), ["a.md:2: `/somewhere/`"]);
    }
}
