//! A backend that the hub asks as its hook.

use std::ops::Deref;
use std::sync::{Arc, Condvar, Mutex};

use crate::prelude::*;

/// The answer to a hook request.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum HookReply {
    /// A status and a body.
    Status(u16, &'static str),
    /// A redirect to this URL.
    Redirect(String),
    /// No answer until the reply is another one.
    Silence,
    /// The end of the connection.
    Close,
}

pub(crate) const ALLOW: HookReply = HookReply::Status(200, "{\"allow\":true}");
pub(crate) const DENY: HookReply = HookReply::Status(200, "{\"allow\":false}");

/// A server that records each hook request, and answers all of them alike.
pub(crate) struct HookBackend {
    server: StubServer,
    reply: Arc<(Mutex<HookReply>, Condvar)>,
}

impl Deref for HookBackend {
    type Target = StubServer;

    fn deref(&self) -> &StubServer {
        &self.server
    }
}

impl HookBackend {
    pub(crate) fn start(reply: HookReply) -> Self {
        let reply = Arc::new((Mutex::new(reply), Condvar::new()));
        let shared = reply.clone();
        let server = StubServer::start(move |_| {
            let (reply, changed) = &*shared;
            let is_silent = |reply: &mut HookReply| *reply == HookReply::Silence;
            match &*changed.wait_while(reply.lock().unwrap(), is_silent).unwrap() {
                HookReply::Status(status, body) => StubReply::response(&format!("{status} It"), "", body),
                HookReply::Redirect(url) => {
                    StubReply::response("302 It", &format!("Location: {url}\r\n"), "")
                }
                HookReply::Silence | HookReply::Close => StubReply::closing(""),
            }
        });
        Self { server, reply }
    }

    /// The line of `[auth]` that names this backend as the hook.
    pub(crate) fn setting_line(&self) -> String {
        format!("hook = {:?}\n", self.url("/allow?by=tidings"))
    }

    pub(crate) fn set_reply(&self, reply: HookReply) {
        *self.reply.0.lock().unwrap() = reply;
        self.reply.1.notify_all();
    }

    /// Returns the bodies of the requests since the last call, in the order of their channels: requests may be concurrent.
    pub(crate) fn take_bodies(&self) -> Vec<Value> {
        let mut bodies: Vec<_> = self.take_requests().iter().map(|request| request.json()).collect();
        bodies.sort_by_key(|body| body["channel"].to_string());
        bodies
    }
}
