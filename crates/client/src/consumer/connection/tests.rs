//! What only shows with the stream in hand: how many writes there are, and what happens when it takes none.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio::time::{sleep, timeout};
use wire::frame::{write_error, write_message, write_response};
use wire::{ErrorCode, MessageHead, MessageId};

use super::*;
use crate::consumer::event::Events;
use crate::consumer::ready::Recv;
use crate::consumer::{ConsumerCounters, ConsumerSettings, Delivery, DeliveryState, Settled, Source};
use crate::settings::Compression;

/// A pipe that counts its writes, and can refuse them.
struct Wire {
    pipe: DuplexStream,
    gate: Rc<Gate>,
}

#[derive(Default)]
struct Gate {
    writes: Cell<usize>,
    closed: Cell<bool>,
    waiting: RefCell<Option<std::task::Waker>>,
    /// The next write fails with a reset, and these bytes have come meanwhile.
    last_words: RefCell<Option<Vec<u8>>>,
    unread: RefCell<Vec<u8>>,
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let unread = self.gate.unread.take();
        if !unread.is_empty() {
            buf.put_slice(&unread);
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.pipe).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.gate.closed.get() {
            *self.gate.waiting.borrow_mut() = Some(cx.waker().clone());
            return Poll::Pending;
        }
        if let Some(words) = self.gate.last_words.take() {
            *self.gate.unread.borrow_mut() = words;
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        self.gate.writes.set(self.gate.writes.get() + 1);
        Pin::new(&mut self.pipe).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_shutdown(cx)
    }
}

/// A connection that is being served, subscribed and ready.
struct Bench {
    shared: Rc<Shared>,
    far: DuplexStream,
    gate: Rc<Gate>,
    ended: JoinHandle<Ended>,
}

impl Bench {
    async fn start() -> Bench {
        Bench::start_with(Duration::from_secs(900)).await
    }

    /// With a `max_msg_timeout` of 1 s nothing is touched, and all is over 875 ms after it came.
    async fn start_with(max_msg_timeout: Duration) -> Bench {
        let name = |text: &str| text.to_owned();
        let source = Source::Nsqds(vec![name("127.0.0.1:1")]);
        let (topic, channel) = ("events".parse().expect("a name"), "tests".parse().expect("a name"));
        let settings = ConsumerSettings::new(topic, channel, source);
        let shared = Rc::new(Shared::new(settings, Arc::<ConsumerCounters>::default(), Events::new(drop)));
        let negotiated = Negotiated {
            msg_timeout: Duration::from_secs(1),
            max_msg_timeout,
            max_rdy_count: 2500,
            heartbeat_interval: Duration::from_secs(60),
            output_buffer_timeout: Duration::from_millis(25),
            compression: Compression::None,
            tls: false,
        };
        let (near, far) = tokio::io::duplex(1 << 20);
        let gate = Rc::<Gate>::default();
        let stream = Wire { pipe: near, gate: Rc::clone(&gate) };
        let connection = Connection::new(&shared, "127.0.0.1:1".into(), stream, negotiated);
        let ended = spawn_local(connection.serve());
        let mut bench = Bench { shared, far, gate, ended };
        bench.expect("SUB events tests\n").await;
        let mut ok = Vec::new();
        write_response(&mut ok, b"OK");
        bench.far.write_all(&ok).await.expect("it reads");
        bench.expect("RDY 12\n").await;
        bench
    }

    async fn expect(&mut self, commands: &str) {
        let mut seen = vec![0; commands.len()];
        self.far.read_exact(&mut seen).await.expect("it writes");
        assert_eq!(String::from_utf8_lossy(&seen), commands);
    }

    /// What it has written.
    async fn written(&mut self) -> String {
        let mut written = Vec::new();
        while let Ok(Ok(1..)) = timeout(Duration::from_millis(1), self.far.read_buf(&mut written)).await {}
        String::from_utf8(written).expect("text")
    }

    /// Lets the stream take bytes again, and the connection act on it.
    async fn open(&mut self) {
        self.gate.closed.set(false);
        if let Some(waker) = self.gate.waiting.take() {
            waker.wake();
        }
        sleep(Duration::from_millis(1)).await;
    }

    /// What it writes until it shuts its side.
    async fn rest(&mut self) -> String {
        let mut rest = String::new();
        self.far.read_to_string(&mut rest).await.expect("it writes");
        rest
    }

