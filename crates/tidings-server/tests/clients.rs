//! Requests with credentials over HTTP/1.1 and HTTP/2.

use std::{collections::VecDeque, time::SystemTime};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tidings_protocol::sse::{MessageEvent, Parser, StreamItem};
use tokio::{net::TcpStream, runtime, time::timeout};

use crate::prelude::*;

/// Milliseconds since 1970.
pub(crate) fn now_millis() -> u64 {
    u64::try_from(SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap()
}

/// A token of a user that expires at this second.
pub(crate) fn token_until(user: &str, second: u64) -> String {
    hs256(&json!({"sub": user, "iat": now(), "exp": second}))
}

/// A token of a user with the right to subscribe to these patterns.
pub(crate) fn token_for(user: &str, subscribe: &[&str]) -> String {
    token_with(user, &json!({"tidings": {"subscribe": subscribe}}))
}

/// A token of a user with these claims in place of the usual ones; null removes one.
pub(crate) fn token_with(user: &str, changes: &Value) -> String {
    hs256(&merged(claims(user), changes.clone()))
}

/// The API key with this number, and its lines in a settings file.
pub(crate) fn api_key(number: usize, lines: &str) -> (String, String) {
    let secret = format!("tk_{number:043}");
    let hash = hash_of(&secret);
    let lines = format!("[[auth.keys]]\nname = \"key-{number}\"\nhash = \"{hash}\"\n{lines}\n");
    (secret, lines)
}

impl TestHub {
    /// Sends a request with `Authorization: Bearer`.
    pub(crate) fn request_as(
        &self,
        method: &str,
        path: &str,
        credential: &str,
        more: &[(&str, &str)],
        body: &[u8],
    ) -> HttpResponse {
        self.send_as(method, path, credential, more, body).read_response()
    }

    /// As [`TestHub::request_as`], and leaves the response to be read.
    pub(crate) fn send_as(
        &self,
        method: &str,
        path: &str,
        credential: &str,
        more: &[(&str, &str)],
        body: &[u8],
    ) -> HttpConnection {
        let (name, value) = bearer(credential);
        self.send_request(method, path, &[&[(name, value.as_str())], more].concat(), body)
    }

    pub(crate) fn get_as(&self, credential: &str, path: &str) -> HttpResponse {
        self.request_as("GET", path, credential, &[], b"")
    }

    pub(crate) fn post_as(&self, credential: &str, path: &str, body: impl AsRef<[u8]>) -> HttpResponse {
        self.request_as("POST", path, credential, &[], body.as_ref())
    }

    /// Publishes to a channel with the API key that has all rights, and returns the id.
    #[track_caller]
    pub(crate) fn publish_as_backend(&self, channel: &str, data: impl AsRef<[u8]>) -> String {
        let response = self.post_as(KEY, &format!("/api/v1/events/{channel}"), data);
        response.assert_status(200).json()["id"].as_str().unwrap().to_owned()
    }

    /// Publishes an event as [`TestHub::publish_as_backend`] does, and asserts that it is the next of the stream.
    #[track_caller]
    pub(crate) fn assert_delivers(
        &self,
        channel: &str,
        data: &str,
        reader: &mut (impl EventReader + ?Sized),
    ) {
        self.publish_as_backend(channel, data);
        assert_eq!(reader.data(), data);
    }

    #[track_caller]
    pub(crate) fn subscribe_as(&self, credential: &str, path: &str) -> SseReader {
        let (name, value) = bearer(credential);
        self.subscribe_with(path, &[(name, &value)])
    }

    #[track_caller]
    pub(crate) fn resume_as(&self, credential: &str, path: &str, id: &str) -> SseReader {
        let (name, value) = bearer(credential);
        self.subscribe_with(path, &[(name, &value), ("Last-Event-ID", id)])
    }

    /// Requests a ticket for these channels.
    pub(crate) fn request_ticket(&self, credential: &str, channels: &[&str]) -> HttpResponse {
        self.post_as(credential, "/api/v1/tickets", json!({"channels": channels}).to_string())
    }

    /// Returns a ticket for these channels.
    #[track_caller]
    pub(crate) fn ticket(&self, credential: &str, channels: &[&str]) -> String {
        let response = self.request_ticket(credential, channels);
        response.assert_status(201).json()["ticket"].as_str().unwrap().to_owned()
    }

    /// Requests a revocation with the API key that has all rights.
    pub(crate) fn revoke(&self, subject: &Value) -> HttpResponse {
        self.post_as(KEY, "/api/v1/revocations", subject.to_string())
    }

    /// Returns the data of the stored events of a channel.
    #[track_caller]
    pub(crate) fn stored_as_backend(&self, channel: &str) -> Vec<String> {
        self.get_as(KEY, &format!("/api/v1/channels/{channel}/events")).event_data()
    }

    /// As [`TestHub::metric`], of a hub with `[auth]`.
    pub(crate) fn counter(&self, name: &str) -> f64 {
        self.get_as(KEY, "/metrics").assert_status(200).metric(name)
    }

    /// Replaces the lines of `[auth]` that [`protected`](crate::tokens::protected) wrote, and reloads the settings.
    #[track_caller]
    pub(crate) fn reload(&mut self, lines: &str) {
        self.reload_whole(&format!("{lines}\n{}", key_lines()));
    }

    /// As [`TestHub::reload`], without the API key that has all rights.
    #[track_caller]
    pub(crate) fn reload_whole(&mut self, lines: &str) {
        std::fs::write(self.path().join("tidings.toml"), format!("[auth]\n{lines}")).unwrap();
        reload(self);
    }
}

pub(crate) struct Http2 {
    runtime: runtime::Runtime,
    sender: http2::SendRequest<Full<Bytes>>,
    authority: String,
}

pub(crate) struct Http2Reader {
    runtime: runtime::Handle,
    body: Incoming,
    parser: Parser,
    events: VecDeque<MessageEvent>,
}

impl Http2 {
    pub(crate) fn connect(hub: &TestHub) -> Self {
        Self::with_window(hub, None)
    }

    /// A client with a flow-control window of so many bytes per stream.
    pub(crate) fn with_window(hub: &TestHub, bytes: Option<u32>) -> Self {
        let runtime = runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let sender = runtime.block_on(async {
            let socket = TcpStream::connect(hub.authority()).await.unwrap();
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder.initial_stream_window_size(bytes);
            let (sender, connection) = builder.handshake(TokioIo::new(socket)).await.unwrap();
            tokio::spawn(connection);
            sender
        });
        Self { runtime, sender, authority: hub.authority().to_owned() }
    }

    /// Opens a stream; the error is the status of a refusal.
    pub(crate) fn open(
        &mut self,
        path: &str,
        credential: &str,
        last_id: Option<&str>,
    ) -> Result<Http2Reader, u16> {
        let (name, value) = bearer(credential);
        let mut headers = vec![(name, value.as_str())];
        headers.extend(last_id.map(|id| ("last-event-id", id)));
        let response = self.get(&with_position(path), &headers);
        match response.status().as_u16() {
            200 => Ok(self.reader(response)),
            status => Err(status),
        }
    }

    /// Opens a stream by `POST /api/v1/stream`.
    #[track_caller]
    pub(crate) fn open_posted(&mut self, body: &Value) -> Http2Reader {
        let request = http::Request::post(format!("http://{}/api/v1/stream", self.authority));
        let response = self.send(request.body(body.to_string().into()).unwrap());
        assert_eq!(response.status(), 200);
        self.reader(response)
    }

    /// Sends a `GET`, and returns the response with its body unread.
    #[track_caller]
    pub(crate) fn get(&mut self, path: &str, headers: &[(&str, &str)]) -> http::Response<Incoming> {
        let mut request = http::Request::get(format!("http://{}{path}", self.authority));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Full::default()).unwrap())
    }

    #[track_caller]
    fn send(&mut self, request: http::Request<Full<Bytes>>) -> http::Response<Incoming> {
        let sender = &mut self.sender;
        let exchange = async { timeout(DEADLINE, sender.send_request(request)).await.unwrap().unwrap() };
        self.runtime.block_on(exchange)
    }

    pub(crate) fn reader(&self, response: http::Response<Incoming>) -> Http2Reader {
        let (runtime, body) = (self.runtime.handle().clone(), response.into_body());
        Http2Reader { runtime, body, parser: Parser::new(), events: VecDeque::new() }
    }
}

