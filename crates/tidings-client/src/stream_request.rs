//! The request that opens a stream: a URL with its channels if they fit, otherwise a body.

use bytes::Bytes;
use http::Method;
use serde_json::json;
use tidings_protocol::Subscription;

use crate::error::Error;

/// Bytes of a path with channels, at most. Proxies accept at least 4 KiB by default, with a prefix of their own.
const PATH_BYTES_MAX: usize = 2048;

/// The route of a stream.
#[derive(Clone, Debug)]
pub(crate) enum SubscribeRoute {
    /// A `GET` of this path, to which the query appends a parameter.
    Path(String),
    /// `POST /api/v1/stream` with these channels.
    Body(Vec<String>),
}

/// A request that opens a stream.
pub(crate) struct RoutedRequest {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) body: Bytes,
}

impl SubscribeRoute {
    /// Returns the route for these channels and patterns.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Input`] if there is none, or if one is outside the grammar.
    pub(crate) fn of(subscriptions: Vec<String>) -> Result<Self, Error> {
        for subscription in &subscriptions {
            Subscription::parse(subscription).map_err(Error::invalid)?;
        }
        let path = match subscriptions.as_slice() {
            [] => return Err(Error::input("no channel to subscribe to; name at least one")),
            [one] => format!("/api/v1/events/{one}?position=id&"),
            several => {
                let mut query = form_urlencoded::Serializer::new(String::new());
                query.extend_pairs(several.iter().map(|name| ("channel", name)));
                query.append_pair("position", "id");
                format!("/api/v1/events?{}&", query.finish())
            }
        };
        Ok(if path.len() > PATH_BYTES_MAX { Self::Body(subscriptions) } else { Self::Path(path) })
    }

    /// Returns the request. `history` is the value of that parameter.
    pub(crate) fn request(&self, history: Option<&str>) -> RoutedRequest {
        match self {
            Self::Path(path) => {
                let path = match history {
                    Some(history) => format!("{path}history={history}"),
                    None => path.trim_end_matches('&').to_owned(),
                };
                RoutedRequest { method: Method::GET, path, body: Bytes::new() }
            }
            Self::Body(channels) => {
                let mut body = json!({ "channels": channels, "position": "id" });
                if let Some(history) = history {
                    body["history"] = history.parse::<u64>().map_or_else(|_| history.into(), Into::into);
                }
                let path = "/api/v1/stream".to_owned();
                RoutedRequest { method: Method::POST, path, body: body.to_string().into() }
            }
        }
    }
}
