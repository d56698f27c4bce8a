//! Signals that a hub handles.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Action that a signal asks for.
pub(super) enum SignalAction {
    /// `SIGTERM` or `SIGINT`: shut down.
    Stop,
    /// `SIGHUP`: read the settings again.
    Reload,
}

/// The signals that a hub handles.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    /// Begins to watch for the signals.
    pub(super) fn watch() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the next signal.
    pub(super) async fn next(&mut self) -> SignalAction {
        tokio::select! {
            _ = self.terminate.recv() => SignalAction::Stop,
            _ = self.interrupt.recv() => SignalAction::Stop,
            _ = self.hang_up.recv() => SignalAction::Reload,
        }
    }

    /// Waits for a signal to stop. It ignores requests to reload.
    pub(super) async fn wait_for_stop(&mut self) {
        while let SignalAction::Reload = self.next().await {}
    }
}
