//! Problem documents. Source: RFC 9457.

use serde::{Deserialize, Serialize};

use crate::code::Code;

/// A problem document: the body of an `application/problem+json` answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Always `about:blank`: `status` and `code` name the problem.
    #[serde(rename = "type", default = "about_blank")]
    pub type_: String,
    /// The status as text.
    pub title: String,
    /// HTTP status of the answer.
    pub status: u16,
    /// The error, for programs.
    pub code: Code,
    /// The error, for people: value, bound, advice.
    pub detail: String,
    /// Index of the first bad message of a batch, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<usize>,
    /// The channel or pattern that caused the error, if the request names several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// Name of the setting whose limit was reached.
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
