//! `tidings token`: signs a token with the hub's own secret, and says what it allows.

mod sign;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::RngExt as _;
use serde_json::{Map, Value, json};
use tidings::config::bounds::{duration_text, pattern_fault, user_name_fault};
use tidings::config::{Algorithm, AuthSettings, Secret, Settings};
use tidings_protocol::{Pattern, user_segment};

use crate::address::{channel_url, page_url};
use crate::settings::{Sources, load, read_duration};
use crate::terminal::{print, print_error, print_note};
use crate::{EXIT_USAGE, refuse};

/// Make a token for a user, signed with auth.secret.
///
/// Prints the token alone, and on standard error what it allows.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The user's name.
    #[arg(long, value_name = "USER")]
    sub: String,
    /// Pattern that the user may subscribe to, besides those of auth.user.subscribe; may be given several times.
    #[arg(long, value_name = "PATTERN")]
    subscribe: Vec<String>,
    /// Pattern that the user may publish to; may be given several times.
    #[arg(long, value_name = "PATTERN")]
    publish: Vec<String>,
    /// How long the token is good, at most auth.token_max_age.
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = read_duration)]
    expires: Duration,
    /// Settings file; without it tidings.toml is read if there is one.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// The shortest life of a token: its end is written in whole seconds.
const EXPIRES_MIN: Duration = Duration::from_secs(1);

/// Prints a token; 2 if the settings cannot sign it, or the flags ask for what the hub would refuse.
pub(crate) fn run(args: &Args) -> ExitCode {
    let variables = std::env::vars_os().collect();
    let loaded = match load(Sources { config: args.config.clone(), variables, ..Sources::default() }) {
        Ok(loaded) => loaded,
        Err(problems) => return refuse(&problems),
    };
    match make(args, &loaded.settings, now()) {
        Ok(made) => {
            print_note(&made.explanation);
            print(&format!("{}\n", made.token));
            ExitCode::SUCCESS
        }
        Err(fault) => {
            print_error(&fault);
            ExitCode::from(EXIT_USAGE)
        }
    }
}

/// A token, and what it allows in words.
struct SignedToken {
    token: String,
    explanation: String,
}

fn make(args: &Args, settings: &Settings, now: u64) -> Result<SignedToken, String> {
    let open = AuthSettings::default();
    let auth = settings.auth.as_ref().unwrap_or(&open);
    let (algorithm, secret) = signer(auth)?;
    check(args, auth)?;
    let expires_at = now + args.expires.as_secs();
    let claims = Value::Object(claims(args, auth, now, expires_at)).to_string();
    let token = sign::sign(algorithm, secret, &claims);
    Ok(SignedToken { token, explanation: explanation(args, settings, auth, expires_at) })
}

/// What to sign with.
fn signer(auth: &AuthSettings) -> Result<(Algorithm, &Secret), String> {
    let Some(secret) = &auth.secret else {
        let issuer = auth
            .key_file
            .as_ref()
            .map(|_| "auth.key_file")
            .or(auth.jwks_url.as_ref().map(|_| "auth.jwks_url"));
        return Err(match issuer {
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
        None => Err("auth.algorithms has no algorithm that auth.secret can do; add HS256 to it".to_owned()),
    }
}

fn check(args: &Args, auth: &AuthSettings) -> Result<(), String> {
    if let Some(fault) = user_name_fault(&args.sub) {
        return Err(format!("--sub {fault}"));
    }
    for (flag, patterns) in [("--subscribe", &args.subscribe), ("--publish", &args.publish)] {
        if let Some(fault) = patterns.iter().find_map(|pattern| pattern_fault(pattern, false)) {
            return Err(format!("{flag} {fault}"));
        }
    }
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
            "--expires is {}, longer than auth.token_max_age, which is {}; the hub would refuse the token, so ask for \
             less or raise the setting",
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

/// Who it is for, what it allows, until when, and a line to try.
fn explanation(args: &Args, settings: &Settings, auth: &AuthSettings, expires_at: u64) -> String {
    let segment = user_segment(&args.sub);
    let filled = auth.user_subscribe.iter().map(|pattern| pattern.replace("{sub}", &segment));
    // A name that is too long for a channel has none of its own; such a pattern matches nothing.
    let (own, void): (Vec<String>, Vec<String>) = filled.partition(|pattern| Pattern::parse(pattern).is_ok());
    let subscribe: Vec<&str> = own.iter().chain(&args.subscribe).map(String::as_str).collect();
    let publish: Vec<&str> = args.publish.iter().map(String::as_str).collect();
    let listed = |patterns: &[&str]| match patterns {
        [] => "nothing".to_owned(),
        _ => patterns.join(", "),
    };
    let until = i64::try_from(expires_at).ok().and_then(|second| jiff::Timestamp::from_second(second).ok());
    let until = until.map_or_else(|| expires_at.to_string(), |time| time.to_string());
    let mut text = format!(
        "user       {} (as a segment of a channel: {segment})\nsubscribe  {}\npublish    {}\nexpires    in {}, at {until}\n",
        quoted_name(&args.sub),
        listed(&subscribe),
        listed(&publish),
        duration_text(Duration::from_secs(args.expires.as_secs())),
    );
    for pattern in void {
        text.push_str(&format!("note       {pattern} is too long for a channel and allows nothing\n"));
    }
    let Some(address) = settings.listen.first() else { return text };
    let page = page_url(*address, settings.server.tls.is_some());
    let bearer = "-H \"Authorization: Bearer $TOKEN\"";
    match (subscribe.last(), publish.first()) {
        (Some(channel), _) => {
            text.push_str(&format!("try        curl -N {bearer} {}\n", channel_url(&page, channel)));
        }
        (None, Some(channel)) => {
            text.push_str(&format!("try        curl -d hello {bearer} {}\n", channel_url(&page, channel)));
        }
        (None, None) => (),
    }
    text
}

/// A name as it stands, unless it holds what would garble a terminal.
fn quoted_name(name: &str) -> String {
    if name.chars().any(char::is_control) { format!("{name:?}") } else { name.to_owned() }
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests;
