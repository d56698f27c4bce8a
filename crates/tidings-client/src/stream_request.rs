//! The request that opens a stream: a URL where its channels fit one, a body where they do not.

use bytes::Bytes;
use http::Method;
use serde_json::json;
use tidings_protocol::Subscription;

use crate::Error;

/// Channels whose path is longer go into a body. Proxies take at least 4 KiB by default, with a prefix of their own.
const PATH_BYTES_MAX: usize = 2048;

/// Where a stream is asked for.
#[derive(Clone, Debug)]
pub(crate) enum SubscribeRoute {
    /// A `GET` of this path, with its query open for more.
    Path(String),
    /// `POST /api/v1/stream` with these channels.
    Body(Vec<String>),
}

/// Event to send.
pub(crate) struct StreamRequest {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) body: Bytes,
}

impl SubscribeRoute {
    /// The route for these channels and patterns.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Input`] where there is none, or one is outside the grammar.
    pub(crate) fn of(subscriptions: Vec<String>) -> Result<Self, Error> {
        for subscription in &subscriptions {
            Subscription::parse(subscription)
                .map_err(|fault| Error::input(fault.to_string()).with_source(fault))?;
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

    /// The request; `history` is the value of that parameter.
    pub(crate) fn ask(&self, history: Option<&str>) -> StreamRequest {
        match self {
            Self::Path(path) => {
                let mut path = path.clone();
                match history {
                    Some(history) => path.push_str(&format!("history={history}")),
                    // Nothing follows the question mark or ampersand that the path was left open with.
                    None => drop(path.pop()),
                }
                StreamRequest { method: Method::GET, path, body: Bytes::new() }
            }
            Self::Body(channels) => {
                let mut body = json!({ "channels": channels, "position": "id" });
                if let Some(history) = history {
                    body["history"] = history.parse::<u64>().map_or_else(|_| history.into(), Into::into);
                }
                let path = "/api/v1/stream".to_owned();
                StreamRequest { method: Method::POST, path, body: body.to_string().into() }
            }
        }
    }
}
