//! The hub as this program uses it. It stands in until the crate has its own, and is replaced by `pub(super) use tidings::{…}`.

use std::net::TcpListener;
use std::sync::Arc;

use tidings::config::Settings;
use tokio::sync::Notify;

pub(super) type Error = std::io::Error;

#[derive(Clone)]
pub(super) struct Hub {
    stopped: Arc<Notify>,
}

pub(super) struct Builder;

impl Hub {
    pub(super) fn builder() -> Builder {
        Builder
    }

    pub(super) async fn shutdown(&self) {
        self.stopped.notify_one();
    }
}

impl Builder {
    pub(super) fn settings(self, _settings: Settings) -> Self {
        self
    }

    pub(super) async fn build(self) -> Result<Hub, Error> {
        Ok(Hub { stopped: Arc::default() })
    }
}

pub(super) async fn serve(hub: Hub, _listeners: Vec<TcpListener>) -> Result<(), Error> {
    hub.stopped.notified().await;
    Ok(())
}
