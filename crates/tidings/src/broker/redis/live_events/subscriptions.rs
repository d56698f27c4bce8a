//! Pub/Sub targets of a node: the channels that its clients subscribe to and `redis.listen` allows, without keyspace
//! notifications.

use std::collections::{BTreeMap, BTreeSet};

use tidings_protocol::{Pattern, Subscription};
use tidings_redis::PubsubTarget;

use crate::{broker::api::InterestChange, config::RedisSettings};

/// Globs of one node. Redis compares each published message with all globs of all its clients.
const GLOBS_MAX: usize = 256;
/// First bytes of channels of other programs, except `_`: neither `$`, nor the brace of the hub's own channels.
const FIRST: &str = "[-0-9A-Za-z~@]";
/// Prefixes of the other channels, except `__key`, each with the set of bytes that may follow.
const OTHERS: [(&str, &str); 4] = [("_", "[^_]"), ("__", "[^k]"), ("__k", "[^e]"), ("__ke", "[^y]")];

/// Pub/Sub targets of this node.
pub(super) struct PubsubSubscriptions {
    settings: RedisSettings,
    /// Patterns that clients subscribe to.
    patterns: BTreeSet<String>,
    /// Targets for these patterns and for capture.
    for_patterns: Substitutes,
    /// Channels that clients subscribe to by name.
    for_names: BTreeSet<PubsubTarget>,
    /// Globs that Redis refuses. It compares a glob with those of its ACL byte by byte, so it refuses a narrower one too.
    refused: BTreeSet<PubsubTarget>,
    /// Targets that replace refused globs.
    replacements: BTreeSet<PubsubTarget>,
}

/// Targets, each with the globs of `redis.listen` that contain it: one of them replaces it if Redis refuses it.
pub(super) type Substitutes = BTreeMap<PubsubTarget, BTreeSet<PubsubTarget>>;

/// Change of the targets. The caller subscribes to `new` before it unsubscribes from `old`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct SubscriptionDelta {
    pub(super) new: Vec<PubsubTarget>,
    pub(super) old: Vec<PubsubTarget>,
}

/// Effect of a refusal.
pub(super) struct RefusalOutcome {
    /// Targets that replace the refused one, if any.
    pub(super) delta: SubscriptionDelta,
    /// Whether clients or capture miss messages.
    pub(super) is_missed: bool,
}

impl PubsubSubscriptions {
    /// Starts with the targets for capture.
    pub(super) fn new(settings: RedisSettings) -> Self {
        Self {
            for_patterns: substitutes_of(&BTreeSet::new(), &settings),
            settings,
            patterns: BTreeSet::new(),
            for_names: BTreeSet::new(),
            refused: BTreeSet::new(),
            replacements: BTreeSet::new(),
        }
    }

    /// Returns all targets.
    #[cfg(test)]
    pub(super) fn all(&self) -> Vec<PubsubTarget> {
        self.globs_and_names().union(&self.for_names).cloned().collect()
    }

    /// Returns the targets for patterns and for capture.
    pub(super) fn globs_and_names(&self) -> BTreeSet<PubsubTarget> {
        self.for_patterns.keys().chain(&self.replacements).cloned().collect()
    }

    pub(super) fn has(&self, target: &PubsubTarget) -> bool {
        self.for_patterns.contains_key(target)
            || self.for_names.contains(target)
            || self.replacements.contains(target)
    }

    /// Notes a refused target, and computes its replacement.
    pub(super) fn refuse(&mut self, target: &PubsubTarget) -> RefusalOutcome {
        if matches!(target, PubsubTarget::Name(_)) {
            return RefusalOutcome { delta: SubscriptionDelta::default(), is_missed: self.has(target) };
        }
        self.refused.insert(target.clone());
        let delta = self.replace();
        let concerns = |it: &PubsubTarget, substitutes: &BTreeSet<PubsubTarget>| {
            it == target || substitutes.contains(target)
        };
        let is_missed = self.for_patterns.iter().any(|(it, substitutes)| {
            concerns(it, substitutes) && self.refused.contains(it) && self.open(substitutes).is_none()
        });
        RefusalOutcome { delta, is_missed }
    }

    /// Notes a confirmed target. Returns the replacements that are not needed any more.
    pub(super) fn grant(&mut self, target: &PubsubTarget) -> Option<SubscriptionDelta> {
        self.refused.remove(target).then(|| self.replace())
    }