impl Http2Reader {
    /// Reads one frame of the body; `None` at its regular end, an error if the hub has reset the stream.
    #[track_caller]
    pub(crate) fn frame(&mut self) -> Option<hyper::Result<Bytes>> {
        let frame = self.runtime.block_on(async { timeout(DEADLINE, self.body.frame()).await.unwrap() });
        frame.map(|frame| frame.map(|frame| frame.into_data().unwrap()))
    }
}

/// An open stream of either version of HTTP.
pub(crate) trait EventReader {
    /// Returns the next event, or `None` at the end of the stream, which must be a regular one.
    fn next(&mut self) -> Option<MessageEvent>;

    fn last_event_id(&self) -> String;

    #[track_caller]
    fn data(&mut self) -> String {
        self.next().expect("the stream ended without a further event").data
    }

    /// Asserts that the hub ends the stream next, for this reason.
    #[track_caller]
    fn assert_end(&mut self, reason: &str, reconnect: bool) {
        let end = self.next().expect("the stream ended without a reason");
        let data: Value = serde_json::from_str(&end.data).unwrap();
        let expected = json!({"reason": reason, "reconnect": reconnect});
        assert_eq!((end.name.as_str(), data), ("tidings.end", expected));
        assert_eq!(self.next(), None);
    }
}

impl EventReader for SseReader {
    fn next(&mut self) -> Option<MessageEvent> {
        self.next_event()
    }

    fn last_event_id(&self) -> String {
        Self::last_event_id(self).to_owned()
    }
}

impl EventReader for Http2Reader {
    fn next(&mut self) -> Option<MessageEvent> {
        while self.events.is_empty() {
            let bytes = self.frame()?.unwrap();
            let mut keep = |item| {
                if let StreamItem::Event(event) = item {
                    self.events.push_back(event);
                }
            };
            self.parser.feed(&bytes, &mut keep).unwrap();
        }
        self.events.pop_front()
    }

    fn last_event_id(&self) -> String {
        self.parser.last_event_id().to_owned()
    }
}

/// Opens streams by one version of HTTP.
pub(crate) enum StreamClient<'h> {
    Http1(&'h TestHub),
    Http2(Http2),
}

impl StreamClient<'_> {
    /// Opens a stream; the error is the status of a refusal.
    pub(crate) fn open(
        &mut self,
        path: &str,
        credential: &str,
        last_id: Option<&str>,
    ) -> Result<Box<dyn EventReader>, u16> {
        match self {
            Self::Http1(hub) => {
                let headers: Vec<_> = last_id.map(|id| ("Last-Event-ID", id)).into_iter().collect();
                let connection = hub.send_as("GET", &with_position(path), credential, &headers, b"");
                let reader = SseReader::from_response(connection);
                if reader.head.status == 200 { Ok(Box::new(reader)) } else { Err(reader.head.status) }
            }
            Self::Http2(connection) => Ok(Box::new(connection.open(path, credential, last_id)?)),
        }
    }
}
