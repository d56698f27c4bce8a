//! A running adapter: the lines that it prints, and the faults in them.

use std::process::Stdio;
use std::sync::mpsc::Receiver;

use crate::prelude::*;

use super::libraries::Library;

/// Event that the hub sends when it ends a stream; a library may deliver it to its application.
const END: &str = "tidings.end";
/// Number of the newest remarks in a report.
const REMARKS_SHOWN: usize = 4;
const SHOWN_BYTES: usize = 60;

/// A message that a library delivered to its application.
struct LibraryMessage {
    name: String,
    /// `None` is a null of the library.
    data: Option<String>,
}

impl LibraryMessage {
    fn is_empty(&self) -> bool {
        self.data.as_deref().is_none_or(str::is_empty)
    }
}

/// A library that reads a stream. It is killed when it is dropped.
pub(super) struct Adapter {
    library: &'static Library,
    /// Killed with the adapter.
    _process: ChildProcess,
    output: Receiver<String>,
    errors: Receiver<String>,
    /// Number of streams that have opened.
    streams: usize,
    messages: Vec<LibraryMessage>,
    /// Faults that the adapter printed, and its standard error.
    remarks: Vec<String>,
}

impl Adapter {
    pub(super) fn start(library: &'static Library, url: &str) -> Self {
        let mut command = library.command(url);
        let mut process = ChildProcess::spawn(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
        let output = read_lines(process.take_stdout());
        let errors = read_lines(process.take_stderr());
        let (streams, messages, remarks) = (0, Vec::new(), Vec::new());
        Self { library, _process: process, output, errors, streams, messages, remarks }
    }

    pub(super) fn take_lines(&mut self) {
        for line in self.output.try_iter() {
            let line = line.trim_end();
            if line == "open" {
                self.streams += 1;
            } else if let Some(event) = line.strip_prefix("event ") {
                let event: Value = serde_json::from_str(event).unwrap();
                let name = event["name"].as_str().unwrap().to_owned();
                self.messages.push(LibraryMessage { name, data: event["data"].as_str().map(str::to_owned) });
            } else {
                self.remarks.push(line.to_owned());
            }
        }
        self.remarks.extend(self.errors.try_iter().map(|line| line.trim_end().to_owned()));
    }

    pub(super) fn has_opened(&self) -> bool {
        self.streams > 0
    }

    /// Names and data of the messages that may be events of a publisher.
    pub(super) fn delivered(&self) -> impl Iterator<Item = (&str, &str)> {
        let published = self.messages.iter().filter(|it| !it.name.starts_with("tidings.") && !it.is_empty());
        published.map(|it| (it.name.as_str(), it.data.as_deref().unwrap_or_default()))
    }

    /// Faults of the library, in one line.
    pub(super) fn fault(&self, published: &[(&str, String)]) -> Option<String> {
        let mut faults = Vec::new();
        let empty = self.messages.iter().filter(|it| it.is_empty()).count();
        if empty > self.library.empty_messages_of(self.streams) {
            let names: Vec<&str> =
                self.messages.iter().filter(|it| it.is_empty()).map(|it| it.name.as_str()).take(3).collect();
            faults.push(format!("{empty} empty messages, {names:?} first"));
        }
        let own = |it: &&LibraryMessage| it.name.starts_with("tidings.") && it.name != END && !it.is_empty();
        faults.extend(self.messages.iter().filter(own).map(|it| format!("{} {:?}", it.name, it.data)));
        let delivered: Vec<(&str, &str)> = self.delivered().collect();
        let expected: Vec<(&str, &str)> =
            published.iter().map(|(name, text)| (*name, self.library.hands_out(text))).collect();
        if delivered != expected {
            let place = delivered.iter().zip(&expected).take_while(|(left, right)| left == right).count();
            let [got, wanted] =
                [&delivered, &expected].map(|it| it.get(place).map(|(name, text)| (name, cut(text))));
            faults.push(format!(
                "{} of {} events; at {place}: {got:?} where {wanted:?} was published",
                delivered.len(),
                expected.len()
            ));
        }
        if faults.is_empty() {
            return None;
        }
        let remarks = &self.remarks[self.remarks.len().saturating_sub(REMARKS_SHOWN)..];
        let Library { name, version, .. } = self.library;
        Some(format!("{name} {version}: {} (remarks: {remarks:?})", faults.join("; ")))
    }
}

/// The beginning of a text.
fn cut(text: &str) -> &str {
    let end = (0..=SHOWN_BYTES.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or_default()]
}