    /// Computes the replacements of refused targets.
    fn replace(&mut self) -> SubscriptionDelta {
        let refused = self.refused.iter().filter_map(|target| self.for_patterns.get(target));
        // A refused replacement stays requested: Redis may accept it later.
        let substitutes = refused.filter_map(|it| self.open(it).or(it.first()));
        let replacements = substitutes.cloned().collect();
        let before = std::mem::replace(&mut self.replacements, replacements);
        let is_other =
            |it: &&PubsubTarget| !self.for_patterns.contains_key(it) && !self.for_names.contains(*it);
        SubscriptionDelta {
            new: self.replacements.difference(&before).filter(is_other).cloned().collect(),
            old: before.difference(&self.replacements).filter(is_other).cloned().collect(),
        }
    }

    /// Returns a substitute that Redis has not refused.
    fn open<'a>(&self, substitutes: &'a BTreeSet<PubsubTarget>) -> Option<&'a PubsubTarget> {
        substitutes.iter().find(|it| !self.refused.contains(it))
    }

    /// Computes the change of the targets after a change of interest.
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
            self.for_patterns = substitutes_of(&self.patterns, &self.settings);
            let is_asked = |target: &PubsubTarget| {
                self.for_patterns.iter().any(|(it, substitutes)| it == target || substitutes.contains(target))
            };
            self.refused.retain(is_asked);
            self.replace();
            // Targets that names need do not change.
            let changed = &before ^ &self.globs_and_names();
            touched.extend(changed.into_iter().filter(|target| !self.for_names.contains(target)));
        }
        let (new, old) = touched.into_iter().partition(|target| self.has(target));
        SubscriptionDelta { new, old }
    }

    /// Returns the difference between these subscriptions and the known ones.
    fn changes_to(&self, all: Vec<Subscription>) -> Vec<(Subscription, bool)> {
        let names: BTreeSet<&str> = all.iter().map(Subscription::as_str).collect();
        let known = self.for_names.iter().filter_map(|target| std::str::from_utf8(target.text()).ok());
        let known = known.chain(self.patterns.iter().map(String::as_str));
        let gone = known.filter(|name| !names.contains(name)).filter_map(|it| Subscription::parse(it).ok());
        let gone: Vec<_> = gone.map(|it| (it, false)).collect();
        all.into_iter().map(|it| (it, true)).chain(gone).collect()
    }

    /// Adds or removes a channel. Returns its target if the target changes.
    fn name(&mut self, channel: &Subscription, is_wanted: bool) -> Option<PubsubTarget> {
        let channel = channel.as_str();
        let target = PubsubTarget::Name(channel.into());
        // Captured messages are delivered from the log.
        let is_heard = || self.settings.listens_to(channel) && !self.settings.captures(channel);
        let has_changed = match is_wanted && is_heard() {
            true => self.for_names.insert(target.clone()),
            false => self.for_names.remove(&target),
        };
        let is_asked = self.for_patterns.contains_key(&target) || self.replacements.contains(&target);
        (has_changed && !is_asked).then_some(target)
    }
}

/// Whether a channel begins as those of other programs do. A replacement of `redis.listen` may match other channels.
pub(super) fn is_receivable(channel: &[u8]) -> bool {
    matches!(channel, [b'-' | b'_' | b'~' | b'@' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z', ..])
}

/// Returns the targets for patterns and for capture. If the patterns need too many globs, those of `redis.listen` replace them.
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

/// Returns the targets for capture.
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

/// Whether capture covers a subscription, so that all of its messages come from the log.
fn is_captured(wanted: &Subscription, settings: &RedisSettings) -> bool {
    let captures = settings.capture.iter().filter_map(|pattern| Subscription::parse(pattern.as_str()).ok());
    captures.into_iter().any(|captured| captured.covers(wanted))
}

/// Adds the targets for all channels of a pattern, except keyspace notifications; `listened` of `redis.listen` contains the
/// pattern. Returns the number of new globs.
fn add(pattern: &str, listened: &str, settings: &RedisSettings, targets: &mut Substitutes) -> usize {
    if !settings.listens_to(pattern) {
        return 0;
    }
    let target = |glob: String| match glob.contains('*') {
        true => PubsubTarget::Glob(glob.into()),
        false => PubsubTarget::Name(glob.into()),
    };
    // Channel names need no escapes in a glob; `*` of a glob matches separators too.
    let glob = pattern.replace("**", "*");
    let covering = match glob.strip_prefix('*') {
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
    for wanted in covering {
        // Redis matches a name against the globs of its ACL, so no substitute helps if it refuses a name.
        let is_glob = matches!(wanted, PubsubTarget::Glob(_));
        let substitute = (is_glob && wanted != listened).then(|| listened.clone());
        globs += usize::from(is_glob && !targets.contains_key(&wanted));
        targets.entry(wanted).or_default().extend(substitute);
    }
    globs
}

/// Returns the pattern, or the name, of the channels that two patterns both match; `None` if there is none.
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
