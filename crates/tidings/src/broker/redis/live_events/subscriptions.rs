//! What a node asks Redis for, so that it hears what its readers want and `redis.listen` allows, and nothing of Redis's own.

use std::collections::{BTreeMap, BTreeSet};

use tidings_protocol::{Pattern, Subscription};

use crate::{
    broker::{InterestChange, redis::pubsub::PubsubTarget},
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
pub(super) struct PubsubSubscriptions {
    settings: RedisSettings,
    /// Patterns that somebody wants.
    patterns: BTreeSet<String>,
    /// What they, and what is captured, take.
    of_patterns: Substitutes,
    /// Channels that somebody wants by name.
    of_names: BTreeSet<PubsubTarget>,
    /// Globs that Redis refuses. It compares a glob with those of its ACL byte by byte: a narrower one is refused, too.
    refused: BTreeSet<PubsubTarget>,
    /// What is asked for in their place.
    in_their_place: BTreeSet<PubsubTarget>,
}

/// Wishes, and with each the globs of `redis.listen` that take it in: one of them is asked for where Redis refuses it.
pub(super) type Substitutes = BTreeMap<PubsubTarget, BTreeSet<PubsubTarget>>;

/// How wishes change: what takes the place of another is asked for before that is given up.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct SubscriptionDelta {
    pub(super) new: Vec<PubsubTarget>,
    pub(super) old: Vec<PubsubTarget>,
}

/// What a refusal means.
pub(super) struct RefusalOutcome {
    /// What is asked for instead, if anything is left.
    pub(super) turn: SubscriptionDelta,
    /// Something is not heard that readers or capture want.
    pub(super) is_unheard: bool,
}

impl PubsubSubscriptions {
    /// Those for what is captured: nobody has to want that.
    pub(super) fn new(settings: RedisSettings) -> Self {
        Self {
            of_patterns: substitutes_of(&BTreeSet::new(), &settings),
            settings,
            patterns: BTreeSet::new(),
            of_names: BTreeSet::new(),
            refused: BTreeSet::new(),
            in_their_place: BTreeSet::new(),
        }
    }

    /// All of them.
    #[cfg(test)]
    pub(super) fn all(&self) -> Vec<PubsubTarget> {
        self.globs_and_names().union(&self.of_names).cloned().collect()
    }

    /// What patterns and capture take.
    pub(super) fn globs_and_names(&self) -> BTreeSet<PubsubTarget> {
        self.of_patterns.keys().chain(&self.in_their_place).cloned().collect()
    }

    pub(super) fn has(&self, target: &PubsubTarget) -> bool {
        self.of_patterns.contains_key(target)
            || self.of_names.contains(target)
            || self.in_their_place.contains(target)
    }

    /// Redis refuses a wish: works out what is asked for in its place.
    pub(super) fn refuse(&mut self, target: &PubsubTarget) -> RefusalOutcome {
        if matches!(target, PubsubTarget::Name(_)) {
            return RefusalOutcome { turn: SubscriptionDelta::default(), is_unheard: self.has(target) };
        }
        self.refused.insert(target.clone());
        let turn = self.replace();
        let concerns = |it: &PubsubTarget, substitutes: &BTreeSet<PubsubTarget>| {
            it == target || substitutes.contains(target)
        };
        let is_unheard = self.of_patterns.iter().any(|(it, substitutes)| {
            concerns(it, substitutes) && self.refused.contains(it) && self.open(substitutes).is_none()
        });
        RefusalOutcome { turn, is_unheard }
    }

    /// Redis grants a wish. Answers what stands in its place no more.
    pub(super) fn grant(&mut self, target: &PubsubTarget) -> Option<SubscriptionDelta> {
        self.refused.remove(target).then(|| self.replace())
    }

    /// Works out what stands in the place of what is refused.
    fn replace(&mut self) -> SubscriptionDelta {
        let refused = self.refused.iter().filter_map(|target| self.of_patterns.get(target));
        // One that is refused, too, stays asked for: it may be granted later.
        let substitutes = refused.filter_map(|it| self.open(it).or(it.first()));
        let in_their_place = substitutes.cloned().collect();
        let before = std::mem::replace(&mut self.in_their_place, in_their_place);
        let is_other =
            |it: &&PubsubTarget| !self.of_patterns.contains_key(it) && !self.of_names.contains(*it);
        SubscriptionDelta {
            new: self.in_their_place.difference(&before).filter(is_other).cloned().collect(),
            old: before.difference(&self.in_their_place).filter(is_other).cloned().collect(),
        }
    }

