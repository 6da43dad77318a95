//! How long a file and a function may be. What cannot be held in the head is not read, only searched.

use super::source::{Source, closes, indent};

/// Lines of code, without comments, empty lines and tests.
const FILE_LINES_MAX: usize = 400;
/// A crate's root is its map.
const ROOT_LINES_MAX: usize = 120;
/// `main.rs` is the story of a start.
const MAIN_LINES_MAX: usize = 150;
/// From `fn` to its closing brace.
const FUNCTION_LINES_MAX: usize = 70;

/// A uniform table may be as long as it needs to be, when it says so.
const TABLE: &str = "// tidy: a table";

pub(super) fn broken(sources: &[Source<'_>]) -> Vec<String> {
    sources.iter().flat_map(|source| file(source).into_iter().chain(functions(source))).collect()
}

fn file(source: &Source<'_>) -> Option<String> {
    let max = match source.path.rsplit('/').next() {
        Some("lib.rs") => ROOT_LINES_MAX,
        Some("main.rs") => MAIN_LINES_MAX,
        _ => FILE_LINES_MAX,
    };
    let is_table = source.lines.iter().any(|line| line.text.starts_with(TABLE));
    let lines = source.code().count();
    (lines > max && !is_table).then(|| format!("{}: {lines} lines of code, {max} at most", source.path))
}

fn functions(source: &Source<'_>) -> Vec<String> {
    let mut broken = Vec::new();
    let mut open: Option<(usize, usize, &str)> = None;
    for line in source.code() {
        match open {
            None if is_function(line.text) && !line.text.ends_with(['}', ';']) => {
                open = Some((line.number, indent(line.text), line.text.trim()));
            }
            Some((first, opened_at, head)) if closes(line.text, opened_at) => {
                let lines = line.number - first + 1;
                if lines > FUNCTION_LINES_MAX {
                    let place = format!("{}:{first}", source.path);
                    broken.push(format!("{place}: {lines} lines, {FUNCTION_LINES_MAX} at most: {head}"));
                }
                open = None;
            }
            // A declaration in a trait that wraps over lines ends without a brace.
            Some((_, opened_at, _)) if indent(line.text) == opened_at && line.text.ends_with(';') => {
                open = None
            }
            _ => {}
        }
    }
    broken
}

fn is_function(line: &str) -> bool {
    let mut words = line.trim_start().split(' ').skip_while(|word| {
        word.starts_with("pub") || matches!(*word, "in" | "async" | "const" | "extern" | "\"C\"")
    });
    words.next() == Some("fn")
}

#[cfg(test)]
mod tests {
    use super::broken;
    use crate::tidy::source::Source;

    fn broken_in(path: &str, text: &str) -> usize {
        broken(&[Source::new(path, text)]).len()
    }

    #[test]
    fn a_long_function_is_found() {
        let body = "        step();\n".repeat(69);
        let method = format!("impl A {{\n    pub(crate) async fn long(&self) {{\n{body}    }}\n}}\n");
        assert_eq!(broken_in("a.rs", &method), 1);
        assert_eq!(broken_in("a.rs", &method.replacen("        step();\n", "", 1)), 0);
    }

    #[test]
    fn a_long_file_is_found_unless_it_is_a_table() {
        let long = "const A: u8 = 0;\n".repeat(401);
        assert_eq!(broken_in("a.rs", &long), 1);
        assert_eq!(broken_in("a.rs", &format!("// tidy: a table of codes\n{long}")), 0);
        assert_eq!(broken_in("lib.rs", &"mod a;\n".repeat(121)), 1);
    }

    #[test]
    fn comments_and_tests_do_not_count() {
        let comments = "// why\n\n".repeat(401);
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "    use a;\n".repeat(401));
        assert_eq!(broken_in("a.rs", &(comments + &tests)), 0);
    }
}
