//! What a node asks Redis for, so that it hears what its readers want and `redis.listen` allows, and nothing of Redis's own.

use std::collections::BTreeSet;

use tidings_protocol::Subscription;

use crate::{broker::redis::ears::Wish, config::RedisSettings};

/// Globs of one node: for each message that is published in it, Redis looks at all globs of all its clients.
const GLOBS_MAX: usize = 256;
/// Bytes that a channel of other programs begins with, but for `_`; so neither `$`, nor what the braces of a key begin.
const FIRST: &str = "[-0-9A-Za-z~@]";
/// The other channels, but for those that begin with `__key`: what they begin with, and what one of these has instead
/// of the next byte.
const OTHERS: [(&str, &str); 4] = [("_", "[^_]"), ("__", "[^k]"), ("__k", "[^e]"), ("__ke", "[^y]")];

/// The wishes for channels and patterns that are wanted, and for those that are captured, whoever wants them. Where what is
/// wanted takes too many globs, those of `redis.listen` stand for all of it.
pub(super) fn of(wanted: &[String], settings: &RedisSettings) -> BTreeSet<Wish> {
    let wanted = wanted.iter().filter(|text| !is_captured(text, settings));
    let (patterns, names): (Vec<&String>, Vec<&String>) = wanted.partition(|text| text.contains('*'));
    let names = names.into_iter().filter(|name| settings.listens_to(name));
    let mut wishes: BTreeSet<Wish> = names.map(|name| Wish::Name(name.clone().into())).collect();
    let mut globs = BTreeSet::new();
    'patterns: for pattern in patterns {
        for listened in &settings.listen {
            let Some(common) = common(pattern, listened.as_str()) else { continue };
            add(&common, settings, &mut wishes, &mut globs);
            if globs.len() > GLOBS_MAX {
                globs.clear();
                settings.listen.iter().for_each(|all| add(all.as_str(), settings, &mut wishes, &mut globs));
                break 'patterns;
            }
        }
    }
    settings.capture.iter().for_each(|all| add(all.as_str(), settings, &mut wishes, &mut globs));
    wishes.extend(globs.into_iter().map(|glob| Wish::Glob(glob.into())));
    wishes
}

/// Whether all that a name or a pattern stands for is captured: it is delivered from the log.
fn is_captured(text: &str, settings: &RedisSettings) -> bool {
    let Ok(wanted) = Subscription::parse(text) else { return false };
    let captures = settings.capture.iter().filter_map(|pattern| Subscription::parse(pattern.as_str()).ok());
    captures.into_iter().any(|captured| captured.covers(&wanted))
}

/// Adds what hears all that a pattern matches, but for channels of Redis's own.
fn add(pattern: &str, settings: &RedisSettings, names: &mut BTreeSet<Wish>, globs: &mut BTreeSet<String>) {
    if !settings.listens_to(pattern) {
        return;
    }
    // No byte of a channel's name means anything in a glob, and `*` crosses separators there.
    let glob = pattern.replace("**", "*");
    let Some(rest) = glob.strip_prefix('*') else {
        if glob.contains('*') {
            globs.insert(glob);
        } else {
            names.insert(Wish::Name(glob.into()));
        }
        return;
    };
    globs.insert(format!("{FIRST}*{rest}"));
    for (begun, other) in OTHERS {
        globs.insert(format!("{begun}{other}*{rest}"));
        if rest.contains('*') {
            globs.insert(format!("{begun}{rest}"));
        } else {
            names.insert(Wish::Name(format!("{begun}{rest}").into()));
        }
    }
}

/// The pattern of what two patterns both match, or the name if it is one; none if that is nothing.
fn common(mut one: &str, mut other: &str) -> Option<String> {
    let mut both = String::new();
    loop {
        if one == "**" || other == "**" {
            return Some(both + if one == "**" { other } else { one });
        }
        let (segment, rest) = first_segment(one);
        let (other_segment, other_rest) = first_segment(other);
        match (segment, other_segment) {
            ("*", narrow) | (narrow, "*") => both += narrow,
            (same, other) if same == other => both += same,
            _ => return None,
        }
        match (rest.chars().next(), other_rest.chars().next()) {
            (None, None) => return Some(both),
            (Some(separator), Some(other)) if separator == other => both.push(separator),
            _ => return None,
        }
        (one, other) = (&rest[1..], &other_rest[1..]);
    }
}

/// Splits a pattern before its first separator.
fn first_segment(pattern: &str) -> (&str, &str) {
    pattern.split_at(pattern.find(['.', ':']).unwrap_or(pattern.len()))
}

#[cfg(test)]
mod tests;
