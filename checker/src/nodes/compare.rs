//! Compares what readers saw with what was published, answered, lost and kept.
//!
//! The log that is held at the end is the truth. A reader has each of its events once and in order. It may get one
//! again only after a gap that names a channel of it. What was lost is missing everywhere, and every reader that had it, or
//! should have got it, has a gap: unless each node that knew of it was killed before it could tell. A trim is told to readers
//! that had not got what it took, and to no others but those whose id is from before it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use tidings_protocol::{EventId, Subscription};

use super::ledger::{Absence, Fate, Loss, Moment, Place, Sent};
use super::log::Entry;
use super::reader::{Record, Seen};
use crate::report::{Fault, FaultKind};
use crate::truth::Label;

/// A node that was not killed, nor stood still, for so long after a loss has looked at Redis, and told what it knew.
const LOOKED_AFTER: Duration = Duration::from_secs(10);
/// A gap may come so long after the loss was told otherwise: what one node did not know, another one tells later.
const TOLD_AFTER: Duration = Duration::from_secs(10);

/// All that is compared.
pub(super) struct Truth {
    pub(super) channels: Vec<String>,
    pub(super) sent: BTreeMap<Label, Sent>,
    pub(super) losses: Vec<Loss>,
    pub(super) absences: Vec<Absence>,
    pub(super) log: Vec<Entry>,
    pub(super) records: Vec<Record>,
    /// Whether there is one node, without Redis: its directory has it tell each loss to every reader, at once.
    pub(super) is_alone: bool,
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) faults: Vec<Fault>,
    /// Events that were acknowledged or delivered and that the log has not any more.
    pub(super) lost: u64,
    /// How often a reader had to be told of one.
    pub(super) due: u64,
    /// Gaps of losses that the reader was told of already: what one node did not know, another one told later.
    pub(super) again: u64,
    /// How often a reader got an event of a channel from after a loss before the gap that tells of the loss: another node
    /// knew of it.
    pub(super) late: u64,
    /// Where that was.
    pub(super) notes: Vec<String>,
}

/// Who knew of an entry that is no more.
struct Lost {
    label: Label,
    /// The nodes that delivered or acknowledged it, and when they first did.
    known: Vec<(usize, Moment)>,
}

impl Truth {
    /// Returns everything that was not as promised.
    pub(super) fn compare(&self) -> Findings {
        let mut findings = Findings { faults: self.compare_log(), ..Findings::default() };
        let places: HashMap<Place, &Entry> = self.log.iter().map(|entry| (entry.place, entry)).collect();
        let lost = self.lost(&places);
        findings.lost = lost.len() as u64;
        for record in &self.records {
            findings.faults.extend(self.compare_order(record));
            self.compare_gaps(record, &mut findings);
            findings.faults.extend(self.compare_kept(record));
            if self.is_alone {
                findings.faults.extend(self.compare_told(record));
            }
            self.compare_lost(record, &lost, &mut findings);
        }
        findings
    }

    /// Compares the log with what was answered.
    fn compare_log(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut stored: HashMap<Label, Place> = HashMap::new();
        let mut last: HashMap<u32, Label> = HashMap::new();
        for Entry { place, label, .. } in &self.log {
            if let Some(other) = stored.insert(*label, *place) {
                let text = format!("the log has event {label} at {other} and at {place}");
                faults.push(Fault::new(FaultKind::Duplicated, text));
            }
            // What nobody answered for may land late. So may a repeat whose first, with its key, was lost meanwhile.
            let may_be_late = |sent: &Sent| {
                sent.fate == Fate::Unknown
                    || (sent.is_doubtful && self.losses_after(sent.begun).next().is_some())
            };
            if self.sent.get(label).is_some_and(|sent| !may_be_late(sent)) {
                if let Some(later) = last.get(&label.publisher).filter(|last| **last > *label) {
                    let text = format!("the log has event {label} at {place}, after {later}");
                    faults.push(Fault::new(FaultKind::Reordered, text));
                }
                last.insert(label.publisher, *label);
            }
        }
        for (label, sent) in &self.sent {
            match (sent.fate, stored.get(label)) {
                (Fate::NotStored, Some(place)) => {
                    let text = format!("event {label} was answered with not_stored and is at {place}");
                    faults.push(Fault::new(FaultKind::WrongContent, text));
                }
                (Fate::Acknowledged { place, at, .. }, None)
                    if self.losses_after(sent.begun).next().is_none() =>
                {
                    let text =
                        format!("event {label} was acknowledged as {place} at {at:?}, and is not in the log");
                    faults.push(Fault::new(FaultKind::Lost, text));
                }
                (Fate::Acknowledged { place, .. }, Some(other))
                    if place != *other && self.losses_after(sent.begun).next().is_none() =>
                {
                    let text = format!("event {label} was acknowledged as {place}, and is at {other}");
                    faults.push(Fault::new(FaultKind::WrongContent, text));
                }
                _ => {}
            }
        }
        faults
    }

