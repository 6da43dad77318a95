//! A Rust file, divided by its layout. rustfmt has made the layout regular, so lines and indents are enough, and no
//! parser has to be compiled before a test can run.

/// A Rust file and what each of its lines is.
pub(super) struct Source<'a> {
    pub(super) path: &'a str,
    pub(super) lines: Vec<Line<'a>>,
}

pub(super) struct Line<'a> {
    /// Counted from 1.
    pub(super) number: usize,
    pub(super) text: &'a str,
    pub(super) kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    Code,
    /// Any comment, documentation among them, or an empty line.
    Comment,
    /// Inside `#[cfg(test)]`, or in a file that only tests see.
    Test,
}

impl<'a> Source<'a> {
    pub(super) fn new(path: &'a str, text: &'a str) -> Source<'a> {
        let only_tests =
            path.starts_with("tests/") || path.contains("/tests/") || path.ends_with("/tests.rs");
        let mut lines = Vec::new();
        // The indent at which the `#[cfg(test)]` block closes, once one has begun.
        let mut test_indent: Option<usize> = None;
        let mut awaits_item = false;
        for (index, text) in text.lines().enumerate() {
            let trimmed = text.trim_start();
            let mut kind = match trimmed {
                "" => Kind::Comment,
                _ if trimmed.starts_with("//") => Kind::Comment,
                _ => Kind::Code,
            };
            if only_tests || awaits_item || test_indent.is_some() || trimmed.starts_with("#[cfg(test)]") {
                kind = Kind::Test;
            }
            if trimmed.starts_with("#[cfg(test)]") {
                awaits_item = true;
            } else if awaits_item && !trimmed.starts_with("#[") && kind == Kind::Test {
                awaits_item = false;
                test_indent = text.ends_with('{').then(|| indent(text));
            } else if test_indent.is_some_and(|opened_at| closes(text, opened_at)) {
                test_indent = None;
            }
            lines.push(Line { number: index + 1, text, kind });
        }
        Source { path, lines }
    }

    pub(super) fn code(&self) -> impl Iterator<Item = &Line<'a>> {
        self.lines.iter().filter(|line| line.kind == Kind::Code)
    }
}

/// How far a line is indented, in columns.
pub(super) fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// Whether this line closes the block that a line of the given indent has opened.
pub(super) fn closes(line: &str, opened_at: usize) -> bool {
    indent(line) == opened_at && line.trim_start().starts_with('}')
}

#[cfg(test)]
mod tests {
    use super::{Kind, Source};

    #[test]
    fn tells_tests_from_code() {
        let text = "//! Top.\n\nfn a() {}\n#[cfg(test)]\nuse b::c;\nfn d() {}\n#[cfg(test)]\nmod tests {\n    fn e() {\n    }\n}\nfn f() {}\n";
        let source = Source::new("crates/x/src/lib.rs", text);
        let code: Vec<&str> = source.code().map(|line| line.text).collect();
        assert_eq!(code, ["fn a() {}", "fn d() {}", "fn f() {}"]);
        assert_eq!(source.lines[0].kind, Kind::Comment);
        assert_eq!(source.lines[10].kind, Kind::Test);
    }

    #[test]
    fn a_file_of_tests_has_no_code() {
        assert_eq!(Source::new("crates/x/tests/y.rs", "fn a() {}\n").code().count(), 0);
    }
}
