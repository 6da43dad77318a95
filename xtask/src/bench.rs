//! Builds what the comparison runs, then hands over to it: the measuring program is a crate of its own (`bench/`),
//! because it stands on the testkit, which would make this one slow to compile.

use std::process::Command;

use anyhow::{Context, Result};

use crate::checkout::{self, Checkout};
use crate::{nsq, setup, test};

pub(crate) fn run(checkout: &Checkout, arguments: &[String]) -> Result<()> {
    let bench = test::checked_program(checkout, "posthaste-bench")?;
    let mut command = Command::new(bench);
    command.current_dir(&checkout.root).args(arguments);
    if !arguments.iter().any(|argument| argument == "--help") {
        let go_consumer = checkout.target("bench/go-consumer");
        setup::run()?;
        nsq::run(checkout)?;
        let mut go = nsq::go(&checkout.root.join("bench/go-consumer"))?;
        checkout::run(go.args(["build", "-trimpath", "-o"]).arg(&go_consumer))?;
        command.env("POSTHASTE_BIN", test::released_program(checkout, "posthaste")?);
        command.env("POSTHASTE_NSQ_DIR", checkout.target("nsq"));
    }
    checkout::run(&mut command).context("the bench")
}
