//! What the doctor found, step by step.

use serde::Serialize;

use crate::terminal;

/// How a step went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum CheckStatus {
    Ok,
    /// Worth knowing; nothing breaks.
    Warn,
    Fail,
}

/// One finding.
#[derive(Clone, Debug, Serialize)]
pub(super) struct CheckResult {
    /// A stable name for programs.
    pub(super) name: &'static str,
    pub(super) outcome: CheckStatus,
    pub(super) detail: String,
    /// What to set where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) remedy: Option<String>,
}

/// All findings so far.
#[derive(Debug)]
pub(super) struct DoctorReport {
    prints: bool,
    steps: Vec<CheckResult>,
}

impl DoctorReport {
    /// A report that prints each finding when it is made, or keeps them.
    pub(super) fn new(prints: bool) -> Self {
        Self { prints, steps: Vec::new() }
    }

    pub(super) fn ok(&mut self, name: &'static str, detail: impl Into<String>) {
        self.add(CheckResult { name, outcome: CheckStatus::Ok, detail: detail.into(), remedy: None });
    }

    pub(super) fn warn(&mut self, name: &'static str, detail: impl Into<String>, remedy: impl Into<String>) {
        let remedy = Some(remedy.into());
        self.add(CheckResult { name, outcome: CheckStatus::Warn, detail: detail.into(), remedy });
    }

    pub(super) fn fail(&mut self, name: &'static str, detail: impl Into<String>, remedy: impl Into<String>) {
        let remedy = Some(remedy.into());
        self.add(CheckResult { name, outcome: CheckStatus::Fail, detail: detail.into(), remedy });
    }

    fn add(&mut self, step: CheckResult) {
        if self.prints {
            let mark = match step.outcome {
                CheckStatus::Ok => '✓',
                CheckStatus::Warn => '!',
                CheckStatus::Fail => '✗',
            };
            let remedy = step.remedy.as_ref().map(|remedy| format!("  → {remedy}\n")).unwrap_or_default();
            terminal::print(&format!("{mark} {}\n{remedy}", step.detail));
        }
        self.steps.push(step);
    }

    /// Whether no step failed.
    pub(super) fn is_good(&self) -> bool {
        self.count(CheckStatus::Fail) == 0
    }

    fn count(&self, outcome: CheckStatus) -> usize {
        self.steps.iter().filter(|step| step.outcome == outcome).count()
    }

    pub(super) fn summary(&self) -> String {
        match (self.count(CheckStatus::Fail), self.count(CheckStatus::Warn)) {
            (0, 0) => "nothing is wrong on the way to this hub\n".to_owned(),
            (0, warnings) => format!("nothing is wrong on the way to this hub; worth knowing: {warnings}\n"),
            (1, _) => "1 fault\n".to_owned(),
            (faults, _) => format!("{faults} faults\n"),
        }
    }

    pub(super) fn json(&self, url: &str) -> String {
        serde_json::json!({"url": url, "ok": self.is_good(), "steps": self.steps}).to_string()
    }

    #[cfg(test)]
    pub(super) fn steps(&self) -> &[CheckResult] {
        &self.steps
    }
}
