//! The steps of a script, executed.

use std::collections::VecDeque;
use std::future::pending;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use super::answer::status_in;
use super::connection::{Connection, Stop};
use super::counts::End;
use super::script::Step;
use super::transport::Read;
use crate::alarm::sleep;

/// How long an orderly close waits for the peer's FIN.
const LINGER: Duration = Duration::from_secs(10);

impl Connection {
    pub(super) async fn steps(&mut self, mut steps: VecDeque<Step>) -> Result<(), Stop> {
        while let Some(step) = steps.pop_front() {
            let name = step.name();
            if let Step::Decide(decide) = &step {
                let request = self.request.as_ref().expect("Decide belongs to a request");
                let answer = decide.call(&request.head, &Bytes::copy_from_slice(&request.body));
                self.fired(name);
                // The body is in: a ready-made answer's own ReadBody finds nothing to do.
                steps = answer.steps.into();
                continue;
            }
            let more =
                steps.iter().any(|step| matches!(step, Step::Send(_) | Step::Repeat(..) | Step::Drip(..)));
            // Counted before an act that ends the connection, or the end would be seen before its cause.
            let ends = matches!(step, Step::Hang | Step::Freeze | Step::Close | Step::Drop | Step::Reset);
            if ends {
                self.fired(name);
            }
            self.step(step, more).await?;
            if !ends {
                self.fired(name);
            }
        }
        Ok(())
    }

    async fn step(&mut self, step: Step, more: bool) -> Result<(), Stop> {
        match step {
            Step::ReadBody => self.read_body(u64::MAX).await?,
            Step::ReadBodyBytes(bytes) => self.read_body(bytes).await?,
            Step::Sleep(pause) => self.watch(sleep(pause), more).await?,
            Step::SleepBetween(min, max) => self.watch(sleep(self.shared.between(min, max)), more).await?,
            Step::Gate(gate) => self.watch(gate.through(), more).await?,
            Step::Send(bytes) => self.send(&bytes).await?,
            Step::Repeat(bytes, times) => self.repeat(&bytes, times).await?,
            Step::Drip(bytes, pause) => {
                for byte in bytes {
                    self.watch(sleep(pause), true).await?;
                    self.send(&[byte]).await?;
                }
            }
            Step::Raw(bytes) => self.transport.write_raw(&bytes).await?,
            Step::Hang => {
                self.report_order();
                return Err(self.read_to_end().await);
            }
            Step::Freeze => {
                self.report_order();
                pending().await
            }
            Step::CloseNotify => self.transport.close_notify().await?,
            Step::Alert(description) => self.transport.alert(description).await?,
            Step::Fin => self.transport.fin().await?,
            Step::Close => return Err(self.close().await?),
            Step::Drop => {
                self.transport.close_notify().await?;
                return Err(Stop::Drop);
            }
            Step::Reset => return Err(Stop::Reset),
            Step::Tickets(count) => self.transport.tickets(count).await?,
            Step::KeyUpdate(asks) => self.transport.key_update(asks).await?,
            Step::Decide(_) => unreachable!("handled by the caller, which owns the list of steps"),
        }
        Ok(())
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        self.tickets_due = None;
        if bytes.is_empty() {
            return Ok(());
        }
        // Noted before the write: a client may act on the answer before this thread runs again, and the test then reads
        // the books. If the write fails the note is taken back.
        let status = status_in(bytes);
        self.note_status(status);
        let written = self.transport.write(bytes).await;
        if written.is_err() && status.is_some() {
            self.retract_status();
        }
        Ok(written?)
    }

    async fn repeat(&mut self, bytes: &[u8], times: Option<u64>) -> Result<(), Stop> {
        for _ in 0..times.unwrap_or(u64::MAX) {
            self.transport.write(bytes).await?;
            self.note_bytes();
        }
        Ok(())
    }

    pub(super) async fn read_to_end(&mut self) -> Stop {
        loop {
            self.input.clear();
            if let Read::Ended(end) = self.transport.read(&mut self.input).await {
                return Stop::Ended(end);
            }
        }
    }

    /// close_notify, FIN, and the peer's FIN.
    pub(super) async fn close(&mut self) -> Result<Stop, Stop> {
        if self.transport.is_tls() {
            self.transport.close_notify().await?;
        }
        self.transport.fin().await?;
        self.note_bytes();
        self.report_order();
        // Whatever the peer still does, it was the script that ended the connection.
        timeout(LINGER, self.read_to_end()).await.ok();
        Ok(Stop::Ended(End::Scripted))
    }
}
