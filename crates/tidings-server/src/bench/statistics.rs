//! Failures by reason, and percentiles.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use tidings_load::RequestFailure;

/// Most reasons; further ones count as `other`.
const REASONS_MAX: usize = 20;
/// Characters kept of a body that is no problem document.
const DETAIL_CHARACTERS_MAX: usize = 200;

/// Failures, by reason.
#[derive(Debug, Clone, Default)]
pub(super) struct Failures(BTreeMap<String, FailureReason>);

/// Failures of one reason.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FailureReason {
    pub(super) reason: String,
    /// Status of the response, if there was one.
    pub(super) status: Option<u16>,
    /// Code of its problem document.
    pub(super) code: Option<String>,
    /// Detail of the first such response.
    pub(super) detail: String,
    pub(super) count: u64,
}

/// Reported members of a problem document. Source: RFC 9457.
#[derive(Debug, Default, Deserialize)]
struct ProblemFields {
    code: Option<String>,
    detail: Option<String>,
    title: Option<String>,
}

impl Failures {
    pub(super) fn note(&mut self, failure: &RequestFailure) {
        let (status, problem) = match failure {
            RequestFailure::Status { status, body } => (Some(*status), problem(body)),
            _ => (None, ProblemFields::default()),
        };
        let mut reason = failure.to_string();
        if let Some(code) = &problem.code {
            reason = format!("{reason} {code}");
        }
        if self.0.len() >= REASONS_MAX && !self.0.contains_key(&reason) {
            "other".clone_into(&mut reason);
        }
        let detail = problem.detail.or(problem.title).unwrap_or_default();
        let entry = self.0.entry(reason.clone()).or_insert(FailureReason {
            reason,
            status,
            code: problem.code,
            detail,
            count: 0,
        });
        entry.count += 1;
    }

    pub(super) fn count(&self) -> u64 {
        self.0.values().map(|reason| reason.count).sum()
    }

    /// The reasons, most frequent first.
    pub(super) fn reasons(&self) -> Vec<FailureReason> {
        let mut reasons: Vec<FailureReason> = self.0.values().cloned().collect();
        reasons.sort_by_key(|reason| std::cmp::Reverse(reason.count));
        reasons
    }
}

fn problem(body: &[u8]) -> ProblemFields {
    serde_json::from_slice(body).unwrap_or_else(|_| {
        let text = String::from_utf8_lossy(body);
        let text: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
        ProblemFields {
            detail: Some(text.chars().take(DETAIL_CHARACTERS_MAX).collect()),
            ..ProblemFields::default()
        }
    })
}

impl FailureReason {
    /// The reason as one line.
    pub(super) fn text(&self) -> String {
        if self.detail.is_empty() { self.reason.clone() } else { format!("{}: {}", self.reason, self.detail) }
    }
}

/// Percentiles in milliseconds.
#[derive(Debug, Clone, Copy, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Percentiles {
    pub(super) count: u64,
    pub(super) p50: f64,
    pub(super) p90: f64,
    pub(super) p99: f64,
    pub(super) p999: f64,
    pub(super) max: f64,
}

impl Percentiles {
    /// Percentiles of a histogram of microseconds; zeros if it is empty.
    pub(super) fn of(histogram: &Histogram<u64>) -> Self {
        if histogram.is_empty() {
            return Self::default();
        }
        let at = |quantile| milliseconds(histogram.value_at_quantile(quantile));
        Self {
            count: histogram.len(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: milliseconds(histogram.max()),
        }
    }
}

fn milliseconds(micros: u64) -> f64 {
    micros as f64 / 1e3
}

/// Rounds to three decimals: more are noise.
pub(super) fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests;
