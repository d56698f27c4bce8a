//! Validates a complete head as hyper does. hyper refuses with an empty body, the hub with a problem document.

use http::{HeaderName, Method, Uri};

use crate::error::{Code, Error};

/// Bound of a request head of HTTP/1.
pub(crate) const HEAD_BYTES_MAX: usize = 128 << 10;
/// Bound of the number of headers in hyper.
const HEADERS_MAX: usize = 100;
/// Bound of a target in `http::Uri`.
const TARGET_BYTES_MAX: usize = u16::MAX as usize - 1;

/// Fails if hyper would refuse the head.
///
/// # Errors
/// 400 for an invalid head, 414 for a target and 431 for a head that is too large.
pub(super) fn check(head: &[u8]) -> Result<(), Error> {
    if head.len() > HEAD_BYTES_MAX {
        return Err(too_large(head));
    }
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut headers);
    match parsed.parse(head) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(malformed("a head without an end")),
        Err(httparse::Error::TooManyHeaders) => {
            let detail =
                format!("head has more than {HEADERS_MAX} headers; limit is {HEADERS_MAX}; send fewer");
            return Err(Error::new(Code::HeadTooLarge, detail));
        }
        Err(error) => return Err(malformed(&error.to_string())),
    }
    let target = parsed.path.unwrap_or_default();
    if target.len() > TARGET_BYTES_MAX {
        return Err(target_too_long());
    }
    Uri::try_from(target).map_err(|error| malformed(&format!("a target that is no URI ({error})")))?;
    let is_name = |name: &str| HeaderName::from_bytes(name.as_bytes()).is_ok();
    let is_method = Method::from_bytes(parsed.method.unwrap_or_default().as_bytes()).is_ok();
    if !is_method || !parsed.headers.iter().all(|header| is_name(header.name)) {
        return Err(malformed("a name that none may have"));
    }
    Ok(())
}

/// Returns the error of an incomplete head that is too large already.
pub(super) fn too_large(head: &[u8]) -> Error {
    let line_bytes = memchr::memchr(b'\r', head).unwrap_or(head.len());
    if line_bytes > TARGET_BYTES_MAX {
        return target_too_long();
    }
    head_too_large("head is longer", HEAD_BYTES_MAX)
}

/// Returns the error of a head beyond its bound.
pub(crate) fn head_too_large(what: &str, bytes_max: usize) -> Error {
    let detail = format!(
        "{what}; limit is {bytes_max} bytes; name channels in the body of POST /api/v1/stream, and send less in headers"
    );
    Error::new(Code::HeadTooLarge, detail)
}

fn target_too_long() -> Error {
    let detail = format!(
        "target is longer; limit is {TARGET_BYTES_MAX} bytes; name channels in the body of POST /api/v1/stream, \
         or use a ticket, which has its channels with it"
    );
    Error::new(Code::UriTooLong, detail)
}

/// Returns the error of an invalid HTTP/1 request.
pub(super) fn malformed(what: &str) -> Error {
    Error::new(Code::BadRequest, format!("request is not HTTP as it should be: {what}"))
}
