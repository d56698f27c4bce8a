//! `POST /api/v1/stream`: a stream whose parameters are in the body, so that many channels need no long URL.

use axum::{body::Body, extract::State, response::Response};
use http::{HeaderMap, Uri};
use serde::Deserialize;
use serde_json::Value;

use super::options::{history, last_event_id, position, start};
use super::stream::{named_or_of_ticket, stream};
use crate::connection::{PositionStyle, StreamOptions};
use crate::error::{Code, Error};
use crate::http::body;
use crate::http::credentials::Authenticated;
use crate::http::error::ErrorResponse;
use crate::http::parameters::{self, Query};
use crate::http::peer::Peer;
use crate::hub::Hub;

const SHAPE: &str =
    "{\"channels\":[\"a\",\"b.*\"]} with `lastEventId`, `history`, `hello` and `position` if wanted";

/// Body of the request. `null` equals an absent member.
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
    authenticated: Authenticated,
    uri: Uri,
    headers: HeaderMap,
    peer: Peer,
    body: Body,
) -> Result<Response, ErrorResponse> {
    let identity = authenticated.for_stream()?;
    let query = Query::of(&uri);
    query.only(&[])?;
    let mut request: StreamRequest = body::json(&headers, body, hub.settings(), SHAPE).await?;
    let channels = request.channels.take().unwrap_or_default();
    let named = parameters::subscriptions(channels.iter().map(String::as_str))?;
    let Some(subscriptions) = named_or_of_ticket(&hub, &identity, &query, named, false).await? else {
        let detail = format!("no channel is asked for; the body is {SHAPE}");
        return Err(Error::new(Code::MalformedBody, detail).into());
    };
    stream(&hub, &identity, subscriptions, || request.options(&headers), peer).await
}

impl StreamRequest {
    /// Reads the options beside the channels. The header wins over the body.
    fn options(self, headers: &HeaderMap) -> Result<StreamOptions, Error> {
        let id = last_event_id(headers)?.or(self.last_event_id.filter(|id| !id.is_empty()));
        // Unlike in a query, a string of digits is no number here.
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

/// Turns an error of a query value into one of the body.
fn of_body(error: &Error) -> Error {
    Error::new(Code::MalformedBody, error.to_string())
}
