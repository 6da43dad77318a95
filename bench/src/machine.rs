//! Where it ran: what a reader needs to judge the figures.

use std::ffi::OsStr;
use std::fs;
use std::process::Command;

use testkit::process::nsq_program;

pub(crate) fn facts() -> Vec<(&'static str, String)> {
    let facts = [
        ("processor", processor()),
        ("kernel", fs::read_to_string("/proc/sys/kernel/osrelease").ok()),
        ("nsqd", first_line(nsq_program("nsqd"), &["--version"])),
        ("nginx", first_line("/usr/sbin/nginx", &["-v"])),
        ("wrk", first_line("wrk", &["-v"])),
        ("rustc", first_line("rustc", &["--version"])),
    ];
    facts.into_iter().filter_map(|(what, fact)| Some((what, fact?.trim().to_owned()))).collect()
}

fn processor() -> Option<String> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").ok()?;
    let model =
        cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "))?.1.to_owned();
    let cores = std::thread::available_parallelism().ok()?;
    Some(format!("{model}, {cores} cores"))
}

/// Of whichever stream the program chose for its version.
fn first_line(program: impl AsRef<OsStr>, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let said = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&said).lines().next().map(str::to_owned)
}
