//! Keys of the whole process.

use crate::config::keys::Otherwise::{Value, Words};
use crate::config::keys::keys;
use crate::config::kind::Kind;

keys! {
    /// What concerns the process, as the user typed it.
    "Process" ProcessKeys {
        /// Worker threads that the lanes are spread over.
        threads: u64 = "--threads", Kind::Count { min: 1, max: 1024, unit: "threads" },
            Words("the processors, but not more than there are lanes");
        /// Dials under way at once on one worker, over all its lanes: a thousand handshakes at once would stall the
        /// messages beside them. A dial that takes longer than 250 ms counts for its own lane alone, which has no more than
        /// this many.
        dials_max: u64 = "--dials-max", Kind::Count { min: 1, max: 65_536, unit: "dials" }, Value("16");
        /// Least urgent log line to write.
        log_level: String = "--log-level", Kind::Choice(&["error", "warn", "info", "debug", "trace"]), Value("\"info\"");
        /// How log lines are written, to standard error: for reading, or one JSON object each.
        log_format: String = "--log-format", Kind::Choice(&["human", "json"]),
            Words("`\"human\"` on a terminal, else `\"json\"`");
        /// How the summary at the end is written: for reading, to standard error; as one JSON object, to standard
        /// output; or not at all.
        summary: String = "--summary", Kind::Choice(&["human", "json", "none"]), Value("\"human\"");
    }
}
