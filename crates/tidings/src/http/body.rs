//! Reads a request body within its bounds of size and time.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use tidings_protocol::body::parse_object;

use crate::config::Settings;
use crate::error::{Code, Error};

/// Reads the whole body.
///
/// # Errors
/// - 413 if it is larger than `limits.body_bytes`; if `Content-Length` says so, before it is read.
/// - 408 if it does not arrive within `server.body_timeout`.
/// - 415 if it is compressed.
pub(super) async fn read(headers: &HeaderMap, body: Body, settings: &Settings) -> Result<Bytes, Error> {
    let bytes_max = settings.limits.body_bytes;
    if let Some(encoding) = headers.get(header::CONTENT_ENCODING).filter(|it| *it != "identity") {
        let encoding = String::from_utf8_lossy(encoding.as_bytes());
        return Err(Error::new(
            Code::UnsupportedMediaType,
            format!("Content-Encoding {encoding:?} is not taken; send the body as it is"),
        ));
    }
    if let Some(length) = content_length(headers).filter(|length| *length > bytes_max) {
        return Err(too_large(&format!("body is {length} bytes"), bytes_max));
    }
    let limited = Limited::new(body, usize::try_from(bytes_max).unwrap_or(usize::MAX));
    let timeout = settings.server.body_timeout;
    match tokio::time::timeout(timeout, limited.collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large("body is larger", bytes_max)),
        Ok(Err(error)) => Err(Error::new(Code::BadRequest, format!("body ended early: {error}"))),
        Err(_) => Err(late(timeout)),
    }
}

/// Reads a JSON object of a few members. Errors show `shape`.
///
/// # Errors
/// Those of [`read`], and 400 if the body has another shape.
pub(super) async fn json<T: DeserializeOwned>(
    headers: &HeaderMap,
    body: Body,
    settings: &Settings,
    shape: &str,
) -> Result<T, Error> {
    let bytes = read(headers, body, settings).await?;
    parse_object(&bytes)
        .map_err(|error| Error::new(Code::MalformedBody, format!("the body is not {shape}: {error}")))
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn too_large(what: &str, bytes_max: u64) -> Error {
    let detail = format!("{what}; limit is {bytes_max} bytes (limits.body_bytes); send several requests");
    Error::new(Code::BodyTooLarge, detail).limit("body_bytes")
}

fn late(timeout: Duration) -> Error {
    Error::new(Code::BodyTimeout, format!("body did not arrive within {timeout:?} (server.body_timeout)"))
}
