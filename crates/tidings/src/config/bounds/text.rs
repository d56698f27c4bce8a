//! Texts of durations and sizes, and checks against bounds.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::super::error::SettingError;

/// Entries of one list of addresses, origins, types, networks, patterns or keys.
pub const LIST_ENTRIES_MAX: usize = 1_000;

/// Writes a duration as settings do, in the largest unit that is exact: `250ms`, `15s`, `24h`, `7d`.
pub fn duration_text(duration: Duration) -> String {
    const UNITS: [(u128, &str); 4] = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    let milliseconds = duration.as_millis();
    // One day reads `24h`, the usual form; two and more read in days.
    if milliseconds == UNITS[0].0 {
        return "24h".to_owned();
    }
    let exact = UNITS.iter().find(|(unit, _)| milliseconds != 0 && milliseconds.is_multiple_of(*unit));
    match exact {
        Some((unit, name)) => format!("{}{name}", milliseconds / unit),
        None => format!("{milliseconds}ms"),
    }
}

/// Writes a size as settings do, in the largest unit that is exact: `512`, `64KiB`, `1GiB`.
pub fn size_text(bytes: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match UNITS.iter().find(|(unit, _)| bytes != 0 && bytes.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{}{name}", bytes / unit),
        None => bytes.to_string(),
    }
}

/// Errors of settings, in the order of the checks.
#[derive(Default)]
pub(super) struct SettingErrors(pub(super) Vec<SettingError>);

impl SettingErrors {
    /// Adds the problem of a setting, if there is one.
    pub(super) fn add(&mut self, setting: &'static str, problem: Option<String>) {
        self.0.extend(problem.map(|problem| SettingError { setting, problem }));
    }

    /// Checks a value against its bound; no value is within it.
    pub(super) fn check<T: PartialOrd + Copy, D: Display>(
        &mut self,
        setting: &'static str,
        value: Option<T>,
        bound: &RangeInclusive<T>,
        text: fn(T) -> D,
    ) {
        let problem = value.and_then(|value| match (*bound.start(), *bound.end()) {
            (low, _) if value < low => Some(format!("is {}; at least {}", text(value), text(low))),
            (_, high) if value > high => Some(format!("is {}; at most {}", text(value), text(high))),
            _ => None,
        });
        self.add(setting, problem);
    }

    /// Checks the number of a list's entries.
    pub(super) fn check_length(&mut self, setting: &'static str, length: usize) {
        let problem = format!("has {length} entries; at most {LIST_ENTRIES_MAX}");
        self.add(setting, (length > LIST_ENTRIES_MAX).then_some(problem));
    }
}
