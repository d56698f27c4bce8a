//! Publishing one event or a batch, and trying again where that is safe.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use tidings_protocol::Priority;
use tokio::time::sleep;

use crate::backoff::{Backoff, CEILING_MAX};
use crate::{Client, Error, ErrorKind, Message, PublishAnswer};

/// An event under way to one channel; [`PublishRequest::send`] publishes it.
#[derive(Clone, Debug)]
#[must_use = "nothing is published until `send` is awaited"]
pub struct PublishRequest {
    client: Client,
    message: Message,
}

impl PublishRequest {
    pub(crate) fn new(client: Client, message: Message) -> Self {
        Self { client, message }
    }

    /// The event's name. Default: none, which subscribers see as `message`.
    pub fn event(mut self, name: impl Into<String>) -> Self {
        self.message = self.message.event(name);
        self
    }

    /// The event's data, sent verbatim. Default: empty.
    pub fn data(mut self, data: impl Into<String>) -> Self {
        self.message = self.message.data(data);
        self
    }

    /// How the event competes on a connection that is behind. Default: normal.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.message = self.message.priority(priority);
        self
    }

    /// On a connection that is behind, only the newest event of a key is sent. Default: none.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.message = self.message.key(key);
        self
    }

    /// After this time the event is not delivered any more. Sent in whole milliseconds. Default: none.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.message = self.message.ttl(ttl);
        self
    }

    /// Whether the event is kept for those who resume. Default: true.
    pub fn store(mut self, store: bool) -> Self {
        self.message = self.message.store(store);
        self
    }

    /// Makes a repeat harmless, so that [`PublishRequest::send`] may try again by itself. Default: none.
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.message = self.message.idempotency_key(key);
        self
    }

    /// Publishes the event. The answer's id resumes after it; it is `None` with `store(false)`.
    ///
    /// Without an idempotency key it is tried once, because a second attempt might publish twice. With one it is
    /// tried again, with a backoff and at most [`crate::ClientBuilder::attempts_max`] times in all, when the
    /// connection fails and after 429 and 5xx.
    ///
    /// # Errors
    /// [`ErrorKind::Interrupted`], and [`ErrorKind::Unavailable`] with the code `outcome_unknown`, say that the
    /// event may have been published; any other kind says that it was not.
    pub async fn send(self) -> Result<PublishAnswer, Error> {
        self.message.check()?;
        let Self { client, message } = self;
        let [channel] = message.channels.as_slice() else {
            let answers = send_batch(&client, std::slice::from_ref(&message)).await?;
            return Ok(answers.into_iter().next().expect("a batch of one has one answer"));
        };
        let path = format!("/api/v1/events/{channel}{}", message.query());
        let mut headers = vec![("content-type", "text/plain; charset=utf-8")];
        headers.extend(message.idempotency_key.as_deref().map(|key| ("idempotency-key", key)));
        let body = Bytes::from(message.data);
        let keyed = message.idempotency_key.is_some();
        repeat(&client, keyed, || client.post(&path, &headers, body.clone())).await
    }
}

/// Publishes `messages` as one NDJSON body.
pub(crate) async fn send_batch(client: &Client, messages: &[Message]) -> Result<Vec<PublishAnswer>, Error> {
    if messages.is_empty() {
        return Ok(Vec::new());
    }
    let mut body = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        message.check().map_err(|fault| fault.at(index))?;
        serde_json::to_writer(&mut body, message)
            .map_err(|fault| Error::input(fault.to_string()).at(index).with_source(fault))?;
        body.push(b'\n');
    }
    let body = Bytes::from(body);
    let headers = [("content-type", "application/x-ndjson")];
    let keyed = messages.iter().all(|message| message.idempotency_key.is_some());
    let answers: Vec<PublishAnswer> =
        repeat(client, keyed, || client.post("/api/v1/publish", &headers, body.clone())).await?;
    if answers.len() != messages.len() {
        let text = format!("hub answered {} events of a batch of {}", answers.len(), messages.len());
        return Err(Error::new(ErrorKind::Protocol, text));
    }
    Ok(answers)
}

/// Runs `attempt` once, or, with an idempotency key, until it succeeds, fails for good, or attempts run out.
async fn repeat<A, F>(client: &Client, keyed: bool, mut attempt: impl FnMut() -> F) -> Result<A, Error>
where
    F: Future<Output = Result<A, Error>>,
{
    let mut backoff = Backoff::new();
    let mut left = if keyed { client.settings().attempts_max } else { 1 };
    loop {
        left -= 1;
        match attempt().await {
            Err(fault) if left > 0 && fault.is_passing() => {
                // A publisher waits, so a long `Retry-After` is cut where a subscriber would heed it.
                let wait = backoff.failed(fault.retry_after().map(|after| after.min(CEILING_MAX)));
                tracing::debug!(%fault, ?wait, "publish is tried again");
                sleep(wait).await;
            }
            outcome => return outcome,
        }
    }
}
