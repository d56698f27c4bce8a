use std::{collections::BTreeMap, sync::Arc};

use proptest::prelude::*;

use super::*;
use crate::entry::{Entry, NewEntry};
use crate::testing::{START, channel, entry, keyed, new_entry, seeded, subscriptions, urgent};

impl Index {
    pub(crate) fn set_recent_trims_max(&mut self, trims_max: usize) {
        self.bounds.recent_trims = trims_max;
    }
}

/// Expected content of the index.
#[derive(Default)]
struct ExpectedIndex {
    entries: BTreeMap<u64, (Arc<Entry>, Vec<ChannelName>)>,
    /// Per channel, the highest offset lost.
    lost: BTreeMap<ChannelName, u64>,
    released: Vec<u64>,
}

impl ExpectedIndex {
    fn of<'a>(&'a self, name: &'a ChannelName) -> impl Iterator<Item = &'a Arc<Entry>> + 'a {
        self.entries.values().filter(move |(_, holders)| holders.contains(name)).map(|(entry, _)| entry)
    }

    fn append(&mut self, entry: &Arc<Entry>) {
        let mut holders = entry.channels.to_vec();
        holders.sort();
        holders.dedup();
        self.entries.insert(entry.offset, (entry.clone(), holders));
    }

    fn remove(&mut self, name: &ChannelName, offset: u64, now: Millis, is_forgivable: bool) {
        let entry = self.entries[&offset].0.clone();
        let is_replaced =
            entry.key.is_some() && self.of(name).any(|other| other.offset > offset && other.key == entry.key);
        if !(is_forgivable && (is_replaced || entry.has_expired(now))) {
            let lost = self.lost.entry(name.clone()).or_default();
            *lost = (*lost).max(offset);
        }
        let holders = &mut self.entries.get_mut(&offset).unwrap().1;
        holders.retain(|holder| holder != name);
        if holders.is_empty() {
            self.entries.remove(&offset);
            self.released.push(offset);
        }
    }

    fn trim_channels(&mut self, names: &[ChannelName], events_max: u64, now: Millis) {
        for name in names {
            while self.of(name).count() as u64 > events_max {
                let oldest = self.of(name).next().unwrap().offset;
                self.remove(name, oldest, now, true);
            }
        }
    }

    fn bytes(&self) -> u64 {
        let of = |(entry, holders): &(Arc<Entry>, Vec<_>)| {
            u64::from(entry.record_bytes()) + INDEX_BYTES_PER_ENTRY + 8 * holders.len() as u64
        };
        self.entries.values().map(of).sum()
    }

    fn trim_log(&mut self, bytes_max: u64, not_before: Millis, now: Millis) {
        while let Some((entry, holders)) = self.entries.values().next().cloned() {
            if self.bytes() <= bytes_max && entry.published_at >= not_before {
                break;
            }
            for name in holders {
                self.remove(&name, entry.offset, now, true);
            }
        }
    }
}

#[derive(Debug, Clone)]
enum IndexChange {
    Append { names: Vec<usize>, priority: u8, key: Option<u8>, ttl: Option<u64>, jump: u64 },
    Pass(u64),
    TrimBytes(u64),
    TrimAge(u64),
    Lose(usize),
    Restart,
}

fn change() -> impl Strategy<Value = IndexChange> {
    prop_oneof![
        12 => (
            prop::collection::vec(0..6_usize, 1..4),
            0..4_u8,
            prop::option::of(0..3_u8),
            prop::option::weighted(0.3, 1..50_u64),
            prop_oneof![9 => Just(1_u64), 1 => 1..2000_u64]
        )
            .prop_map(|(names, priority, key, ttl, jump)| IndexChange::Append { names, priority, key, ttl, jump }),
        3 => (1..40_u64).prop_map(IndexChange::Pass),
        1 => (0..3000_u64).prop_map(IndexChange::TrimBytes),
        1 => (0..100_u64).prop_map(IndexChange::TrimAge),
        1 => (0..50_usize).prop_map(IndexChange::Lose),
        1 => Just(IndexChange::Restart),
    ]
}

const NAMES: [&str; 6] = ["a", "a.b", "a.c", "b", "b.c.d", "z"];
const PRIORITIES: [Priority; 4] = [Priority::Low, Priority::Normal, Priority::High, Priority::Critical];

/// An index after a restart: from the checkpoint, and every entry in a file.
fn restarted(index: &Index, model: &ExpectedIndex) -> Index {
    let mut again = Index { bounds: index.bounds, ..Index::default() };
    again.restore_default_trim(index.default_trim().offset);
    let rows: Vec<_> = index
        .channels_to_restore()
        .map(|row| (row.name.clone(), row.trim().offset, row.removed_through()))
        .collect();
    for (name, lost, gone) in rows {
        again.restore_channel(&name, lost, gone);
    }
    for (entry, _) in model.entries.values() {
        again.append(&entry.meta());
    }
    again
}

