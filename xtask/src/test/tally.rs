//! What came of tests: read off libtest's lines, and summed.

use std::collections::BTreeSet;

/// Passed, failed (by name) and skipped (by name and reason).
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Tally {
    pub(crate) passed: usize,
    pub(crate) failed: Vec<String>,
    pub(crate) skipped: Vec<String>,
}

impl Tally {
    pub(crate) fn add(&mut self, other: Tally) {
        self.passed += other.passed;
        self.failed.extend(other.failed);
        self.skipped.extend(other.skipped);
    }

    /// One line of libtest's output (`test NAME ... ok`). Lines that are none change nothing.
    pub(crate) fn read_line(&mut self, line: &str) {
        let Some((name, outcome)) = line.strip_prefix("test ").and_then(|rest| rest.rsplit_once(" ... "))
        else {
            return;
        };
        // A test that must panic is shown as `NAME - should panic`.
        let name = name.trim_end_matches(" - should panic");
        match outcome.split_once(',').map_or(outcome, |(word, _reason)| word).trim() {
            "ok" => self.passed += 1,
            "FAILED" => self.failed.push(name.to_owned()),
            ignored if ignored.starts_with("ignored") => self.skipped.push(format!("{name}: {outcome}")),
            _ => {}
        }
    }

    /// What tests said of themselves that could not run here: a line each, name, tab and reason. To libtest they have
    /// returned like any other, so it has counted them as passed.
    pub(crate) fn add_skipped(&mut self, lines: &str) {
        let skipped: BTreeSet<&str> = lines.lines().collect();
        self.passed = self.passed.saturating_sub(skipped.len());
        self.skipped.extend(skipped.into_iter().map(|line| line.replace('\t', ": ")));
    }

    pub(crate) fn count(&self) -> usize {
        self.passed + self.failed.len() + self.skipped.len()
    }

    /// The plain line that tools look for at the end of a test run.
    pub(crate) fn closing_line(&self) -> String {
        format!("{} passed, {} failed, {} skipped", self.passed, self.failed.len(), self.skipped.len())
    }
}

#[cfg(test)]
mod tests {
    use super::Tally;

    #[test]
    fn reads_what_libtest_writes() {
        let mut tally = Tally::default();
        for line in [
            "running 5 tests",
            "test a::one ... ok",
            "test b ... FAILED",
            "test c - should panic ... ok",
            "test d ... ignored, needs two machines",
            "test says ... and ... goes on",
            "test result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out",
        ] {
            tally.read_line(line);
        }
        assert_eq!(tally.passed, 2);
        assert_eq!(tally.failed, ["b"]);
        assert_eq!(tally.skipped, ["d: ignored, needs two machines"]);
        assert_eq!(tally.closing_line(), "2 passed, 1 failed, 1 skipped");
    }

    #[test]
    fn a_test_that_skipped_itself_has_not_passed() {
        let mut tally = Tally { passed: 3, ..Tally::default() };
        tally.add_skipped("silent_drop\tno nft\nsilent_drop\tno nft\nother\tno wrk\n");
        assert_eq!(tally.skipped, ["other: no wrk", "silent_drop: no nft"]);
        assert_eq!(tally.closing_line(), "1 passed, 0 failed, 2 skipped");
    }
}
