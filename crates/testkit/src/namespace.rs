//! Network namespaces: a loopback of the test's own, whose packets can be dropped silently. For root only.
//!
//! ```no_run
//! use testkit::namespace::Namespace;
//! use testkit::{endpoint::{Answer, Endpoint}, process::Nsqd, skip};
//!
//! fn packets_of_an_idle_connection_dropped_silently() {
//!     let Some(namespace) = Namespace::new() else {
//!         return skip("packets_of_an_idle_connection_dropped_silently", "needs root and nft");
//!     };
//!     namespace.run(|| {
//!         // Everything started in here, threads and children too, is in the namespace.
//!         let nsqd = Nsqd::start(&[]);
//!         let endpoint = Endpoint::https(Answer::ok());
//!         // ... warm a connection ...
//!         let dropped = namespace.drop_packets(&format!("tcp dport {}", endpoint.port()));
//!         // ... POST ...
//!         assert!(dropped.packets() > 0);
//!     });
//! }
//! ```

use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A network namespace with nothing but a loopback that is up. It goes when it is dropped.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

static CREATED: AtomicU32 = AtomicU32::new(0);

impl Namespace {
    /// A fresh one; none if this process may not or cannot (not root, no `ip`, no `nft`).
    pub fn new() -> Option<Self> {
        let name = format!("posthaste-{}-{}", std::process::id(), CREATED.fetch_add(1, Ordering::Relaxed));
        if !crate::is_root() || !works("nft", &["--version"]) || !works("ip", &["netns", "add", &name]) {
            return None;
        }
        let namespace = Self { name };
        let inside =
            |arguments: &[&str]| works("ip", &[&["netns", "exec", &namespace.name], arguments].concat());
        let usable = inside(&["ip", "link", "set", "lo", "up"])
            && inside(&["nft", "add", "table", "inet", "kit"])
            && inside(&[
                "nft",
                "add",
                "chain",
                "inet",
                "kit",
                "in",
                "{ type filter hook input priority 0; }",
            ]);
        usable.then_some(namespace)
    }

    /// Runs `test` on a thread inside the namespace. Threads and children it starts are inside, too.
    ///
    /// # Panics
    /// When `test` does.
    pub fn run<R: Send>(&self, test: impl FnOnce() -> R + Send) -> R {
        let file = File::open(format!("/run/netns/{}", self.name)).expect("ip made it");
        let inside = || {
            let network = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(file.as_fd(), network).expect("root may enter its namespace");
            test()
        };
        let done = std::thread::scope(|scope| scope.spawn(inside).join());
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Drops every packet sent inside the namespace that this nft expression matches, `tcp dport 4150`, until the value is
    /// dropped. Nobody is told: no RST, no ICMP. They are dropped on their way in, since the kernel tells a sender of
    /// what is dropped on its way out: UDP is refused, and TCP takes the bytes as not sent yet.
    ///
    /// # Panics
    /// When nft does not take the expression.
    #[track_caller]
    pub fn drop_packets(&self, expression: &str) -> Dropped<'_> {
        let rule = format!("add rule inet kit in {expression} counter drop");
        let added = self.nft(&["--echo", "--handle", &rule]);
        assert!(added.status.success(), "nft {rule}: {}", String::from_utf8_lossy(&added.stderr));
        let echoed = String::from_utf8_lossy(&added.stdout).into_owned();
        let handle =
            echoed.rsplit("handle ").next().and_then(|text| text.split_whitespace().next()?.parse().ok());
        Dropped { namespace: self, handle: handle.unwrap_or_else(|| panic!("nft said {echoed:?}")) }
    }

    fn nft(&self, arguments: &[&str]) -> Output {
        let all = [&["netns", "exec", &self.name, "nft"], arguments].concat();
        Command::new("ip").args(all).output().expect("nft ran before")
    }

    /// Names `server` as the only resolver for programs started by [`Namespace::wrap`].
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn set_resolver(&self, server: &str) {
        let dir = self.resolver_dir();
        std::fs::create_dir_all(&dir).expect("root may write to /etc/netns");
        std::fs::write(dir.join("resolv.conf"), format!("nameserver {server}\n"))
            .expect("the directory is ours");
    }

    fn resolver_dir(&self) -> PathBuf {
        PathBuf::from("/etc/netns").join(&self.name)
    }

    /// Has the command run inside the namespace with its resolver. (Inside [`Namespace::run`] this is needed only for the
    /// resolver.)
    pub fn wrap(&self, command: &mut Command) {
        crate::process::wrap(command, "ip", &["netns", "exec", &self.name]);
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        works("ip", &["netns", "delete", &self.name]);
        // Only there if a resolver was set.
        std::fs::remove_dir_all(self.resolver_dir()).ok();
    }
}

/// A rule of [`Namespace::drop_packets`].
#[derive(Debug)]
pub struct Dropped<'a> {
    namespace: &'a Namespace,
    handle: u64,
}

impl Dropped<'_> {
    /// How many packets it has dropped: proof that the fault fired.
    pub fn packets(&self) -> u64 {
        let listed = self.namespace.nft(&["--handle", "list", "chain", "inet", "kit", "in"]);
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        let mine = format!("# handle {}", self.handle);
        let rule = listed.lines().find(|line| line.trim_end().ends_with(&mine));
        let packets = rule.and_then(|rule| rule.split("packets ").nth(1)?.split(' ').next()?.parse().ok());
        packets.unwrap_or_else(|| panic!("no rule {} in {listed}", self.handle))
    }
}

impl Drop for Dropped<'_> {
    fn drop(&mut self) {
        self.namespace.nft(&["delete", "rule", "inet", "kit", "in", "handle", &self.handle.to_string()]);
    }
}

fn works(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
}
