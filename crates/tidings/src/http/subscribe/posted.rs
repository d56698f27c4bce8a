//! `POST /api/v1/stream`: the body says what a `GET` says in its query, so that many channels need no long URL.

use axum::{body::Body, extract::State, response::Response};
use http::{HeaderMap, Uri};
use serde::Deserialize;
use serde_json::Value;

use super::{history, last_event_id, named_or_of_ticket, permit, position, start, stream};
use crate::{
    connection::{PositionStyle, StreamOptions},
    error::{Code, Error},
    http::{
        body,
        credentials::Authenticated,
        error::ErrorResponse,
        parameters::{self, Query},
        peer::Peer,
    },
    hub::Hub,
};

const SHAPE: &str =
    "{\"channels\":[\"a\",\"b.*\"]} with `lastEventId`, `history`, `hello` and `position` if wanted";

/// The body. A member that is null is as good as left out.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct StreamRequest {
    channels: Option<Vec<String>>,
    last_event_id: Option<String>,
    history: Option<Value>,
    hello: Option<bool>,
    position: Option<String>,
}

/// Subscribes to every channel of the body.
pub(in crate::http) async fn posted(
    State(hub): State<Hub>,
    admitted: Authenticated,
    uri: Uri,
    headers: HeaderMap,
    remote: Peer,
    body: Body,
) -> Result<Response, ErrorResponse> {
    let identity = admitted.for_stream()?;
    let query = Query::of(&uri);
    query.only(&[])?;
    let mut asked: StreamRequest = body::json(&headers, body, hub.settings(), SHAPE).await?;
    let channels = asked.channels.take().unwrap_or_default();
    let named = parameters::subscriptions(channels.iter().map(String::as_str))?;
    let Some(subscriptions) = named_or_of_ticket(&hub, &identity, &query, named, false).await? else {
        let detail = format!("no channel is asked for; the body is {SHAPE}");
        return Err(Error::new(Code::MalformedBody, detail).into());
    };
    let permit = permit(&hub, &identity, subscriptions).await?;
    stream(&hub, &permit, || asked.options(&headers), remote)
}

impl StreamRequest {
    /// Options beside the channels. The header wins over the body.
    fn options(self, headers: &HeaderMap) -> Result<StreamOptions, Error> {
        let id = last_event_id(headers)?.or(self.last_event_id.filter(|id| !id.is_empty()));
        // A string of digits is no number here, as it is in a query.
        let history = self.history.map(|value| match value {
            Value::String(text) if text == "all" => history(&text),
            other => history(&other.to_string()),
        });
        let position = self.position.filter(|text| !text.is_empty()).map(|text| position(&text));
        Ok(StreamOptions {
            start: start(id, history.transpose().map_err(|error| of_body(&error))?),
            positions: position.transpose().map_err(|error| of_body(&error))?.unwrap_or(PositionStyle::None),
            open_event: self.hello.unwrap_or_default(),
        })
    }
}

/// The fault of a value that the body has, where a query may have it, too.
fn of_body(error: &Error) -> Error {
    Error::new(Code::MalformedBody, error.to_string())
}
