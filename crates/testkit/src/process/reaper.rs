//! Kills what a test process leaves behind when it dies without unwinding (SIGKILL, abort, a daemon held in a static).
//!
//! A small shell reads process group ids from a pipe; when the pipe closes, the test process is gone, and it kills those that
//! were not taken back. PR_SET_PDEATHSIG would need unsafe code, and fires when the starting *thread* ends.

use std::io::Write as _;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Mutex, OnceLock};

use crate::board::lock;

const SCRIPT: &str = r#"
trap '' INT TERM HUP
groups=' '
while read -r sign group; do
  if [ "$sign" = + ]; then groups="$groups$group "; else groups="${groups%% $group *} ${groups#* $group }"; fi
done
for group in $groups; do kill -KILL "-$group" 2>/dev/null; done
"#;

static REAPER: OnceLock<Mutex<Option<ChildStdin>>> = OnceLock::new();

pub(super) fn enter(group: u32) {
    tell('+', group);
}

pub(super) fn forget(group: u32) {
    tell('-', group);
}

fn tell(sign: char, group: u32) {
    let pipe = REAPER.get_or_init(|| Mutex::new(start()));
    let mut pipe = lock(pipe);
    // Without a reaper tests still clean up after themselves in every ordinary case.
    if let Some(pipe) = pipe.as_mut() {
        writeln!(pipe, "{sign} {group}").ok();
    }
}

fn start() -> Option<ChildStdin> {
    let mut shell = Command::new("sh");
    shell.args(["-c", SCRIPT]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    // A group of its own, or a Ctrl-C at the terminal would end it before it can do its work.
    std::os::unix::process::CommandExt::process_group(&mut shell, 0);
    shell.spawn().ok()?.stdin.take()
}
