//! The known name that a mistyped one was meant to be.

/// The name among `known` that is fewest edits away, if it is close enough to be meant.
pub(crate) fn nearest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let (edits, name) =
        known.into_iter().map(|name| (edits(typed, name), name)).min_by_key(|(edits, _)| *edits)?;
    // A third of the letters may be wrong: `timeout` is not offered for `threads`.
    (edits <= 1.max(name.len() / 3)).then_some(name)
}

/// Insertions, deletions, replacements and swaps of neighbours that make `a` out of `b` (optimal string alignment).
fn edits(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<_>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut fewest = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                fewest = fewest.min(rows[i - 2][j - 2] + 1);
            }
            row.push(fewest);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offers_what_was_meant_and_nothing_far_off() {
        let known = ["topic", "channel", "concurrency", "max_in_flight", "request_timeout_ms"];
        assert_eq!(nearest("concurency", known), Some("concurrency"));
        assert_eq!(nearest("tpoic", known), Some("topic"));
        assert_eq!(nearest("request_timeout", known), Some("request_timeout_ms"));
        assert_eq!(nearest("colour", known), None);
        assert_eq!(nearest("x", []), None);
    }
}
