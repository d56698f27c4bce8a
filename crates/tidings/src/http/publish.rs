//! `POST /api/v1/events/{channel}` and `POST /api/v1/publish`.

use std::{borrow::Cow, sync::Arc};

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, Uri, header};
use tidings_protocol::body::{self, BodyError, PublishAnswer, PublishBody, PublishMessage};
use tidings_protocol::{EventName, Priority};

use super::body::read;
use super::credentials::Authenticated;
use super::error::ErrorResponse;
use super::parameters::{self, Query};
use crate::auth::{self, Identity};
use crate::broker::{self, PublishOutcome};
use crate::error::{Code, Error};
use crate::hub::Hub;
use crate::publish::CheckedMessage;

/// Publishes the unchanged body to the channel in the path.
pub(super) async fn one(
    State(hub): State<Hub>,
    authenticated: Authenticated,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<PublishAnswer>, ErrorResponse> {
    let identity = authenticated.for_writing()?;
    let path = uri.path().strip_prefix("/api/v1/events/").unwrap_or_default();
    let channel = parameters::channel(&parameters::decoded(path)?)?;
    let given = EventParameters { query: Query::of(&uri), headers: &headers };
    given.query.only(&["event", "priority", "key", "ttl", "store"])?;
    let store = given.store()?;
    let mut message = PublishMessage {
        channels: vec![channel],
        event: given.event()?,
        data: String::new(),
        priority: given.priority()?,
        key: given.key()?,
        ttl: given.ttl()?,
        store,
        idempotency_key: idempotency_key(&headers, store)?,
    };
    let text = read(&headers, body, hub.settings()).await?;
    message.data = String::from_utf8(text.into()).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Error::new(
            Code::InvalidUtf8,
            format!("data is not UTF-8 from byte {at} on; encode what is binary, as in base64"),
        )
    })?;
    Ok(Json(publish_alone(&hub, &identity, hub.publisher().check(message)?).await?))
}

