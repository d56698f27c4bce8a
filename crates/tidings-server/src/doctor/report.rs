//! The results of the checks.

use serde::Serialize;

use crate::terminal;

/// Status of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum CheckStatus {
    Ok,
    /// A hint; nothing breaks.
    Warn,
    Fail,
}

/// Result of one check.
#[derive(Clone, Debug, Serialize)]
pub(super) struct CheckResult {
    /// Stable name for programs.
    pub(super) name: &'static str,
    #[serde(rename = "outcome")]
    pub(super) status: CheckStatus,
    pub(super) detail: String,
    /// The setting to change, and where.
    #[serde(rename = "remedy", skip_serializing_if = "Option::is_none")]
    pub(super) advice: Option<String>,
}

/// Results so far.
#[derive(Debug)]
pub(super) struct DoctorReport {
    /// Whether each result is printed at once.
    is_printed: bool,
    pub(super) results: Vec<CheckResult>,
}

impl DoctorReport {
    /// Creates a report that prints each result at once, or only keeps it.
    pub(super) fn new(is_printed: bool) -> Self {
        Self { is_printed, results: Vec::new() }
    }

    pub(super) fn ok(&mut self, name: &'static str, detail: impl Into<String>) {
        self.add(name, CheckStatus::Ok, detail.into(), None);
    }

    pub(super) fn warn(&mut self, name: &'static str, detail: impl Into<String>, advice: &str) {
        self.add(name, CheckStatus::Warn, detail.into(), Some(advice));
    }

    pub(super) fn fail(&mut self, name: &'static str, detail: impl Into<String>, advice: &str) {
        self.add(name, CheckStatus::Fail, detail.into(), Some(advice));
    }

    fn add(&mut self, name: &'static str, status: CheckStatus, detail: String, advice: Option<&str>) {
        if self.is_printed {
            let mark = match status {
                CheckStatus::Ok => '✓',
                CheckStatus::Warn => '!',
                CheckStatus::Fail => '✗',
            };
            let advice = advice.map(|advice| format!("  → {advice}\n")).unwrap_or_default();
            terminal::print(&format!("{mark} {detail}\n{advice}"));
        }
        self.results.push(CheckResult { name, status, detail, advice: advice.map(str::to_owned) });
    }

    /// Returns whether no check failed.
    pub(super) fn is_good(&self) -> bool {
        self.count(CheckStatus::Fail) == 0
    }

    fn count(&self, status: CheckStatus) -> usize {
        self.results.iter().filter(|result| result.status == status).count()
    }

    pub(super) fn summary(&self) -> String {
        match (self.count(CheckStatus::Fail), self.count(CheckStatus::Warn)) {
            (0, 0) => "no faults on the way to this hub\n".to_owned(),
            (0, warnings) => format!("no faults on the way to this hub; warnings: {warnings}\n"),
            (1, _) => "1 fault\n".to_owned(),
            (faults, _) => format!("{faults} faults\n"),
        }
    }

    pub(super) fn json(&self, url: &str) -> String {
        serde_json::json!({"url": url, "ok": self.is_good(), "steps": self.results}).to_string()
    }
}
