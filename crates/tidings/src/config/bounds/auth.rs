//! Bounds of `[auth]`. No message shows a secret, or a value in whose place a secret may stand by mistake.

use std::collections::HashSet;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use http::Uri;
use tidings_protocol::Pattern;

use super::super::auth::{Algorithm, AuthSettings, KeySettings};
use super::text::{SettingErrors, duration_text};

/// `auth.leeway`.
pub const LEEWAY: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_mins(5);
/// `auth.hook_timeout`.
pub const HOOK_TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(50)..=Duration::from_secs(30);
/// `auth.hook_ttl`.
pub const HOOK_TTL: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_hours(1);
/// `auth.hook_recheck`.
pub const HOOK_RECHECK: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_hours(24);
/// `auth.token_max_age`.
pub const TOKEN_MAX_AGE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(24 * 365);
/// Longest name of an API key.
pub const KEY_NAME_BYTES_MAX: usize = 250;
/// Longest name of a user.
pub const USER_NAME_BYTES_MAX: usize = 250;
/// Shortest recommended `auth.secret`. RFC 7518, 3.2: as long as the output of the hash.
pub const SECRET_BYTES_ADVISED: usize = 32;

/// Claims with another meaning than the user.
const OTHER_CLAIMS: [&str; 7] = ["aud", "exp", "iat", "iss", "jti", "nbf", "tidings"];

/// Returns the problem of an API key's name, as the text after "the name".
pub fn key_name_fault(name: &str) -> Option<String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    match () {
        () if name.is_empty() => Some(format!("is empty; 1 to {KEY_NAME_BYTES_MAX} bytes of A-Za-z0-9_.-")),
        () if name.len() > KEY_NAME_BYTES_MAX => {
            Some(format!("is {} bytes; at most {KEY_NAME_BYTES_MAX}", name.len()))
        }
        () if !name.bytes().all(allowed) => {
            Some(format!("is {name:?}; 1 to {KEY_NAME_BYTES_MAX} bytes of A-Za-z0-9_.-"))
        }
        () => None,
    }
}

/// Returns the problem of a user's name, as the text after "the name".
pub fn user_name_fault(name: &str) -> Option<String> {
    match () {
        () if name.is_empty() => Some(format!("is empty; 1 to {USER_NAME_BYTES_MAX} bytes without NUL")),
        () if name.len() > USER_NAME_BYTES_MAX => {
            Some(format!("is {} bytes; at most {USER_NAME_BYTES_MAX}", name.len()))
        }
        () if name.contains('\0') => Some("has a NUL; leave it out".to_owned()),
        () => None,
    }
}

/// Returns the problem of a pattern. Only with `with_user` may it have `{sub}`, which stands for a user's segment.
pub fn pattern_fault(pattern: &str, with_user: bool) -> Option<String> {
    let filled = if with_user { pattern.replace("{sub}", "u") } else { pattern.to_owned() };
    match Pattern::parse(&filled) {
        Ok(_) => None,
        Err(_) if pattern.contains("{sub}") && !with_user => Some(format!(
            "has {pattern:?}; only auth.user.subscribe fills {{sub}} in, so name the channels themselves"
        )),
        Err(_) if filled.contains(['{', '}']) && with_user => {
            Some(format!("has {pattern:?}; the one thing that is filled in is {{sub}}, the user's name"))
        }
        Err(fault) => Some(format!("has {pattern:?}, which is not a pattern: {fault}")),
    }
}

pub(super) fn check(auth: &AuthSettings, errors: &mut SettingErrors) {
    check_tokens(auth, errors);
    let durations = [
        ("auth.leeway", auth.leeway, LEEWAY),
        ("auth.hook_timeout", auth.hook_timeout, HOOK_TIMEOUT),
        ("auth.hook_ttl", auth.hook_ttl, HOOK_TTL),
        ("auth.hook_recheck", auth.hook_recheck, HOOK_RECHECK),
        ("auth.token_max_age", auth.token_max_age, TOKEN_MAX_AGE),
    ];
    for (setting, value, bound) in durations {
        errors.check(setting, Some(value), &bound, duration_text);
    }
    errors.check_length("auth.audience", auth.audience.len());
    errors.check_length("auth.issuer", auth.issuer.len());
    errors.check_length("auth.user.subscribe", auth.user_subscribe.len());
    errors.check_length("auth.anonymous.subscribe", auth.anonymous_subscribe.len());
    errors.check_length("auth.keys", auth.keys.len());
    errors.add("auth.cookie", auth.cookie.as_deref().and_then(cookie_fault));
    errors.add("auth.user_claim", claim_fault(&auth.user_claim));
    errors.add("auth.hook", auth.hook.as_deref().and_then(hook_fault));
    for pattern in &auth.user_subscribe {
        errors.add("auth.user.subscribe", pattern_fault(pattern, true));
    }
    for pattern in &auth.anonymous_subscribe {
        errors.add("auth.anonymous.subscribe", pattern_fault(pattern, false));
    }
    for problem in keys_faults(&auth.keys) {
        errors.add("auth.keys", Some(problem));
    }
}

