//! Standard error, owned by one thread: log lines, and on a terminal the live line under them.
//!
//! Workers must never wait for a terminal that someone has stopped with Ctrl-S, or for a slow pipe: lines go through a
//! bounded queue, and when that is full they are dropped, counted, and the loss is told.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// Pieces that may wait for standard error.
const WAITING_MAX: usize = 1024;
/// How long the end waits for what is still to be written.
const CLOSE_MAX: Duration = Duration::from_secs(1);
/// Back to the line's start, and erase to its end.
const CLEAR: &[u8] = b"\r\x1b[K";

#[derive(Debug)]
enum Piece {
    /// Lines, with their ends.
    Lines(Vec<u8>),
    /// What the live line says from now on.
    Live(String),
    Close,
}

/// The door to standard error. Clones lead to the same one.
#[derive(Debug, Clone)]
pub(crate) struct Screen {
    sender: SyncSender<Piece>,
    queue: Arc<Queue>,
    is_terminal: bool,
}

/// What both ends of the queue count.
#[derive(Debug, Default)]
struct Queue {
    waiting: AtomicUsize,
    /// Log lines dropped and not yet told.
    lost: AtomicUsize,
}

/// Says when everything has been written.
#[derive(Debug)]
pub(crate) struct Closing(Receiver<()>);

impl Screen {
    /// Starts the thread.
    pub(crate) fn open() -> io::Result<(Screen, Closing)> {
        let (screen, pieces) = Screen::with_queue(io::stderr().is_terminal());
        let (closed, closing) = sync_channel(1);
        let queue = Arc::clone(&screen.queue);
        thread::Builder::new().name("screen".to_owned()).spawn(move || {
            // A closed standard error is no reason to stop delivering, and there is nowhere to tell it.
            drop(show(&pieces, &mut io::stderr(), &queue));
            drop(closed);
        })?;
        Ok((screen, Closing(closing)))
    }

    fn with_queue(is_terminal: bool) -> (Screen, Receiver<Piece>) {
        // One place more than is counted, so that the end always finds one.
        let (sender, pieces) = sync_channel(WAITING_MAX + 1);
        (Screen { sender, queue: Arc::default(), is_terminal }, pieces)
    }

    /// Whether someone is looking.
    pub(crate) fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// Shows `line` under the log lines, in place of the one before.
    pub(crate) fn live(&self, line: String) {
        self.offer(Piece::Live(line));
    }

    fn offer(&self, piece: Piece) {
        let is_line = matches!(piece, Piece::Lines(_));
        if self.queue.waiting.fetch_add(1, Relaxed) < WAITING_MAX && self.sender.try_send(piece).is_ok() {
            return;
        }
        self.queue.waiting.fetch_sub(1, Relaxed);
        if is_line {
            self.queue.lost.fetch_add(1, Relaxed);
        }
    }

    /// Ends the live line and waits, for a second at most, until everything before is written.
    pub(crate) fn close(&self, closing: &Closing) {
        self.queue.waiting.fetch_add(1, Relaxed);
        if self.sender.try_send(Piece::Close).is_ok() {
            // Disconnected means done; a time-out means that nobody reads it, which must not keep the process.
            let _written = closing.0.recv_timeout(CLOSE_MAX).is_err();
        }
    }
}

fn show(pieces: &Receiver<Piece>, out: &mut impl Write, queue: &Queue) -> io::Result<()> {
    let mut live = String::new();
    while let Ok(piece) = pieces.recv() {
        queue.waiting.fetch_sub(1, Relaxed);
        let mut bytes = Vec::new();
        if !live.is_empty() {
            bytes.extend_from_slice(CLEAR);
        }
        match piece {
            Piece::Lines(lines) => bytes.extend_from_slice(&lines),
            Piece::Live(line) => live = line,
            Piece::Close => return out.write_all(&bytes),
        }
        let lost = queue.lost.swap(0, Relaxed);
        if lost > 0 {
            writeln!(bytes, "{lost} log lines lost: standard error was not read fast enough")?;
        }
        bytes.extend_from_slice(live.as_bytes());
        // One write, so that nothing that another process writes to the terminal can fall into the middle.
        out.write_all(&bytes)?;
        out.flush()?;
    }
    Ok(())
}

impl<'a> MakeWriter<'a> for Screen {
    type Writer = LogLine;

    fn make_writer(&'a self) -> LogLine {
        LogLine { screen: self.clone(), bytes: Vec::new() }
    }
}

/// One log line being written; it goes to the screen whole, when it is dropped.
#[derive(Debug)]
pub(crate) struct LogLine {
    screen: Screen,
    bytes: Vec<u8>,
}

impl Write for LogLine {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for LogLine {
    fn drop(&mut self) {
        if !self.bytes.is_empty() {
            self.screen.offer(Piece::Lines(std::mem::take(&mut self.bytes)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_live_line_stays_under_the_log() {
        let (screen, pieces) = Screen::with_queue(true);
        let log = |line: &str| writeln!(screen.make_writer(), "{line}").expect("a line takes everything");
        log("one");
        screen.live("live 1".to_owned());
        log("two");
        screen.sender.send(Piece::Close).expect("the receiver is held");
        screen.queue.lost.store(3, Relaxed);
        let mut out = Vec::new();
        show(&pieces, &mut out, &screen.queue).expect("a vector takes everything");
        let shown = String::from_utf8(out).expect("text").replace("\r\x1b[K", "<");
        let loss = "3 log lines lost: standard error was not read fast enough";
        assert_eq!(shown, format!("one\n{loss}\nlive 1<two\nlive 1<"));
    }

    #[test]
    fn a_screen_that_nobody_reads_holds_nobody_up_and_can_still_be_closed() {
        let (screen, _pieces) = Screen::with_queue(false);
        for _ in 0..WAITING_MAX + 9 {
            writeln!(screen.make_writer(), "line").expect("a line takes everything");
        }
        assert_eq!(screen.queue.lost.load(Relaxed), 9);
        assert!(screen.sender.try_send(Piece::Close).is_ok());
    }
}
