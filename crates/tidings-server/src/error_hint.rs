//! What the hub refuses for want of a credential or a right, with the way out.

use std::error::Error as _;
use std::io;

use tidings_client::Error;

/// The fault in words. `wanted` is what the token would have to allow, as flags of `tidings token` and `tidings key`.
pub(crate) fn explain(fault: &Error, has_token: bool, wanted: &str) -> String {
    match auth_hint(fault.status(), fault.code(), has_token) {
        Some(auth_hint) => format!("{fault}; {}", auth_hint.replace("WANTED", wanted)),
        None if is_connection_refused(fault) => {
            format!("{fault}; start a hub there, or name another with --url or TIDINGS_URL")
        }
        None => fault.to_string(),
    }
}

/// Whether no program listens where the hub should be.
fn is_connection_refused(fault: &Error) -> bool {
    let causes = std::iter::successors(fault.source(), |cause| (*cause).source());
    causes
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::ConnectionRefused)
}

/// What to do about a refusal, with `WANTED` where the rights stand; none where it has another reason.
pub(crate) fn auth_hint(status: Option<u16>, code: Option<&str>, has_token: bool) -> Option<&'static str> {
    match (status, code) {
        (Some(401), _) if !has_token => Some(
            "give a token with --token or in TIDINGS_TOKEN; where the hub's settings are, `tidings token --sub me WANTED` or \
             `tidings key --name me WANTED` makes one",
        ),
        (Some(401), Some("token_expired")) => {
            Some("make another token, for example with `tidings token --sub me WANTED`")
        }
        (Some(401), _) => {
            Some("see that --token or TIDINGS_TOKEN is whole, meant for this hub, and not revoked")
        }
        (Some(403), Some("access_denied")) if !has_token => Some(
            "it takes a token, with --token or in TIDINGS_TOKEN; where the hub's settings are, `tidings token --sub me WANTED` \
             makes one",
        ),
        (Some(403), Some("access_denied")) => {
            Some("the token does not allow it; it would have to be made with WANTED, and a hook has to agree")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