/// Checks the settings that verify tokens.
fn check_tokens(auth: &AuthSettings, errors: &mut SettingErrors) {
    let mut add = |setting: &'static str, problem: String| errors.add(setting, Some(problem));
    if auth.secret.as_ref().is_some_and(|secret| secret.reveal().is_empty()) {
        add("auth.secret", "is empty; make one with `openssl rand -base64 48`".to_owned());
    }
    if auth.key_file.as_ref().is_some_and(|path| path.as_os_str().is_empty()) {
        add("auth.key_file", "is empty; leave it out or name a PEM file".to_owned());
    }
    if let Some(problem) = auth.jwks_url.as_deref().and_then(jwks_fault) {
        add("auth.jwks_url", problem);
    }
    let public_keys = auth.key_file.is_some() || auth.jwks_url.is_some();
    let without_key = |algorithm: &&Algorithm| match algorithm.is_symmetric() {
        true => auth.secret.is_none(),
        false => !public_keys,
    };
    if let Some(algorithm) = auth.algorithms.iter().find(without_key) {
        let keys = if algorithm.is_symmetric() { "auth.secret" } else { "auth.key_file or auth.jwks_url" };
        add(
            "auth.algorithms",
            format!("has {algorithm}, which no given key can do; give {keys}, or remove it"),
        );
    }
    for (setting, texts) in [("auth.audience", &auth.audience), ("auth.issuer", &auth.issuer)] {
        if texts.iter().any(String::is_empty) {
            add(setting, "has an empty text, which no token names; remove it".to_owned());
        }
    }
}

/// Returns the problem of a cookie's name. Source: RFC 6265, 4.1.1: it is a token of HTTP.
fn cookie_fault(name: &str) -> Option<String> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let good = !name.is_empty() && name.bytes().all(is_token);
    (!good).then(|| {
        "is not a cookie's name, which has letters, digits and -._ but no space, = or ;, for example \"session\""
            .to_owned()
    })
}

fn claim_fault(claim: &str) -> Option<String> {
    match () {
        () if claim.is_empty() => Some("is empty; name the claim that says who the user is".to_owned()),
        () if OTHER_CLAIMS.contains(&claim) => {
            Some(format!("is {claim:?}, which says something else than who the user is"))
        }
        () => None,
    }
}

fn hook_fault(url: &str) -> Option<String> {
    const EXAMPLE: &str = "for example http://127.0.0.1:3000/tidings/allow";
    url_fault(url).map(|fault| format!("{fault}, {EXAMPLE}"))
}

/// Returns the problem of a JWKS URL. Plain HTTP would let others on the way replace the keys.
fn jwks_fault(url: &str) -> Option<String> {
    const EXAMPLE: &str = "for example https://id.example.com/.well-known/jwks.json";
    if let Some(fault) = url_fault(url) {
        return Some(format!("{fault}, {EXAMPLE}"));
    }
    let uri: Uri = url.parse().ok()?;
    let to_loopback = uri.host().is_some_and(is_loopback);
    (uri.scheme_str() == Some("http") && !to_loopback).then(|| {
        format!("is plain http beyond this machine, so that anyone on the way could put keys in; use https, {EXAMPLE}")
    })
}

/// Returns the problem of a URL, without the URL, which may have a password.
fn url_fault(url: &str) -> Option<String> {
    let uri: Option<Uri> = url.parse().ok();
    let authority = uri.as_ref().and_then(Uri::authority);
    let scheme = uri.as_ref().and_then(Uri::scheme_str);
    let fault = match authority.filter(|authority| !authority.host().is_empty()) {
        _ if !matches!(scheme, Some("http" | "https")) => "is not an http or https URL",
        None => "names no host",
        Some(authority) if authority.as_str().contains('@') => {
            "has a user name or password, which are not sent; take them out"
        }
        Some(_) if url.contains('#') => "has a fragment, which is never sent; take it out",
        Some(_) => return None,
    };
    Some(fault.to_owned())
}

fn is_loopback(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    let address = bare.parse::<IpAddr>().map(|address| address.to_canonical().is_loopback());
    address.unwrap_or_else(|_| host.eq_ignore_ascii_case("localhost"))
}

fn keys_faults(keys: &[KeySettings]) -> Vec<String> {
    let mut problems = Vec::new();
    let mut names = HashSet::new();
    let mut hashes = HashSet::new();
    for key in keys {
        let name = &key.name;
        if let Some(fault) = key_name_fault(name) {
            problems.push(format!("has a name that {fault}"));
            continue;
        }
        if !names.insert(name) {
            problems.push(format!("has two keys named {name:?}; rename one"));
        }
        if key.digest().is_none() {
            problems.push(format!(
                "has a hash of {name:?} that is not `sha256:` and 64 hexadecimal digits; make the key with \
                 `tidings key --name {name}`, which prints it"
            ));
        } else if !hashes.insert(key.hash.to_ascii_lowercase()) {
            problems.push(format!("has the hash of {name:?} twice; each key has a secret of its own"));
        }
        let patterns = [("subscribe", &key.subscribe), ("publish", &key.publish)];
        for (member, patterns) in patterns {
            let faults = patterns.iter().filter_map(|pattern| pattern_fault(pattern, false));
            problems.extend(faults.map(|fault| format!("of {name:?}: {member} {fault}")));
        }
    }
    problems
}
