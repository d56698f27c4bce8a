//! `tidings token`: signs a token with the hub's secret, and explains its rights.

mod explanation;
mod sign;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::RngExt as _;
use serde_json::{Map, Value, json};
use tidings::config::bounds::{duration_text, user_name_fault};
use tidings::config::{Algorithm, AuthSettings, Secret, Settings};

use crate::exit::fail_usage;
use crate::pattern_flags::check_patterns;
use crate::setting_flags::fail_settings;
use crate::settings::{Sources, load, read_duration};
use crate::terminal::{print, print_note};
use explanation::Explanation;

/// Make a token for a user, signed with auth.secret.
///
/// Prints the token on standard output, and its rights on standard error.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of the user.
    #[arg(long, value_name = "USER")]
    sub: String,
    /// Pattern that the user may subscribe to, besides those of auth.user.subscribe; may be repeated.
    #[arg(long, value_name = "PATTERN")]
    subscribe: Vec<String>,
    /// Pattern that the user may publish to; may be repeated.
    #[arg(long, value_name = "PATTERN")]
    publish: Vec<String>,
    /// Life of the token, at most auth.token_max_age.
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = read_duration)]
    expires: Duration,
    /// Settings file; by default tidings.toml, if it exists.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Shortest life of a token: its end is written in whole seconds.
const EXPIRES_MIN: Duration = Duration::from_secs(1);

/// Prints a token. Returns 2 if the settings cannot sign it, or if the hub would refuse it.
pub(crate) fn run(args: &Args) -> ExitCode {
    let variables = std::env::vars_os().collect();
    let loaded = match load(Sources { config: args.config.clone(), variables, ..Sources::default() }) {
        Ok(loaded) => loaded,
        Err(diagnostics) => return fail_settings(&diagnostics),
    };
    match issue(args, &loaded.settings, now()) {
        Ok(signed) => {
            print_note(&signed.explanation);
            print(&format!("{}\n", signed.token));
            ExitCode::SUCCESS
        }
        Err(error) => fail_usage(&error),
    }
}

/// A token, and its rights as text.
struct SignedToken {
    token: String,
    explanation: String,
}

fn issue(args: &Args, settings: &Settings, now: u64) -> Result<SignedToken, String> {
    let open = AuthSettings::default();
    let auth = settings.auth.as_ref().unwrap_or(&open);
    let (algorithm, secret) = signing_key(auth)?;
    check(args, auth)?;
    let expires_at = now + args.expires.as_secs();
    let claims = Value::Object(claims(args, auth, now, expires_at)).to_string();
    let token = sign::sign(algorithm, secret, &claims);
    let explanation = Explanation {
        user: &args.sub,
        user_patterns: &auth.user_subscribe,
        subscribe: &args.subscribe,
        publish: &args.publish,
        life: Duration::from_secs(args.expires.as_secs()),
        expires_at,
    };
    Ok(SignedToken { token, explanation: explanation.text(settings) })
}

/// Returns the algorithm and the secret to sign with.
fn signing_key(auth: &AuthSettings) -> Result<(Algorithm, &Secret), String> {
    let Some(secret) = &auth.secret else {
        let key_file = auth.key_file.as_ref().map(|_| "auth.key_file");
        let public_keys = key_file.or(auth.jwks_url.as_ref().map(|_| "auth.jwks_url"));
        return Err(match public_keys {
            Some(setting) => format!(
                "there is no auth.secret to sign with: tokens for this hub come from the identity provider whose public \
                 keys {setting} names; for a backend, `tidings key --name N` makes an API key"
            ),
            None => "there is no auth.secret to sign with; set it under [auth] in tidings.toml or the file that --config \
                     names, or as TIDINGS_AUTH_SECRET; `openssl rand -base64 48` makes a good one"
                .to_owned(),
        });
    };
    let listed = auth.algorithms.iter().copied().find(|algorithm| algorithm.is_symmetric());
    match listed {
        Some(algorithm) => Ok((algorithm, secret)),
        None if auth.algorithms.is_empty() => Ok((Algorithm::Hs256, secret)),
        None => Err("auth.algorithms has no algorithm that auth.secret supports; add HS256 to it".to_owned()),
    }
}

fn check(args: &Args, auth: &AuthSettings) -> Result<(), String> {
    if let Some(error) = user_name_fault(&args.sub) {
        return Err(format!("--sub {error}"));
    }
    check_patterns(&args.subscribe, &args.publish)?;
    let (expires, bound) = (args.expires, auth.token_max_age);
    if expires < EXPIRES_MIN {
        return Err(format!(
            "--expires is {}; at least {}",
            duration_text(expires),
            duration_text(EXPIRES_MIN)
        ));
    }
    if expires > bound {
        return Err(format!(
            "--expires is {}, longer than auth.token_max_age, which is {}; the hub would refuse the token, so pass a \
             shorter time or raise the setting",
            duration_text(expires),
            duration_text(bound)
        ));
    }
    Ok(())
}

fn claims(args: &Args, auth: &AuthSettings, now: u64, expires_at: u64) -> Map<String, Value> {
    let mut claims = Map::new();
    claims.insert(auth.user_claim.clone(), json!(args.sub));
    claims.insert("iat".to_owned(), json!(now));
    claims.insert("exp".to_owned(), json!(expires_at));
    let number: [u8; 16] = rand::rng().random();
    claims.insert("jti".to_owned(), json!(URL_SAFE_NO_PAD.encode(number)));
    for (claim, values) in [("aud", &auth.audience), ("iss", &auth.issuer)] {
        if let Some(first) = values.first() {
            claims.insert(claim.to_owned(), json!(first));
        }
    }
    let mut rights = Map::new();
    for (right, patterns) in [("subscribe", &args.subscribe), ("publish", &args.publish)] {
        if !patterns.is_empty() {
            rights.insert(right.to_owned(), json!(patterns));
        }
    }
    if !rights.is_empty() {
        claims.insert("tidings".to_owned(), Value::Object(rights));
    }
    claims
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests;
