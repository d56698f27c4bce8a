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
        self.add(CheckResult { name, status: CheckStatus::Ok, detail: detail.into(), advice: None });
    }

    pub(super) fn warn(&mut self, name: &'static str, detail: impl Into<String>, advice: &str) {
        let advice = Some(advice.to_owned());
        self.add(CheckResult { name, status: CheckStatus::Warn, detail: detail.into(), advice });
    }

    pub(super) fn fail(&mut self, name: &'static str, detail: impl Into<String>, advice: &str) {
        let advice = Some(advice.to_owned());
        self.add(CheckResult { name, status: CheckStatus::Fail, detail: detail.into(), advice });
    }

    fn add(&mut self, result: CheckResult) {
        if self.is_printed {
            let mark = match result.status {
                CheckStatus::Ok => '✓',
                CheckStatus::Warn => '!',
                CheckStatus::Fail => '✗',
            };
            let advice = result.advice.as_ref().map(|advice| format!("  → {advice}\n")).unwrap_or_default();
            terminal::print(&format!("{mark} {}\n{advice}", result.detail));
        }
        self.results.push(result);
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
