//! Publishes one event or a batch, and retries if that is safe.

use std::future::Future;

use bytes::Bytes;
use tidings_protocol::body::PublishAnswer;
use tokio::time::sleep;

use crate::backoff::{Backoff, CEILING_MAX};
use crate::client::Client;
use crate::error::{Error, ErrorKind};
use crate::message::{Message, message_setters};

/// A publish of one event; [`PublishRequest::send`] sends it.
#[derive(Clone, Debug)]
#[must_use = "nothing is published until `send` is awaited"]
pub struct PublishRequest {
    client: Client,
    message: Message,
}

impl Client {
    /// Begins a publish of an event to `channel`; [`PublishRequest::send`] sends it.
    pub fn publish(&self, channel: impl Into<String>) -> PublishRequest {
        self.publish_message(Message::new(channel))
    }

    /// Begins a publish of a message, which may have several channels.
    pub fn publish_message(&self, message: Message) -> PublishRequest {
        PublishRequest { client: self.clone(), message }
    }

    /// Publishes several events as one batch: all are stored, next to each other, or none. Returns one answer each.
    ///
    /// It is retried only if every message has an idempotency key, as for [`PublishRequest::send`].
    ///
    /// # Errors
    /// As for [`PublishRequest::send`]; [`Error::index`] names the first bad message.
    pub async fn publish_batch(&self, messages: Vec<Message>) -> Result<Vec<PublishAnswer>, Error> {
        send_batch(self, &messages).await
    }
}

impl PublishRequest {
    message_setters!(self, self.message);

    /// Publishes the event. The answer's id resumes after it; it is `None` with `store(false)`.
    ///
    /// Without an idempotency key it is sent once, because a second attempt might publish twice. With a key it is retried
    /// when the connection fails and after 429 and 5xx, with a backoff, at most
    /// [`crate::ClientBuilder::attempts_max`] times in all.
    ///
    /// # Errors
    /// After [`ErrorKind::Interrupted`], and [`ErrorKind::Unavailable`] with the code `outcome_unknown`, the event may have
    /// been published. After any other error it was not.
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
        let is_keyed = message.idempotency_key.is_some();
        retry(&client, is_keyed, || client.post(&path, &headers, body.clone())).await
    }
}

/// Publishes `messages` as one NDJSON body.
async fn send_batch(client: &Client, messages: &[Message]) -> Result<Vec<PublishAnswer>, Error> {
    if messages.is_empty() {
        return Ok(Vec::new());
    }
    let mut body = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        message.check().map_err(|error| error.at(index))?;
        serde_json::to_writer(&mut body, message).map_err(|error| Error::invalid(error).at(index))?;
        body.push(b'\n');
    }
    let body = Bytes::from(body);
    let headers = [("content-type", "application/x-ndjson")];
    let is_keyed = messages.iter().all(|message| message.idempotency_key.is_some());
    let answers: Vec<PublishAnswer> =
        retry(client, is_keyed, || client.post("/api/v1/publish", &headers, body.clone())).await?;
    if answers.len() != messages.len() {
        let text = format!("hub answered {} events of a batch of {}", answers.len(), messages.len());
        return Err(Error::new(ErrorKind::Protocol, text));
    }
    Ok(answers)
}

/// Runs `attempt` once. With an idempotency key, repeats it while the error is temporary and attempts are left.
async fn retry<A, F>(client: &Client, is_keyed: bool, mut attempt: impl FnMut() -> F) -> Result<A, Error>
where
    F: Future<Output = Result<A, Error>>,
{
    let mut backoff = Backoff::new();
    let mut left = if is_keyed { client.settings().attempts_max } else { 1 };
    loop {
        left -= 1;
        match attempt().await {
            Err(error) if left > 0 && error.is_temporary() => {
                // A publisher waits for the answer, so a long `Retry-After` is cut, unlike for a subscriber.
                let delay = backoff.next_delay(error.retry_after().map(|after| after.min(CEILING_MAX)));
                tracing::debug!(%error, ?delay, "publish is retried");
                sleep(delay).await;
            }
            outcome => return outcome,
        }
    }
}
