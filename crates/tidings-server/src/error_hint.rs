//! Advice for errors of a hub that needs a credential, or that does not run.

use std::error::Error as _;
use std::io;

use tidings_client::Error;

/// Returns the error with advice. `wanted` holds the rights that a token needs, as flags of `tidings token` and
/// `tidings key`.
pub(crate) fn explain(error: &Error, has_token: bool, wanted: &str) -> String {
    match auth_hint(error.status(), error.code(), has_token) {
        Some(hint) => format!("{error}; {}", hint.replace("WANTED", wanted)),
        None if is_connection_refused(error) => {
            format!("{error}; start a hub there, or name another with --url or TIDINGS_URL")
        }
        None => error.to_string(),
    }
}

fn is_connection_refused(error: &Error) -> bool {
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    causes
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::ConnectionRefused)
}

/// Returns advice for a 401 or 403, with `WANTED` in place of the rights; `None` for other errors.
pub(crate) fn auth_hint(status: Option<u16>, code: Option<&str>, has_token: bool) -> Option<&'static str> {
    match (status, code) {
        (Some(401), _) if !has_token => Some(
            "give a token with --token or in TIDINGS_TOKEN; on the hub's machine `tidings token --sub me WANTED` or \
             `tidings key --name me WANTED` makes one",
        ),
        (Some(401), Some("token_expired")) => {
            Some("make another token, for example with `tidings token --sub me WANTED`")
        }
        (Some(401), _) => {
            Some("check that --token or TIDINGS_TOKEN is whole, meant for this hub, and not revoked")
        }
        (Some(403), Some("access_denied")) if !has_token => Some(
            "give a token with --token or in TIDINGS_TOKEN; on the hub's machine `tidings token --sub me WANTED` makes \
             one",
        ),
        (Some(403), Some("access_denied")) => {
            Some("the token does not allow it; a token made with WANTED does, if the hook agrees")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