    async fn receive(&mut self, count: u8) -> Vec<Delivery> {
        self.receive_ids(b'a'..b'a' + count).await
    }

    async fn send(&mut self, ids: std::ops::Range<u8>) {
        let mut bytes = Vec::new();
        for letter in ids {
            let id = MessageId([letter; 16]);
            write_message(&mut bytes, &MessageHead { timestamp_ns: 1, attempts: 1, id }, b"body");
        }
        self.far.write_all(&bytes).await.expect("it reads");
    }

    async fn receive_ids(&mut self, ids: std::ops::Range<u8>) -> Vec<Delivery> {
        self.send(ids.clone()).await;
        let mut deliveries = Vec::new();
        for _ in ids {
            let mut recv = Recv::new(&self.shared.ready);
            deliveries.extend(poll_fn(|cx| recv.poll(cx)).await);
        }
        deliveries
    }
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn the_finishes_of_many_deliveries_leave_in_one_write() {
    LocalSet::new()
        .run_until(async {
            let mut bench = Bench::start().await;
            let deliveries = bench.receive(11).await;
            let before = bench.gate.writes.get();
            for delivery in deliveries {
                assert_eq!(delivery.finish(), Settled::Sent);
            }
            bench.expect(&(0..11).map(finish_line).collect::<String>()).await;
            assert_eq!(bench.gate.writes.get() - before, 1);
            sleep(Duration::from_millis(300)).await;
            assert_eq!(bench.gate.writes.get() - before, 1, "and nothing else");
        })
        .await;
}

/// One finish in each round of the runtime, as a busy endpoint's answers come.
#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn finishes_gather_while_they_come_but_sixteen_at_most_and_on_no_timer() {
    LocalSet::new()
        .run_until(async {
            for (finishes, writes) in [(1, 1), (11, 1), (16, 1), (24, 2)] {
                let mut bench = Bench::start().await;
                let deliveries = bench.receive(finishes).await;
                sleep(Duration::from_millis(1)).await;
                // Messages raise RDY.
                bench.written().await;
                let (before, start) = (bench.gate.writes.get(), Instant::now());
                for delivery in deliveries {
                    assert_eq!(delivery.finish(), Settled::Sent);
                    yield_now().await;
                }
                yield_now().await;
                assert_eq!(bench.gate.writes.get() - before, writes, "{finishes} finishes");
                assert_eq!(
                    start.elapsed(),
                    Duration::ZERO,
                    "the paused clock moves when all tasks wait for it"
                );
                assert_eq!(bench.written().await, (0..finishes).map(finish_line).collect::<String>());
            }
        })
        .await;
}

