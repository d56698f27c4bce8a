//! Waiting for a condition, and ports to listen on.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long a test waits for an answer, a process or a condition before it fails.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Waits until `holds` returns true; panics with `condition` after [`DEADLINE`].
#[track_caller]
pub fn eventually(condition: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < DEADLINE, "not within {DEADLINE:?}: {condition}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Returns a port on which no program listens. Another program may take it at any time.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Returns a free port outside the ephemeral range: it stays free between two runs of a process.
pub fn fixed_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let first = 20_000 + std::process::id() % 8_000;
    let ports = std::iter::repeat_with(|| first + NEXT.fetch_add(1, Ordering::Relaxed));
    let mut ports = ports.map(|port| u16::try_from(port).unwrap());
    ports.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap()
}