/// Publishes one JSON object, an array, or NDJSON.
pub(super) async fn messages(
    State(hub): State<Hub>,
    authenticated: Authenticated,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ErrorResponse> {
    let identity = authenticated.for_writing()?;
    let text = read(&headers, body, hub.settings()).await?;
    let content_type = parameters::header(&headers, header::CONTENT_TYPE.as_str())?;
    let mut check = |index: Option<usize>, message: PublishMessage| {
        let message = if index.is_none() { with_key_of_header(message, &headers)? } else { message };
        let checked =
            hub.publisher().check(message).map_err(|error| index.into_iter().fold(error, Error::at))?;
        let allowed = hub.authorizer().check_publish(&identity, checked.channels());
        allowed.map_err(|error| index.into_iter().fold(error, auth::denied_at))?;
        Ok::<_, PublishError>(checked)
    };
    match body::parse_publish_with(content_type.as_deref(), &text, &mut check).map_err(|fault| fault.0)? {
        PublishBody::One(message) => Ok(Json(publish_alone(&hub, &identity, message).await?).into_response()),
        PublishBody::Batch(messages) => {
            if headers.contains_key("idempotency-key") {
                let detail = "the header Idempotency-Key goes with one event; in a batch give each its `idempotencyKey`";
                return Err(Error::new(Code::BadIdempotencyKey, detail).into());
            }
            Ok(Json(publish(&hub, &identity, messages).await?).into_response())
        }
    }
}

/// Reason to refuse a body of messages.
struct PublishError(Error);

impl From<Error> for PublishError {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl From<BodyError> for PublishError {
    fn from(fault: BodyError) -> Self {
        let error = Error::new(fault.code, fault.detail);
        Self(fault.index.into_iter().fold(error, Error::at))
    }
}

/// Sets the key of the header on a message outside a batch.
fn with_key_of_header(mut message: PublishMessage, headers: &HeaderMap) -> Result<PublishMessage, Error> {
    if let Some(key) = idempotency_key(headers, message.store)? {
        if message.idempotency_key.as_ref().is_some_and(|other| *other != key) {
            let detail = "`idempotencyKey` and the header Idempotency-Key differ; give one of them";
            return Err(Error::new(Code::BadIdempotencyKey, detail));
        }
        message.idempotency_key = Some(key);
    }
    Ok(message)
}

/// Publishes an event outside a batch. Its errors have no index.
async fn publish_alone(
    hub: &Hub,
    identity: &Arc<Identity>,
    message: CheckedMessage,
) -> Result<PublishAnswer, Error> {
    let mut answers = publish(hub, identity, vec![message]).await.map_err(Error::alone)?;
    Ok(answers.pop().expect("one message has one answer"))
}

async fn publish(
    hub: &Hub,
    identity: &Arc<Identity>,
    messages: Vec<CheckedMessage>,
) -> Result<Vec<PublishAnswer>, Error> {
    let permit = hub.authorizer().publish(identity, messages.iter().map(CheckedMessage::channels)).await?;
    if let Some(left) = hub.drain_time_left() {
        return Err(broker::shutting_down().retry_after(left));
    }
    let published = hub.publisher().publish(&permit, messages).await?;
    Ok(published.iter().map(answer).collect())
}

fn answer(published: &PublishOutcome) -> PublishAnswer {
    let id = published.id();
    PublishAnswer { id: id.map(ToString::to_string), offset: id.map(|id| id.offset) }
}

fn idempotency_key(headers: &HeaderMap, store: bool) -> Result<Option<String>, Error> {
    let Some(key) = parameters::header(headers, "idempotency-key")? else { return Ok(None) };
    body::check_key("Idempotency-Key", &key)
        .map_err(|error| Error::new(Code::BadIdempotencyKey, error.to_string()))?;
    if !store {
        let detail = "Idempotency-Key needs a stored event: with store=false nothing remembers the first";
        return Err(Error::new(Code::BadIdempotencyKey, detail));
    }
    Ok(Some(key.into_owned()))
}

/// Parameters of an event beside the body.
struct EventParameters<'a> {
    query: Query,
    headers: &'a HeaderMap,
}

impl EventParameters<'_> {
    /// Returns the value of a parameter, from the query or from its header.
    fn value(&self, name: &str) -> Result<Option<Cow<'_, str>>, Error> {
        let header = parameters::header(self.headers, &format!("tidings-{name}"))?;
        // The value is owned: the query would borrow `name`, too.
        let query = self.query.all(name).next().filter(|value| !value.is_empty()).map(str::to_owned);
        self.query.one(name)?;
        match (query, header) {
            (Some(query), Some(header)) if query != header => Err(Error::new(
                Code::BadQuery,
                format!(
                    "`{name}` is {query:?} in the query and {header:?} in the header Tidings-{name}; give one"
                ),
            )),
            (Some(query), _) => Ok(Some(query.into())),
            (None, header) => Ok(header),
        }
    }

    fn event(&self) -> Result<Option<EventName>, Error> {
        let Some(name) = self.value("event")? else { return Ok(None) };
        EventName::parse(&name).map(Some).map_err(|error| Error::new(Code::BadEventName, error.to_string()))
    }

    fn priority(&self) -> Result<Priority, Error> {
        let Some(text) = self.value("priority")? else { return Ok(Priority::Normal) };
        text.parse().map_err(|error: tidings_protocol::PriorityError| {
            Error::new(Code::BadPriority, error.to_string())
        })
    }

    fn key(&self) -> Result<Option<String>, Error> {
        let Some(key) = self.value("key")? else { return Ok(None) };
        body::check_key("key", &key).map_err(|error| Error::new(Code::BadKey, error.to_string()))?;
        Ok(Some(key.into_owned()))
    }

    fn ttl(&self) -> Result<Option<std::time::Duration>, Error> {
        let Some(text) = self.value("ttl")? else { return Ok(None) };
        body::parse_ttl(&text).map(Some).map_err(|error| Error::new(Code::BadTtl, error.to_string()))
    }

    fn store(&self) -> Result<bool, Error> {
        match self.value("store")?.as_deref() {
            None | Some("true") => Ok(true),
            Some("false") => Ok(false),
            Some(other) => {
                Err(Error::new(Code::BadQuery, format!("store {other:?} is neither `true` nor `false`")))
            }
        }
    }
}
