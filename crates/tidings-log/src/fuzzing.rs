//! Entry points of the programs in `fuzz/`: the records of a file, and the log of a directory, damaged.
//!
//! No build of the hub has this module: `cargo fuzz` sets `cfg(fuzzing)`, and tests run each hook on a few inputs.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Log;
use super::entry::NewEntry;
use super::settings::LogSettings;
pub use super::store::fuzz::record;
use super::testing::{TestWorld, new_entry};

const BATCH_EVENTS_MAX: usize = 8;

/// Damage to a directory.
#[derive(Debug, Clone)]
pub enum Damage {
    /// Flips bits of a byte of a file.
    Bits(u8, u32, u8),
    /// Truncates a file.
    Cut(u8, u32),
    /// Appends bytes to a file.
    Grown(u8, Vec<u8>),
}

/// Stores batches of events in an empty directory, damages its files, and opens it twice. An event is a channel and a length.
///
/// # Panics
/// If the directory cannot be opened, if an event differs from the stored one, if a missing event that no kill explains is
/// not reported, or if the second opening finds another result than the first.
pub fn recovery(directory: &Path, batches: &[Vec<(u8, u16)>], damage: &[Damage]) {
    let environment = TestWorld::new(1);
    let (kept, lost) = opened(directory, &environment, |log| {
        for batch in batches.iter().filter(|batch| !batch.is_empty()) {
            let events =
                batch.iter().take(BATCH_EVENTS_MAX).map(|(channel, length)| event(*channel, *length));
            log.append(events.collect()).expect("there is room");
        }
    });
    assert_eq!(lost, None, "the directory is new");
    let files = files(directory);
    let whole = damage.iter().filter(|damage| damage.apply(&files)).count() == 0;
    let (left, lost) = opened(directory, &environment, |_| ());
    let is_kept = |(offset, text): &(u64, String)| kept.iter().any(|(at, is)| at == offset && is == text);
    assert!(left.iter().all(is_kept), "an event is another: {left:?}");
    let is_missing = left.len() < kept.len();
    // No kill leaves a part of a page at the end of a file.
    let may_be_a_kill = damage.iter().any(|damage| matches!(damage, Damage::Cut(..)));
    assert!(!is_missing || lost.is_some() || may_be_a_kill, "{} of {} are left", left.len(), kept.len());
    assert!(!whole || !is_missing, "nothing was damaged, and {} of {} are left", left.len(), kept.len());
    assert_eq!(opened(directory, &environment, |_| ()), (left, None), "the second opening");
}

/// Opens the log, and returns its entries after `then`, and the loss that it reports.
fn opened(
    directory: &Path,
    environment: &Arc<TestWorld>,
    then: impl FnOnce(&Log),
) -> (Vec<(u64, String)>, Option<String>) {
    let (log, recovered) = Log::open(&LogSettings::default(), Some(directory), environment.clone())
        .expect("it opens, whatever is in it");
    then(&log);
    let head = log.head();
    let offsets: Vec<u64> =
        (1..=head.offset).filter(|offset| log.state().index.tag(*offset).is_some()).collect();
    let entries = log.read(&offsets, head.epoch);
    let entries = entries.iter().map(|entry| entry.as_ref().expect("every entry of the index can be read"));
    (entries.map(|entry| (entry.offset, entry.data())).collect(), recovered.lost)
}

fn event(channel: u8, length: u16) -> NewEntry {
    let data = format!("{channel}-{length}-{}", "x".repeat(length.into()));
    let key = (channel > 200).then(|| "key".into());
    NewEntry { key, ..new_entry(&format!("c.{}", channel % 16), &data) }
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let folder =
        |path: &Path| fs::read_dir(path).into_iter().flatten().filter_map(Result::ok).map(|it| it.path());
    let mut files: Vec<PathBuf> = folder(directory).chain(folder(&directory.join("segments"))).collect();
    files.retain(|path| path.is_file());
    files.sort();
    files
}

impl Damage {
    /// Makes the damage, and returns whether it changed anything.
    fn apply(&self, files: &[PathBuf]) -> bool {
        let (Self::Bits(file, ..) | Self::Cut(file, _) | Self::Grown(file, _)) = self;
        let path = &files[usize::from(*file) % files.len()];
        let Ok(mut bytes) = fs::read(path) else { return false };
        let before = bytes.clone();
        let length = bytes.len().max(1);
        match self {
            Self::Bits(_, at, bits) => {
                bytes.iter_mut().skip(*at as usize % length).take(1).for_each(|it| *it ^= bits);
            }
            Self::Cut(_, at) => bytes.truncate(*at as usize % length),
            Self::Grown(_, more) => bytes.extend_from_slice(more),
        }
        fs::write(path, &bytes).expect("the directory can be written");
        before != bytes
    }
}

#[cfg(test)]
mod tests;