    fn losses_after(&self, moment: Moment) -> impl Iterator<Item = &Loss> {
        self.losses.iter().filter(move |loss| loss.ended >= moment)
    }

    /// Within what no gap parts, offsets rise and nothing comes twice; an event comes again only after a gap of its own.
    fn compare_order(&self, record: &Record) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut above = None;
        let mut had: HashMap<Label, (usize, Place)> = HashMap::new();
        for (index, seen) in record.seen.iter().enumerate() {
            let Seen::Event { label, place, at, node } = seen else {
                above = None;
                continue;
            };
            let told = |kind, what: String| {
                let (seconds, name) = (at.as_secs_f64(), record.name());
                let text =
                    format!("{name}: event {label} at {place} from node {node} at {seconds:.3} s {what}");
                Fault::new(kind, text)
            };
            if let Some((before, other)) = had.insert(*label, (index, *place)) {
                let names = self.names(*label);
                let between = &record.seen[before..index];
                if !between.iter().any(|seen| names.iter().any(|name| seen.names(name))) {
                    faults.push(told(
                        FaultKind::Duplicated,
                        format!("came before, at {other}, and no gap between"),
                    ));
                }
            } else if above.is_some_and(|above| place.offset <= above) {
                faults.push(told(FaultKind::Reordered, format!("came after {above:?}")));
            }
            if self.sent.get(label).is_some_and(|sent| sent.fate == Fate::NotStored) {
                faults.push(told(FaultKind::WrongContent, "was answered with not_stored".to_owned()));
            }
            above = Some(place.offset);
        }
        faults
    }

    /// Each gap has a cause: a loss of which the reader was not told yet.
    fn compare_gaps(&self, record: &Record, findings: &mut Findings) {
        let mut told: HashMap<&str, Moment> = HashMap::new();
        let told_after = if self.is_alone { Duration::ZERO } else { TOLD_AFTER };
        for (index, seen) in record.seen.iter().enumerate() {
            let Seen::Gap { reason, channels, requested, at, node } = seen else { continue };
            // A client that was cut before it read what follows a gap is told again.
            let is_repeated = index > 0 && matches!(record.seen[index - 1], Seen::Gap { .. });
            let names = self.channels.iter().filter(|name| record.wants(name) && seen.names(name));
            let (mut has_cause, mut is_new) = (false, false);
            for name in names {
                let before = told.insert(name, *at).or(record.begun).unwrap_or_default();
                let mut causes = self.losses.iter().filter(|loss| loss.begun <= *at && loss.explains(seen));
                is_new |= causes.clone().any(|loss| loss.ended >= before || loss.trimmed.is_some());
                has_cause |= is_new
                    || causes.any(|loss| *at <= loss.ended + told_after || self.is_alone && is_repeated);
            }
            if has_cause && !is_new {
                findings.again += 1;
                let (name, seconds) = (record.name(), at.as_secs_f64());
                findings.notes.push(format!("{name}: told again at {seconds:.3} s by node {node}: {seen:?}"));
            }
            if !has_cause {
                let (name, seconds) = (record.name(), at.as_secs_f64());
                let text = format!(
                    "{name}: gap {} of {} for {requested:?} from node {node} at {seconds:.3} s",
                    reason.as_str(),
                    channels.join(", "),
                );
                findings.faults.push(Fault::new(FaultKind::SpuriousGap, text));
            }
        }
    }

    /// After each loss a reader that was there before is told before it gets anything else.
    fn compare_told(&self, record: &Record) -> Vec<Fault> {
        let mut faults = Vec::new();
        for loss in &self.losses {
            let first = record.seen.iter().find(|seen| seen.at() > loss.ended);
            let first = first.filter(|_| record.had_id_before(loss.begun));
            if let Some(Seen::Event { label, at, .. }) = first {
                let (ended, at) = (loss.ended.as_secs_f64(), at.as_secs_f64());
                let (name, what) = (record.name(), loss.what);
                let text = format!(
                    "{name}: got event {label} at {at:.3} s, after {what} until {ended:.3} s, and no gap before"
                );
                faults.push(Fault::new(FaultKind::UnsignalledGap, text));
            }
        }
        faults
    }

    /// What is in the log came to everyone who was there.
    fn compare_kept(&self, record: &Record) -> Vec<Fault> {
        let Some(begun) = record.begun.filter(|_| record.is_whole) else { return Vec::new() };
        let had: BTreeSet<Place> = record.seen.iter().filter_map(Seen::place).collect();
        let is_due = |entry: &&Entry| {
            entry.channels.iter().any(|name| record.wants(name))
                && self.sent.get(&entry.label).is_some_and(|sent| sent.begun >= begun)
        };
        let missing: Vec<_> =
            self.log.iter().filter(is_due).filter(|entry| !had.contains(&entry.place)).collect();
        let Some(first) = missing.first() else { return Vec::new() };
        let text = format!(
            "{}: {} events did not come, the first is {} at {} of {}, sent at {:.3} s",
            record.name(),
            missing.len(),
            first.label,
            first.place,
            first.channels.join(", "),
            self.sent[&first.label].begun.as_secs_f64()
        );
        vec![Fault::new(FaultKind::Lost, text)]
    }

    /// What is not in the log any more, and who knew of it.
    fn lost(&self, kept: &HashMap<Place, &Entry>) -> BTreeMap<Place, Lost> {
        let mut lost: BTreeMap<Place, Lost> = BTreeMap::new();
        let mut add = |place: Place, label: Label, node: usize, at: Moment| {
            if !kept.contains_key(&place) {
                let known = &mut lost.entry(place).or_insert(Lost { label, known: Vec::new() }).known;
                match known.iter_mut().find(|(other, _)| *other == node) {
                    Some((_, first)) => *first = at.min(*first),
                    None => known.push((node, at)),
                }
            }
        };
        for (label, sent) in &self.sent {
            if let Fate::Acknowledged { place, at, node } = sent.fate {
                add(place, *label, node, at);
            }
        }
        for seen in self.records.iter().flat_map(|record| &record.seen) {
            if let Seen::Event { label, place, at, node } = seen {
                add(*place, *label, *node, *at);
            }
        }
        lost
    }

    /// Who had what was lost, or was to get it, has a gap of its channels from after the loss.
    fn compare_lost(&self, record: &Record, lost: &BTreeMap<Place, Lost>, findings: &mut Findings) {
        let Some(begun) = record.begun.filter(|_| record.is_whole) else { return };
        let had: HashMap<Place, Moment> =
            record.seen.iter().filter_map(|seen| Some((seen.place()?, seen.at()))).collect();
        let mut late = BTreeSet::new();
        for (place, it) in lost {
            let Some(sent) = self.sent.get(&it.label) else { continue };
            let had_at = had.get(place);
            let what = || format!("{}: event {} at {place}", record.name(), it.label);
            let Some(loss) = self.loss_of(*place, it, sent) else {
                if had_at.is_some() {
                    let text = format!("{} is not in the log, though nothing was lost", what());
                    findings.faults.push(Fault::new(FaultKind::Lost, text));
                }
                continue;
            };
            let is_due = match (had_at, loss.trimmed) {
                (Some(_), trimmed) => trimmed.is_none(),
                // The log itself tells of a trim, whatever the nodes knew. A reader without an id asked for no place in it.
                (None, Some(_)) => sent.begun >= begun && record.had_id_before(loss.begun),
                (None, None) => sent.begun >= begun && self.is_remembered(it, loss),
            };
            if !is_due {
                continue;
            }
            let since = had_at.map_or(loss.begun, |at| loss.begun.max(*at));
            for name in self.names(it.label).into_iter().filter(|name| record.wants(name)) {
                findings.due += 1;
                if let Some(gap) = record.seen.iter().position(|seen| seen.at() >= since && seen.names(name))
                {
                    late.extend(self.is_late(&record.seen[..gap], name, loss).then_some((loss.begun, name)));
                    continue;
                }
                let had = had_at.map(|at| format!("had at {:.3} s", at.as_secs_f64()));
                let text = format!(
                    "{} of {name}, sent at {:.3} s, was lost by {} at {:.3} s; it was {}, and there is no gap",
                    what(),
                    sent.begun.as_secs_f64(),
                    loss.what,
                    loss.begun.as_secs_f64(),
                    had.unwrap_or("due".into()),
                );
                findings.faults.push(Fault::new(FaultKind::UnsignalledGap, text));
            }
        }
        findings.late += late.len() as u64;
        let note = |(loss, name): &(Moment, &str)| {
            format!("{}: the loss of {name} at {:.3} s was told late", record.name(), loss.as_secs_f64())
        };
        findings.notes.extend(late.iter().map(note));
    }

    /// Whether an event of this channel that was sent after a loss came before its gap.
    fn is_late(&self, before_gap: &[Seen], name: &str, loss: &Loss) -> bool {
        let is_from_after = |seen: &Seen| {
            let Seen::Event { label, .. } = seen else { return false };
            self.names(*label).contains(&name) && self.sent[label].begun > loss.ended
        };
        before_gap.iter().rev().take_while(|seen| seen.at() > loss.ended).any(is_from_after)
    }

    /// The loss that took an entry: the first that did not keep it, after the last that did.
    fn loss_of(&self, place: Place, lost: &Lost, sent: &Sent) -> Option<&Loss> {
        let kept = self.losses.iter().rposition(|loss| loss.kept.contains(&place));
        let known = lost.known.iter().map(|(_, at)| *at).min().unwrap_or_default();
        match kept {
            Some(kept) => self.losses.get(kept + 1),
            None => {
                // The last one before which it may have been stored and that could have taken it.
                let could = |loss: &&Loss| {
                    loss.ended >= sent.begun && loss.trimmed.is_none_or(|trimmed| place.offset <= trimmed)
                };
                self.losses
                    .iter()
                    .filter(could)
                    .find(|loss| loss.ended >= known)
                    .or_else(|| self.losses.iter().rfind(could))
            }
        }
    }

    /// Whether a node that knew of an entry stayed until it must have told.
    fn is_remembered(&self, lost: &Lost, loss: &Loss) -> bool {
        let until = loss.ended + LOOKED_AFTER;
        lost.known.iter().any(|(node, at)| {
            let hurts = |absence: &&Absence| {
                absence.node == *node
                    && !absence.is_remembered
                    && absence.begun >= *at
                    && absence.begun <= until
            };
            *at <= loss.ended && !self.absences.iter().any(|absence| hurts(&absence))
        })
    }

    fn names(&self, label: Label) -> Vec<&str> {
        let channels = self.sent.get(&label).map(|sent| &sent.channels[..]).unwrap_or_default();
        channels.iter().map(|&channel| self.channels[channel].as_str()).collect()
    }
}

impl Loss {
    /// Whether a gap may tell of it: one of a trim only if the reader's id is from before that.
    fn explains(&self, gap: &Seen) -> bool {
        let Seen::Gap { reason, requested, .. } = gap else { return false };
        let offset = || requested.as_ref()?.parse::<EventId>().ok().map(|id| id.offset);
        self.reasons.contains(reason)
            && self.trimmed.is_none_or(|trimmed| offset().is_some_and(|offset| offset < trimmed))
    }
}

impl Record {
    fn had_id_before(&self, moment: Moment) -> bool {
        self.seen.iter().any(|seen| seen.place().is_some() && seen.at() < moment)
    }
}

impl Seen {
    fn place(&self) -> Option<Place> {
        match self {
            Self::Event { place, .. } => Some(*place),
            Self::Gap { .. } => None,
        }
    }

    /// Whether this is a gap that names a channel.
    fn names(&self, channel: &str) -> bool {
        let Self::Gap { channels, .. } = self else { return false };
        let names = |text: &String| Subscription::parse(text).is_ok_and(|named| named.matches(channel));
        channels.iter().any(names)
    }
}

#[cfg(test)]
mod tests;