fn check_same(index: &Index, model: &ExpectedIndex, now_names: &[ChannelName]) -> Result<(), TestCaseError> {
    prop_assert_eq!(index.bytes(), model.bytes());
    prop_assert_eq!(index.entries(), model.entries.len());
    prop_assert_eq!(index.above(0).collect::<Vec<_>>(), model.entries.keys().copied().collect::<Vec<_>>());
    for name in now_names {
        let offsets: Vec<u64> = model.of(name).map(|entry| entry.offset).collect();
        let lost = model.lost.get(name).copied().unwrap_or(0);
        let Some(row) = index.channel(name.as_str()) else {
            prop_assert!(offsets.is_empty(), "{} has no row", name);
            prop_assert!(index.default_trim().offset >= lost, "a loss of {} is forgotten", name);
            continue;
        };
        prop_assert_eq!(row.above(0).copied().collect::<Vec<_>>(), offsets);
        prop_assert!(row.trim().offset >= lost, "a loss of {} is forgotten", name);
        prop_assert!(row.trim().offset == lost || index.default_trim().offset > 0, "{} lost less", name);
        let urgent: Vec<(u64, bool)> = model
            .of(name)
            .filter(|entry| entry.priority >= Priority::High)
            .map(|entry| (entry.offset, entry.priority == Priority::Critical))
            .collect();
        prop_assert_eq!(
            row.urgent_above(0).map(|it| (it.offset, it.is_critical)).collect::<Vec<_>>(),
            urgent
        );
        for entry in model.of(name).filter(|entry| entry.key.is_some()) {
            let newer = model.of(name).any(|other| other.offset > entry.offset && other.key == entry.key);
            let found = row.has_newer(entry.key.as_deref().unwrap(), entry.offset);
            // After the newest entry of a key was lost, all older ones of the key are delivered.
            prop_assert!(found == newer || (newer && lost > entry.offset), "{} {}", name, entry.offset);
        }
    }
    for (offset, (entry, holders)) in &model.entries {
        let mut held: Vec<_> = index.channels_of(*offset).cloned().collect();
        held.sort();
        prop_assert_eq!(&held, holders);
        prop_assert_eq!(index.tag(*offset), Some(entry.tag));
    }
    let highest = model.lost.values().max().copied().unwrap_or(0);
    prop_assert!(index.highest_trim() >= highest);
    Ok(())
}

fn check_steps(steps: Vec<IndexChange>, events_max: u64, bounds: IndexBounds) -> Result<(), TestCaseError> {
    let mut index = Index { bounds, ..Index::default() };
    let mut model = ExpectedIndex::default();
    let (mut offset, mut now) = (0, START);
    let mut released = Vec::new();
    let names: Vec<ChannelName> = NAMES.iter().map(|name| channel(name)).collect();
    for step in steps {
        match step {
            IndexChange::Append { names: chosen, priority, key, ttl, jump } => {
                offset += jump;
                let text = chosen.iter().map(|index| NAMES[*index]).collect::<Vec<_>>().join(" ");
                let new_entry = NewEntry {
                    priority: PRIORITIES[usize::from(priority)],
                    key: key.map(|key| key.to_string().into()),
                    expires_at: ttl.map(|ttl| now + ttl),
                    published_at: now,
                    ..new_entry(&text, "data")
                };
                let entry = entry(new_entry, offset);
                index.append(&entry.meta());
                model.append(&entry);
                index.trim_channels(&entry.channels, events_max, now);
                model.trim_channels(&entry.channels, events_max, now);
            }
            IndexChange::Pass(millis) => now += millis,
            IndexChange::TrimBytes(bytes_max) => {
                index.trim_log(bytes_max, 0, now);
                model.trim_log(bytes_max, 0, now);
            }
            IndexChange::TrimAge(age) => {
                index.trim_log(u64::MAX, now - age, now);
                model.trim_log(u64::MAX, now - age, now);
            }
            IndexChange::Lose(which) => {
                let Some(offset) = model.entries.keys().nth(which).copied() else { continue };
                index.mark_lost(offset);
                for name in model.entries[&offset].1.clone() {
                    model.remove(&name, offset, now, false);
                }
            }
            IndexChange::Restart => {
                released.extend(index.take_released());
                index = restarted(&index, &model);
            }
        }
        check_same(&index, &model, &names)?;
    }
    index.trim_log(0, u64::MAX, now);
    model.trim_log(0, u64::MAX, now);
    check_same(&index, &model, &names)?;
    prop_assert_eq!(index.bytes(), 0);
    prop_assert_eq!(index.table.room(), 0);
    prop_assert!(index.several.is_empty() && index.expires.is_empty());
    released.extend(index.take_released());
    prop_assert_eq!(released, model.released);
    Ok(())
}