    /// One that Redis does not refuse, as far as is known.
    fn open<'a>(&self, substitutes: &'a BTreeSet<PubsubTarget>) -> Option<&'a PubsubTarget> {
        substitutes.iter().find(|it| !self.refused.contains(it))
    }

    /// Works out what changes with what is wanted.
    pub(super) fn update(&mut self, wanted: InterestChange) -> SubscriptionDelta {
        let changes = match wanted {
            InterestChange::Changes(changes) => changes,
            InterestChange::All(all) => self.changes_to(all),
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
            let before = self.globs_and_names();
            self.of_patterns = substitutes_of(&self.patterns, &self.settings);
            let is_asked = |target: &PubsubTarget| {
                self.of_patterns.iter().any(|(it, substitutes)| it == target || substitutes.contains(target))
            };
            self.refused.retain(is_asked);
            self.replace();
            // What the names ask for stays as it is.
            let changed = &before ^ &self.globs_and_names();
            touched.extend(changed.into_iter().filter(|target| !self.of_names.contains(target)));
        }
        let (new, old) = touched.into_iter().partition(|target| self.has(target));
        SubscriptionDelta { new, old }
    }

    /// What changes where this is all that is wanted.
    fn changes_to(&self, all: Vec<Subscription>) -> Vec<(Subscription, bool)> {
        let names: BTreeSet<&str> = all.iter().map(Subscription::as_str).collect();
        let known = self.of_names.iter().filter_map(|target| std::str::from_utf8(target.text()).ok());
        let known = known.chain(self.patterns.iter().map(String::as_str));
        let gone = known.filter(|name| !names.contains(name)).filter_map(|it| Subscription::parse(it).ok());
        let gone: Vec<_> = gone.map(|it| (it, false)).collect();
        all.into_iter().map(|it| (it, true)).chain(gone).collect()
    }

    /// One channel; answers its wish where that is another than before.
    fn name(&mut self, channel: &Subscription, is_wanted: bool) -> Option<PubsubTarget> {
        let channel = channel.as_str();
        let target = PubsubTarget::Name(channel.into());
        // What is captured is delivered from the log.
        let is_heard = || self.settings.listens_to(channel) && !self.settings.captures(channel);
        let has_changed = match is_wanted && is_heard() {
            true => self.of_names.insert(target.clone()),
            false => self.of_names.remove(&target),
        };
        let is_asked = self.of_patterns.contains_key(&target) || self.in_their_place.contains(&target);
        (has_changed && !is_asked).then_some(target)
    }
}

/// Whether a channel begins as those of other programs do. A glob of `redis.listen` that stands in the place of others may
/// take in more.
pub(super) fn is_receivable(channel: &[u8]) -> bool {
    matches!(channel, [b'-' | b'_' | b'~' | b'@' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z', ..])
}

/// The wishes for patterns that are wanted, and for what is captured, whoever wants it. Where what is wanted takes too many
/// globs, those of `redis.listen` stand for all of it.
fn substitutes_of(patterns: &BTreeSet<String>, settings: &RedisSettings) -> Substitutes {
    let (mut targets, mut globs) = (Substitutes::new(), 0);
    let parsed = patterns.iter().filter_map(|pattern| Subscription::parse(pattern).ok());
    'patterns: for pattern in parsed.filter(|pattern| !is_captured(pattern, settings)) {
        for listened in settings.listen.iter().map(Pattern::as_str) {
            let Some(common) = intersection(pattern.as_str(), listened) else { continue };
            globs += add(&common, listened, settings, &mut targets);
            if globs > GLOBS_MAX {
                targets.retain(|target, _| matches!(target, PubsubTarget::Name(_)));
                for all in &settings.listen {
                    add(all.as_str(), all.as_str(), settings, &mut targets);
                }
                break 'patterns;
            }
        }
    }
    targets.extend(captured_substitutes(settings));
    targets
}

/// The wishes for what is captured.
pub(super) fn captured_substitutes(settings: &RedisSettings) -> Substitutes {
    let mut targets = Substitutes::new();
    for captured in &settings.capture {
        for listened in settings.listen.iter().map(Pattern::as_str) {
            if let Some(common) = intersection(captured.as_str(), listened) {
                add(&common, listened, settings, &mut targets);
            }
        }
    }
    targets
}

/// Whether all that a pattern stands for is captured: it is delivered from the log.
fn is_captured(wanted: &Subscription, settings: &RedisSettings) -> bool {
    let captures = settings.capture.iter().filter_map(|pattern| Subscription::parse(pattern.as_str()).ok());
    captures.into_iter().any(|captured| captured.covers(wanted))
}

/// Adds what hears all that a pattern matches, but for channels of Redis's own; this one of `redis.listen` takes it in.
/// Answers how many globs are new.
fn add(pattern: &str, listened: &str, settings: &RedisSettings, targets: &mut Substitutes) -> usize {
    if !settings.listens_to(pattern) {
        return 0;
    }
    let target = |glob: String| match glob.contains('*') {
        true => PubsubTarget::Glob(glob.into()),
        false => PubsubTarget::Name(glob.into()),
    };
    // No byte of a channel's name means anything in a glob, and `*` crosses separators there.
    let glob = pattern.replace("**", "*");
    let asked = match glob.strip_prefix('*') {
        None => vec![target(glob)],
        Some(rest) => {
            let others = OTHERS.iter().flat_map(|(begun, other)| {
                [target(format!("{begun}{other}*{rest}")), target(format!("{begun}{rest}"))]
            });
            [target(format!("{FIRST}*{rest}"))].into_iter().chain(others).collect()
        }
    };
    let listened = target(listened.replace("**", "*"));
    let mut globs = 0;
    for asked in asked {
        // Redis compares a name with what its ACL's globs match: no other wish brings what it refuses then.
        let is_glob = matches!(asked, PubsubTarget::Glob(_));
        let substitute = (is_glob && asked != listened).then(|| listened.clone());
        globs += usize::from(is_glob && !targets.contains_key(&asked));
        targets.entry(asked).or_default().extend(substitute);
    }
    globs
}

/// The pattern of what two patterns both match, or the name if it is one; none if that is nothing.
fn intersection(mut one: &str, mut other: &str) -> Option<String> {
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
