//! What a node asks Redis for, so that it hears what its readers want and `redis.listen` allows, and nothing of Redis's own.

use std::collections::BTreeSet;

use tidings_protocol::Subscription;

use crate::{
    broker::{Wanted, redis::ears::Wish},
    config::RedisSettings,
};

/// Globs of one node: for each message that is published in it, Redis looks at all globs of all its clients.
const GLOBS_MAX: usize = 256;
/// Bytes that a channel of other programs begins with, but for `_`; so neither `$`, nor what the braces of a key begin.
const FIRST: &str = "[-0-9A-Za-z~@]";
/// The other channels, but for those that begin with `__key`: what they begin with, and what one of these has instead
/// of the next byte.
const OTHERS: [(&str, &str); 4] = [("_", "[^_]"), ("__", "[^k]"), ("__k", "[^e]"), ("__ke", "[^y]")];

/// What this node asks Redis for.
pub(super) struct Wishes {
    settings: RedisSettings,
    /// Patterns that somebody wants.
    patterns: BTreeSet<String>,
    /// What they, and what is captured, take.
    of_patterns: BTreeSet<Wish>,
    /// Channels that somebody wants by name.
    of_names: BTreeSet<Wish>,
}

/// How wishes change: what takes the place of another is asked for before that is given up.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) new: Vec<Wish>,
    pub(super) old: Vec<Wish>,
}

impl Wishes {
    /// Those for what is captured: nobody has to want that.
    pub(super) fn new(settings: RedisSettings) -> Self {
        let of_patterns = of(&BTreeSet::new(), &settings);
        Self { settings, patterns: BTreeSet::new(), of_patterns, of_names: BTreeSet::new() }
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<Wish> {
        self.of_patterns.union(&self.of_names).cloned().collect()
    }

    pub(super) fn has(&self, wish: &Wish) -> bool {
        self.of_patterns.contains(wish) || self.of_names.contains(wish)
    }

    /// Works out what changes with what is wanted.
    pub(super) fn turn(&mut self, wanted: Wanted) -> Turn {
        let changes = match wanted {
            Wanted::Changes(changes) => changes,
            Wanted::All(all) => self.changes_to(all),
        };
        let mut touched = Vec::new();
        let mut has_pattern_changed = false;
        for (subscription, is_wanted) in changes {
            match subscription {
                Subscription::Channel(_) => touched.extend(self.name(&subscription, is_wanted)),
                Subscription::Pattern(pattern) => {
                    let pattern = pattern.as_str();
                    has_pattern_changed |= match is_wanted {
                        true => self.patterns.insert(pattern.to_owned()),
                        false => self.patterns.remove(pattern),
                    };
                }
            }
        }
        if has_pattern_changed {
            let of_patterns = of(&self.patterns, &self.settings);
            let before = std::mem::replace(&mut self.of_patterns, of_patterns);
            let changed = before.symmetric_difference(&self.of_patterns);
            // What the names ask for stays as it is.
            touched.extend(changed.filter(|wish| !self.of_names.contains(wish)).cloned());
        }
        let (new, old) = touched.into_iter().partition(|wish| self.has(wish));
        Turn { new, old }
    }

    /// What changes where this is all that is wanted.
    fn changes_to(&self, all: Vec<Subscription>) -> Vec<(Subscription, bool)> {
        let names: BTreeSet<&str> = all.iter().map(Subscription::as_str).collect();
        let known = self.of_names.iter().filter_map(|wish| std::str::from_utf8(wish.text()).ok());
        let known = known.chain(self.patterns.iter().map(String::as_str));
        let gone = known.filter(|name| !names.contains(name)).filter_map(|it| Subscription::parse(it).ok());
        let gone: Vec<_> = gone.map(|it| (it, false)).collect();
        all.into_iter().map(|it| (it, true)).chain(gone).collect()
    }

    /// One channel; answers its wish where that is another than before.
    fn name(&mut self, channel: &Subscription, is_wanted: bool) -> Option<Wish> {
        let channel = channel.as_str();
        let wish = Wish::Name(channel.into());
        // What is captured is delivered from the log.
        let is_heard = || self.settings.listens_to(channel) && !self.settings.captures(channel);
        let has_changed = match is_wanted && is_heard() {
            true => self.of_names.insert(wish.clone()),
            false => self.of_names.remove(&wish),
        };
        (has_changed && !self.of_patterns.contains(&wish)).then_some(wish)
    }
}

/// The wishes for patterns that are wanted, and for what is captured, whoever wants it. Where what is wanted takes too many
/// globs, those of `redis.listen` stand for all of it.
fn of(patterns: &BTreeSet<String>, settings: &RedisSettings) -> BTreeSet<Wish> {
    let mut wishes = BTreeSet::new();
    let mut globs = BTreeSet::new();
    let parsed = patterns.iter().filter_map(|pattern| Subscription::parse(pattern).ok());
    'patterns: for pattern in parsed.filter(|pattern| !is_captured(pattern, settings)) {
        for listened in &settings.listen {
            let Some(common) = common(pattern.as_str(), listened.as_str()) else { continue };
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

/// Whether all that a pattern stands for is captured: it is delivered from the log.
fn is_captured(wanted: &Subscription, settings: &RedisSettings) -> bool {
    let captures = settings.capture.iter().filter_map(|pattern| Subscription::parse(pattern.as_str()).ok());
    captures.into_iter().any(|captured| captured.covers(wanted))
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
