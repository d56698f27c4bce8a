//! Refusals as RFC 9457 problem documents.

use serde::{Deserialize, Serialize};

use crate::code::Code;

/// A refusal as the body of an `application/problem+json` answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Always `about:blank`: the status says the kind, `code` the rest.
    #[serde(rename = "type", default = "about_blank")]
    pub type_: String,
    /// The status in words.
    pub title: String,
    /// HTTP status of the answer.
    pub status: u16,
    /// What went wrong, for programs.
    pub code: Code,
    /// What went wrong, for people: the value, the bound, the way out.
    pub detail: String,
    /// Place of the first bad message in a batch, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<usize>,
    /// The channel or pattern that is at fault, of several that were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// Name of the setting that was reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
}

impl Problem {
    /// Content type of a problem document.
    pub const CONTENT_TYPE: &str = "application/problem+json";

    /// Returns a problem without `index`, `channel` and `limit`.
    pub fn new(status: u16, title: impl Into<String>, code: Code, detail: impl Into<String>) -> Self {
        Self {
            type_: about_blank(),
            title: title.into(),
            status,
            code,
            detail: detail.into(),
            index: None,
            channel: None,
            limit: None,
        }
    }
}

fn about_blank() -> String {
    "about:blank".into()
}

#[cfg(test)]
mod tests;
