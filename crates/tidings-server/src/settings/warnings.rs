//! Warnings about settings that work, but perhaps not as intended.

use tidings::config::bounds::SECRET_BYTES_ADVISED;
use tidings::config::{AuthSettings, Envelope, KeySettings, Right, Settings};

/// Returns the warnings about settings without errors.
pub(super) fn warnings(settings: &Settings) -> Vec<String> {
    let mut warnings = Vec::new();
    if settings.channels.envelope == Envelope::Any && !settings.channels.types.is_empty() {
        warnings.push(
            "channels.types has no effect while channels.envelope is \"any\"; set it to \"strict\""
                .to_owned(),
        );
    }
    let Some(auth) = &settings.auth else { return warnings };
    if settings.insecure {
        warnings.push("--insecure has no effect on a hub with [auth]; leave it out".to_owned());
    }
    let beyond = settings.listen.iter().find(|address| !address.ip().to_canonical().is_loopback());
    if let Some(address) = beyond.filter(|_| settings.server.tls.is_none()) {
        warnings.push(format!(
            "listen has {address}, and without TLS tokens travel there in clear; set server.tls.cert_file and \
             server.tls.key_file, or let a proxy in front speak TLS"
        ));
    }
    warnings.extend(secret_warning(auth));
    warnings.extend(auth.keys.iter().flat_map(key_warnings));
    let can_publish = |key: &KeySettings| key.rights.contains(&Right::Publish) && !key.publish.is_empty();
    if !auth.takes_tokens() && !auth.keys.iter().any(can_publish) {
        warnings.push(
            "no client can publish: [auth] has neither a key with that right nor a key that verifies tokens; make a key with \
             `tidings key --name backend --publish '**'`, or set auth.secret"
                .to_owned(),
        );
    }
    warnings
}

fn secret_warning(auth: &AuthSettings) -> Option<String> {
    let bytes = auth.secret.as_ref()?.reveal().len();
    (bytes < SECRET_BYTES_ADVISED).then(|| {
        format!(
            "auth.secret has {bytes} bytes, which can be guessed from one token; HS256 needs {SECRET_BYTES_ADVISED} \
             random bytes, for example from `openssl rand -base64 48`"
        )
    })
}

/// Returns warnings about rights without patterns, and patterns without rights: each grants nothing alone.
fn key_warnings(key: &KeySettings) -> Vec<String> {
    let name = &key.name;
    let pairs = [(Right::Subscribe, "subscribe", &key.subscribe), (Right::Publish, "publish", &key.publish)];
    let mut warnings = Vec::new();
    for (right, member, patterns) in pairs {
        match (key.rights.contains(&right), patterns.is_empty()) {
            (true, true) => warnings.push(format!(
                "auth.keys: {name:?} has the right {right} without patterns, which grants nothing; list them as \
                 {member} = [\"…\"]"
            )),
            (false, false) => warnings.push(format!(
                "auth.keys: {name:?} has patterns to {member} without the right, which grants nothing; add \
                 \"{right}\" to its rights"
            )),
            (true, false) | (false, true) => (),
        }
    }
    if key.rights.is_empty() && warnings.is_empty() {
        warnings.push(format!("auth.keys: {name:?} has no rights and may do nothing"));
    }
    warnings
}