proptest! {
    #![proptest_config(seeded(192))]

    #[test]
    fn index_agrees_with_a_model(steps in prop::collection::vec(change(), 1..120), events_max in 1..8_u64) {
        check_steps(steps, events_max, IndexBounds::default())?;
    }

    #[test]
    fn losses_of_forgotten_channels_count_for_all(steps in prop::collection::vec(change(), 1..120), rows in 0..3_usize) {
        check_steps(steps, 3, IndexBounds { empty_rows: rows, ..IndexBounds::default() })?;
    }
}

fn filled(new_entries: Vec<NewEntry>) -> Index {
    let mut index = Index::default();
    for (offset, new_entry) in (1..).zip(new_entries) {
        let entry = entry(new_entry, offset);
        index.append(&entry.meta());
    }
    index
}

#[test]
fn default_trim_is_the_highest_loss_of_channels_without_rows() {
    let mut index =
        Index { bounds: IndexBounds { empty_rows: 2, ..IndexBounds::default() }, ..Index::default() };
    for (offset, name) in (1..).zip(["a", "b", "c", "d", "quiet"]) {
        let entry = entry(new_entry(name, "x"), offset);
        index.append(&entry.meta());
    }
    for name in ["b", "a", "c", "d"] {
        index.trim_channels(&[channel(name)], 0, START);
    }
    assert_eq!(index.default_trim().offset, 2);
    assert_eq!(index.channel_count(), 3);
    assert_eq!(index.channel("quiet").unwrap().trim().offset, 0);
    // A channel that comes back may have lost its row.
    let entry = entry(new_entry("new", "x"), 6);
    index.append(&entry.meta());
    assert_eq!(index.channel("new").unwrap().trim().offset, 2);
}

#[test]
fn old_entry_of_a_quiet_channel_does_not_keep_room_for_those_behind_it() {
    let mut index = filled(vec![new_entry("quiet", "x")]);
    for offset in 2..=50_000 {
        let entry = entry(new_entry("busy", "x"), offset);
        index.append(&entry.meta());
        index.trim_channels(&entry.channels, 100, START);
    }
    assert_eq!(index.entries(), 101);
    assert!(index.table.room() < 3000, "room for {}", index.table.room());
    assert_eq!(index.tag(1), Some(entry(new_entry("quiet", "x"), 1).tag));
}

#[test]
fn trims_after_a_serial_are_those_and_none_where_some_are_forgotten() {
    let mut index = filled((0..10).map(|_| new_entry("a", "x")).collect());
    index.bounds.recent_trims = 3;
    let at_first = index.trim_serial();
    index.trim_channels(&[channel("a")], 8, START);
    let after = index.trim_serial();
    assert_eq!(index.trims_after(at_first).unwrap().map(|(trim, _)| trim.offset).collect::<Vec<_>>(), [1, 2]);
    index.trim_channels(&[channel("a")], 6, START);
    assert!(index.trims_after(at_first).is_none());
    assert_eq!(index.trims_after(after).unwrap().map(|(trim, _)| trim.offset).collect::<Vec<_>>(), [3, 4]);
    assert_eq!(index.trims_after(index.trim_serial()).unwrap().count(), 0);
}

#[test]
fn pattern_selects_the_rows_it_matches() {
    let index =
        filled(["a", "a.b", "a.b.c", "ab", "a:b", "b"].iter().map(|name| new_entry(name, "x")).collect());
    let select = |text: &str| -> Vec<String> {
        let subscription = &subscriptions(&[text])[0];
        index.selected(subscription).map(|row| row.name.to_string()).collect()
    };
    assert_eq!(select("a.*"), ["a.b"]);
    assert_eq!(select("a.**"), ["a.b", "a.b.c"]);
    assert_eq!(select("*"), ["a", "ab", "b"]);
    assert_eq!(select("a.b"), ["a.b"]);
    assert_eq!(select("none"), [""; 0]);
}

#[test]
fn recent_urgent_entries_are_bounded_and_ascending() {
    let mut index =
        Index { bounds: IndexBounds { recent_urgent: 3, ..IndexBounds::default() }, ..Index::default() };
    for offset in 1..=10 {
        let priority = if offset % 2 == 0 { Priority::High } else { Priority::Normal };
        let entry = entry(urgent("a", priority), offset);
        index.append(&entry.meta());
    }
    assert_eq!(index.recent_urgent_above(6).map(|entry| entry.offset).collect::<Vec<_>>(), [8, 10]);
    assert_eq!(index.recent_urgent_above(0).map(|entry| entry.offset).collect::<Vec<_>>(), [6, 8, 10]);
}

#[test]
fn replaced_and_expired_entries_are_not_missed() {
    let brief = NewEntry { expires_at: Some(START + 5), ..new_entry("c", "brief") };
    let mut index = filled(vec![keyed("a b", "k"), keyed("a", "k"), brief]);
    index.trim_log(0, 0, START + 5);
    // Newer in one channel is not newer in the other.
    assert_eq!(index.channel("b").unwrap().trim().offset, 1);
    assert_eq!(index.channel("a").unwrap().trim().offset, 2);
    assert!(index.channel("c").is_none());
}
