//! Parameters of a request in its path, query and headers.

use std::{borrow::Cow, str::FromStr};

use http::{HeaderMap, Uri};
use percent_encoding::percent_decode_str;
use tidings_protocol::{ChannelName, Subscription};

use crate::error::{Code, Error};

/// Parameters that may carry credentials, on any route.
const CREDENTIALS: [&str; 3] = ["access_token", "ticket", "sessionId"];

/// The parameters of a query, decoded, in order.
pub(super) struct Query {
    pairs: Vec<(String, String)>,
    /// Whether the query was not UTF-8. Invalid bytes became U+FFFD.
    is_lossy: bool,
}

impl Query {
    pub(super) fn of(uri: &Uri) -> Self {
        let query = uri.query().unwrap_or_default();
        let is_lossy = percent_decode_str(query).decode_utf8().is_err();
        Self { pairs: form_urlencoded::parse(query.as_bytes()).into_owned().collect(), is_lossy }
    }

    /// Returns every value of a parameter.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs.iter().filter(move |(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// Returns the value of a parameter that may appear once. An empty value is `None`.
    ///
    /// # Errors
    /// 400 if it appears twice with different values.
    pub(super) fn one<'a>(&'a self, name: &'a str) -> Result<Option<&'a str>, Error> {
        let mut values = self.all(name);
        let first = values.next();
        if values.any(|other| Some(other) != first) {
            return Err(Error::new(
                Code::BadQuery,
                format!("query parameter `{name}` stands twice; give it once"),
            ));
        }
        Ok(first.filter(|value| !value.is_empty()))
    }

    /// Refuses parameters other than `known`, so that no misspelt one is ignored.
    ///
    /// # Errors
    /// 400 with the known names, or if the query is not UTF-8.
    pub(super) fn only(&self, known: &[&str]) -> Result<(), Error> {
        if self.is_lossy {
            return Err(Error::new(Code::InvalidUtf8, "the query is not UTF-8"));
        }
        let is_known = |name: &str| known.contains(&name) || CREDENTIALS.contains(&name);
        match self.pairs.iter().find(|(name, _)| !is_known(name)) {
            None => Ok(()),
            Some((name, _)) if known.is_empty() => Err(Error::new(
                Code::BadQuery,
                format!("query parameter {name:?} is not known here; the body says what is asked for"),
            )),
            Some((name, _)) => Err(Error::new(
                Code::BadQuery,
                format!("query parameter {name:?} is not known here; known are {}", known.join(", ")),
            )),
        }
    }
}

/// Returns the text of a header that may appear once. An empty value is `None`.
///
/// # Errors
/// 400 if it appears twice or is not UTF-8.
pub(super) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<Cow<'a, str>>, Error> {
    let mut values = headers.get_all(name).iter();
    let Some(first) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Error::new(Code::BadHeader, format!("two {name} headers; send one")));
    }
    match std::str::from_utf8(first.as_bytes()) {
        Ok("") => Ok(None),
        Ok(text) => Ok(Some(text.into())),
        Err(_) => Err(Error::new(Code::BadHeader, format!("header {name} is not UTF-8"))),
    }
}

/// Decodes the rest of a path once.
///
/// # Errors
/// 400 if it is not UTF-8.
pub(super) fn decoded(path: &str) -> Result<Cow<'_, str>, Error> {
    percent_decode_str(path)
        .decode_utf8()
        .map_err(|_| Error::new(Code::InvalidUtf8, "the channel in the path is not UTF-8"))
}

/// Parses a channel or pattern to read.
///
/// # Errors
/// 400 outside the grammar, 403 for reserved names.
pub(super) fn subscription(text: &str) -> Result<Subscription, Error> {
    Ok(Subscription::parse(text)?)
}

/// Parses channels and patterns to read. An error names the first bad one of several.
///
/// # Errors
/// Those of [`subscription`].
pub(super) fn subscriptions<'a>(texts: impl Iterator<Item = &'a str>) -> Result<Vec<Subscription>, Error> {
    let texts: Vec<_> = texts.collect();
    let is_one = texts.len() == 1;
    let parsed = texts
        .into_iter()
        .map(|text| subscription(text).map_err(|error| if is_one { error } else { error.channel(text) }));
    parsed.collect()
}

/// Parses a number of digits only. `None` for a sign, a space or a number out of range.
pub(super) fn whole_number<N: FromStr>(text: &str) -> Option<N> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_number)
}

/// Parses a channel. Patterns are refused.
///
/// # Errors
/// 400 outside the grammar, 403 for reserved names.
pub(super) fn channel(text: &str) -> Result<ChannelName, Error> {
    Ok(ChannelName::parse(text)?)
}