fn finish_line(n: u8) -> String {
    format!("FIN {}\n", char::from(b'a' + n).to_string().repeat(16))
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn a_touch_that_cannot_leave_extends_nothing() {
    LocalSet::new()
        .run_until(async {
            let mut bench = Bench::start().await;
            let held = bench.receive(2).await;
            bench.gate.closed.set(true);
            // Touched at 500 ms, which would extend them to 1,375 ms. Over at 875 ms, as the first sweep after it sees.
            sleep(Duration::from_millis(930)).await;
            let counts = bench.shared.counters.snapshot();
            assert_eq!((counts.touched, counts.expired), (0, 2));
            assert!(held.into_iter().all(|delivery| delivery.finish() != Settled::Sent));
            let before = bench.gate.writes.get();
            bench.open().await;
            assert_eq!(bench.gate.writes.get(), before, "nothing is sent for them any more");
            assert!(bench.shared.counters.snapshot().balances());
        })
        .await;
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn an_answer_that_stood_until_its_deadline_had_passed_is_not_sent() {
    LocalSet::new()
        .run_until(async {
            let mut bench = Bench::start().await;
            let mut held = bench.receive(2).await;
            bench.gate.closed.set(true);
            assert_eq!(held.remove(0).finish(), Settled::Sent);
            sleep(Duration::from_millis(400)).await;
            sleep(Duration::from_millis(500)).await;
            let late = bench.receive_ids(b'd'..b'e').await.remove(0);
            assert_eq!(late.finish(), Settled::Sent);
            let before = bench.gate.writes.get();
            bench.open().await;
            bench.expect("FIN dddddddddddddddd\n").await;
            assert_eq!(bench.gate.writes.get() - before, 1);
            let counts = bench.shared.counters.snapshot();
            assert_eq!((counts.finished, counts.finishes_unsent, counts.expired), (2, 1, 1));
        })
        .await;
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn the_end_of_a_stop_requeues_nothing_whose_deadline_has_passed() {
    LocalSet::new()
        .run_until(async {
            let mut bench = Bench::start_with(Duration::from_secs(1)).await;
            let _held = bench.receive(1).await;
            // Between the deadline at 875 ms and the sweep at 900 ms.
            bench.shared.begin_stop(Instant::now() + Duration::from_millis(880));
            bench.expect("CLS\n").await;
            assert_eq!(bench.rest().await, "");
            let counts = bench.shared.counters.snapshot();
            assert_eq!((counts.expired, counts.requeued), (1, 0));
        })
        .await;
}

/// Its expiry is noticed by the caller first, at 880 ms; the sweep at 900 ms must not be waited for.
#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn a_stop_ends_as_soon_as_the_last_one_expires() {
    let notice: [fn(Delivery) -> Option<Delivery>; 2] = [
        |delivery| {
            assert_ne!(delivery.finish(), Settled::Sent);
            None
        },
        |delivery| {
            assert_eq!(delivery.state(), DeliveryState::Expired);
            Some(delivery)
        },
    ];
    for notice in notice {
        LocalSet::new()
            .run_until(async {
                let mut bench = Bench::start_with(Duration::from_secs(1)).await;
                let held = bench.receive(1).await.remove(0);
                let began = Instant::now();
                bench.shared.begin_stop(began + Duration::from_secs(60));
                bench.expect("CLS\n").await;
                let mut close_wait = Vec::new();
                write_response(&mut close_wait, b"CLOSE_WAIT");
                bench.far.write_all(&close_wait).await.expect("it reads");
                sleep(Duration::from_millis(880)).await;
                assert!(format!("{held:?}").contains("live: false"));
                assert_eq!(bench.shared.counters.snapshot().expired, 0, "to print it changes nothing");
                let _held = notice(held);
                assert_eq!(bench.rest().await, "");
                assert!(began.elapsed() < Duration::from_millis(890), "{:?}", began.elapsed());
            })
            .await;
    }
}

/// Counts how often it is called.
#[derive(Default)]
struct Called(std::sync::atomic::AtomicUsize);

impl std::task::Wake for Called {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
}

impl Called {
    fn times(&self) -> usize {
        self.0.load(std::sync::atomic::Ordering::Relaxed)
    }
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn a_receiver_that_was_called_and_gives_up_passes_the_call_on() {
    LocalSet::new()
        .run_until(async {
            let mut bench = Bench::start().await;
            let (patient, hasty) = (Arc::<Called>::default(), Arc::<Called>::default());
            let shared = Rc::clone(&bench.shared);
            let waits = |called: &Arc<Called>| {
                let mut recv = Recv::new(&shared.ready);
                let waker = Arc::clone(called).into();
                assert!(recv.poll(&Context::from_waker(&waker)).is_pending());
                recv
            };
            let (mut waiting, leaving) = (waits(&patient), waits(&hasty));
            bench.send(b'a'..b'b').await;
            sleep(Duration::from_millis(1)).await;
            assert_eq!((patient.times(), hasty.times()), (0, 1), "the last one to wait is called");
            drop(leaving);
            assert_eq!(patient.times(), 1);
            let waker = Arc::clone(&patient).into();
            let taken = waiting.poll(&Context::from_waker(&waker));
            assert!(matches!(taken, Poll::Ready(Some(_))), "{taken:?}");
            drop(waits(&hasty));
            assert_eq!(patient.times(), 1, "one that was not called has nothing to pass on");
        })
        .await;
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn an_error_that_came_before_a_write_failed_is_the_reason() {
    LocalSet::new()
        .run_until(async {
            let mut bench = Bench::start().await;
            let delivery = bench.receive(1).await.pop().expect("one came");
            let mut error = Vec::new();
            write_error(&mut error, ErrorCode::Invalid, "RDY count 12 out of range 0-10");
            *bench.gate.last_words.borrow_mut() = Some(error);
            assert_eq!(delivery.finish(), Settled::Sent);
            let ended = bench.ended.await.expect("it ends by itself");
            let DisconnectReason::Server(error) = ended.reason else { panic!("{:?}", ended.reason) };
            assert_eq!(error.code, ErrorCode::Invalid);
        })
        .await;
}
