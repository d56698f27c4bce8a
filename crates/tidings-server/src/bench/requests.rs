//! Requests of a run, as bytes.

use std::io::Write;

use super::args::Args;
use super::endpoint::Endpoint;
use super::template::{Template, TemplateValues, write_json};
use crate::hub_args::BearerToken;

/// Builder of requests. It has no `Debug`: headers hold secrets.
pub(super) struct RequestBuilder {
    pub(super) subscribe: Endpoint,
    pub(super) publish: Endpoint,
    prefix: String,
    method: String,
    body: Template,
    /// Header lines of streams and of publishes.
    stream_headers: String,
    publish_headers: String,
}

impl RequestBuilder {
    pub(super) fn new(
        args: &Args,
        subscribe: Endpoint,
        publish: Endpoint,
        token: Option<&str>,
    ) -> Result<Self, String> {
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:~@/".contains(&byte);
        if !args.prefix.bytes().all(is_name) {
            return Err(format!("--prefix {:?} may hold letters, digits and -_.:~@/ only", args.prefix));
        }
        if args.publish_method.is_empty()
            || !args.publish_method.bytes().all(|byte| byte.is_ascii_uppercase())
        {
            return Err(format!(
                "--publish-method {:?} is no method such as POST or PUT",
                args.publish_method
            ));
        }
        let body = Template::new(&args.body);
        if !body.has_data() && !publish.path.has_data() {
            return Err("neither --body nor --publish holds {data}, {data_json} or {data_url}; without it no event can be known".to_owned());
        }
        let kind = if args.batch > 1 { "application/x-ndjson" } else { "application/json" };
        Ok(Self {
            subscribe,
            publish,
            prefix: args.prefix.clone(),
            method: args.publish_method.clone(),
            body,
            stream_headers: header_lines("--header", &args.headers, &[], token)?,
            publish_headers: header_lines(
                "--publish-header",
                &args.publish_headers,
                &[("Content-Type", kind)],
                token,
            )?,
        })
    }

    /// Prefix of channel names.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Name of a channel.
    pub(super) fn channel(&self, channel: u32) -> String {
        format!("{}{channel}", self.prefix)
    }

    /// Request of a stream; `after` is the id to resume after, or empty.
    pub(super) fn stream(&self, channel: u32, number: usize, after: &[u8]) -> Vec<u8> {
        let name = self.channel(channel);
        let mut request = b"GET ".to_vec();
        self.subscribe
            .path
            .write(TemplateValues { channel: &name, number: number as u64, data: b"" }, &mut request);
        let (host, headers) = (&self.subscribe.authority, &self.stream_headers);
        let _ = write!(request, " HTTP/1.1\r\nHost: {host}\r\nAccept: text/event-stream\r\n{headers}");
        if !after.is_empty() {
            request.extend_from_slice(b"Last-Event-ID: ");
            request.extend_from_slice(after);
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"\r\n");
        request
    }

    /// Request that publishes one event.
    pub(super) fn one(&self, channel: u32, number: u64, data: &[u8], request: &mut Vec<u8>) {
        let name = self.channel(channel);
        let values = TemplateValues { channel: &name, number, data };
        let mut body = Vec::with_capacity(data.len() + 64);
        self.body.write(values, &mut body);
        self.request(values, &body, request);
    }

    /// Request that publishes lines of [`RequestBuilder::line`].
    pub(super) fn batch(&self, number: u64, lines: &[u8], request: &mut Vec<u8>) {
        self.request(TemplateValues { channel: "", number, data: b"" }, lines, request);
    }

    /// Appends one event of a batch.
    pub(super) fn line(&self, channel: u32, data: &[u8], lines: &mut Vec<u8>) {
        let _ = write!(lines, "{{\"channels\":[\"{}\"],\"data\":\"", self.channel(channel));
        // Data within a JSON string is sent verbatim, so it keeps its length.
        write_json(data, lines);
        lines.extend_from_slice(b"\"}\n");
    }

    fn request(&self, values: TemplateValues<'_>, body: &[u8], request: &mut Vec<u8>) {
        request.clear();
        let _ = write!(request, "{} ", self.method);
        self.publish.path.write(values, request);
        let (host, headers, length) = (&self.publish.authority, &self.publish_headers, body.len());
        let _ = write!(request, " HTTP/1.1\r\nHost: {host}\r\n{headers}Content-Length: {length}\r\n\r\n");
        request.extend_from_slice(body);
    }
}

/// Header lines: the given ones, defaults for names that are not given, and the token.
fn header_lines(
    flag: &str,
    given: &[BearerToken],
    besides: &[(&str, &str)],
    token: Option<&str>,
) -> Result<String, String> {
    let mut lines = String::new();
    let mut names = Vec::new();
    for header in given {
        let (name, value) = header.text().split_once(':').unwrap_or_default();
        let (name, value) = (name.trim(), value.trim());
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if name.is_empty() || !name.bytes().all(is_name) || value.bytes().any(|byte| byte.is_ascii_control())
        {
            return Err(format!(
                "{flag} has no header `Name: value`; its name may hold letters, digits, - and _"
            ));
        }
        lines += &format!("{name}: {value}\r\n");
        names.push(name.to_ascii_lowercase());
    }
    let is_free = |name: &str| !names.contains(&name.to_ascii_lowercase());
    for (name, value) in besides.iter().filter(|(name, _)| is_free(name)) {
        lines += &format!("{name}: {value}\r\n");
    }
    if let Some(token) = token.filter(|_| is_free("authorization")) {
        if token.bytes().any(|byte| !byte.is_ascii_graphic()) {
            return Err("the token holds a space or a control character; give it whole and alone".to_owned());
        }
        lines += &format!("Authorization: Bearer {token}\r\n");
    }
    Ok(lines)
}
