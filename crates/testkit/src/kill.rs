//! How a test ends a connection of a scripted server from outside.

use tokio::sync::watch;

/// How a connection is ended from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kill {
    /// RST.
    Reset,
    /// The socket is closed as when a process dies: FIN without close_notify, or RST if something was unread.
    Drop,
}

/// The sending end, kept where the test can reach it.
pub(crate) struct Killer(watch::Sender<Option<Kill>>);

/// The receiving end, kept by the connection.
#[derive(Clone)]
pub(crate) struct Killed(watch::Receiver<Option<Kill>>);

pub(crate) fn switch() -> (Killer, Killed) {
    let (killer, killed) = watch::channel(None);
    (Killer(killer), Killed(killed))
}

impl Killer {
    /// `false` if the connection has ended already.
    pub(crate) fn kill(&self, kill: Kill) -> bool {
        self.0.send(Some(kill)).is_ok()
    }
}

impl Killed {
    pub(crate) async fn ordered(mut self) -> Kill {
        loop {
            if let Some(kill) = *self.0.borrow_and_update() {
                return kill;
            }
            if self.0.changed().await.is_err() {
                // Everyone who could order it is gone.
                std::future::pending::<()>().await;
            }
        }
    }
}
