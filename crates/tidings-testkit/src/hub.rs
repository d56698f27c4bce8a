//! A hub in a process of its own.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::ops::{Deref, DerefMut, Range};
use std::path::Path;
use std::process::{ChildStdout, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::Receiver;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::process::{read_lines, read_through};
use crate::{ChildProcess, HttpConnection, HttpResponse, SseReader, eventually, numbers, with_position};

/// The command `tidings serve`, on a free port and in an empty environment unless said otherwise.
#[derive(Debug)]
pub struct HubCommand {
    command: Command,
    listen: String,
}

impl HubCommand {
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self::from_command(Command::new(program))
    }

    /// Appends the arguments to a command that runs the program, such as `taskset -c 0 tidings`.
    pub fn from_command(mut command: Command) -> Self {
        command.arg("serve").env_clear();
        Self { command, listen: "127.0.0.1:0".to_owned() }
    }

    /// Sets the working directory, in which the hub looks for `tidings.toml`.
    pub fn directory(mut self, path: &Path) -> Self {
        self.command.current_dir(path);
        self
    }

    /// Sets the address. Default: a free port of 127.0.0.1.
    pub fn listen(mut self, address: &str) -> Self {
        address.clone_into(&mut self.listen);
        self
    }

    /// Keeps the log in this directory.
    pub fn data_dir(mut self, path: impl AsRef<OsStr>) -> Self {
        self.command.arg("--data-dir").arg(path);
        self
    }

    /// Keeps nothing on disk.
    pub fn memory(mut self) -> Self {
        self.command.arg("--memory");
        self
    }

    /// Sets environment variables, such as settings.
    pub fn variables<N: AsRef<OsStr>, V: AsRef<OsStr>>(
        mut self,
        variables: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        self.command.envs(variables);
        self
    }

    /// Returns the command, for callers that start it by themselves.
    pub fn into_command(mut self) -> Command {
        self.command.args(["--listen", &self.listen]);
        self.command
    }

    /// Starts the hub, and waits until it prints its address: it listens and has opened its log.
    #[track_caller]
    pub fn start(self) -> HubProcess {
        HubProcess::start(self.into_command())
    }

    /// Starts the hub, and waits until it logs its address. It may still be opening its log.
    #[track_caller]
    pub fn start_without_log(self) -> HubProcess {
        let mut hub = HubProcess::spawn(self.into_command());
        let lines = hub.read_log_through("listening address=");
        hub.url = format!("http://{}/", lines.trim_end().rsplit('=').next().unwrap());
        hub
    }
}

/// A running hub. Dropping it kills it. The methods of [`ChildProcess`] serve it, too.
#[derive(Debug)]
pub struct HubProcess {
    process: ChildProcess,
    /// URL of the hub, which ends in a slash.
    pub url: String,
    /// Output that was not read yet.
    stdout: BufReader<ChildStdout>,
    /// The hub's log, which it writes to standard error.
    log: Mutex<Receiver<String>>,
}

impl Deref for HubProcess {
    type Target = ChildProcess;

    fn deref(&self) -> &ChildProcess {
        &self.process
    }
}

impl DerefMut for HubProcess {
    fn deref_mut(&mut self) -> &mut ChildProcess {
        &mut self.process
    }
}

impl HubProcess {
    /// Starts a hub by any command, and waits until it prints its address: it listens and has opened its log.
    #[track_caller]
    pub fn start(command: Command) -> Self {
        let mut hub = Self::spawn(command);
        let line = hub.read_output_line();
        let Some(at) = line.find("http://").or(line.find("https://")) else {
            panic!("the hub printed no address: {line:?}; its log: {}", hub.unread_log());
        };
        line[at..].trim().clone_into(&mut hub.url);
        hub
    }

    #[track_caller]
    fn spawn(mut command: Command) -> Self {
        let mut process = ChildProcess::spawn(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
        let stdout = BufReader::new(process.take_stdout());
        let log = Mutex::new(read_lines(process.take_stderr()));
        Self { process, url: String::new(), stdout, log }
    }

    /// Waits until `/readyz` returns 200.
    #[track_caller]
    pub fn wait_until_ready(&self) {
        eventually("the hub is ready", || self.get("/readyz").head.status == 200);
    }

    /// Waits until `/readyz` returns 503 with a detail that contains `reason`.
    #[track_caller]
    pub fn wait_until_unready(&self, reason: &str) {
        eventually(&format!("the hub is not ready because of {reason:?}"), || {
            let response = self.get("/readyz");
            let is_named = |detail: &str| detail.contains(reason);
            response.head.status == 503 && response.json()["detail"].as_str().is_some_and(is_named)
        });
    }
    pub fn authority(&self) -> &str {
        self.url.trim_start_matches("http://").trim_start_matches("https://").trim_end_matches('/')
    }

    fn unread_log(&self) -> String {
        self.log.lock().unwrap().iter().collect()
    }

    /// Waits for the exit; returns the exit status and the unread log.
    pub fn wait_for_exit(mut self) -> (ExitStatus, String) {
        let log = self.unread_log();
        (self.process.wait(), log)
    }

    /// Waits for the exit, asserts its code, and returns the unread log.
    #[track_caller]
    pub fn assert_exit(self, code: i32) -> String {
        let (status, log) = self.wait_for_exit();
        assert_eq!(status.code(), Some(code), "{log}");
        log
    }

    /// Sends SIGTERM, waits until the hub exits with code 0, and returns the unread log.
    #[track_caller]
    pub fn terminate(self) -> String {
        self.signal(Signal::TERM);
        self.assert_exit(0)
    }

    /// Reads one further line of standard output; empty at its end.
    pub fn read_output_line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line
    }

    /// Returns the unread lines of the log through the first that contains `text`.
    #[track_caller]
    pub fn read_log_through(&mut self, text: &str) -> String {
        let lines = read_through(self.log.get_mut().unwrap(), text);
        lines.unwrap_or_else(|lines| panic!("no {text:?} in the log: {lines}"))
    }
    #[track_caller]
    pub fn connect(&self) -> HttpConnection {
        HttpConnection::connect(self.authority())
    }

    /// Returns the bytes of a request, with `Host`, and with `Content-Length` if the method is POST.
    pub fn encode_request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
        let mut request = format!("{method} {path} HTTP/1.1\r\n");
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            request += &format!("Host: {}\r\n", self.authority());
        }
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        if method == "POST" {
            request += &format!("Content-Length: {}\r\n", body.len());
        }
        [request.as_bytes(), b"\r\n", body].concat()
    }

    /// Sends these bytes over a connection of their own, and returns the response.
    #[track_caller]
    pub fn send_raw(&self, request: impl AsRef<[u8]>) -> HttpResponse {
        self.connect().exchange(request)
    }

    /// Sends a request over a connection of its own, and leaves the response to be read.
    #[track_caller]
    pub fn send_request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> HttpConnection {
        let mut connection = self.connect();
        connection.send(self.encode_request(method, path, headers, body));
        connection
    }

    /// Sends a request over a connection of its own, and returns the response.
    #[track_caller]
    pub fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> HttpResponse {
        self.send_request(method, path, headers, body).read_response()
    }
    #[track_caller]
    pub fn get(&self, path: &str) -> HttpResponse {
        self.request("GET", path, &[], b"")
    }
    #[track_caller]
    pub fn post(&self, path: &str, body: impl AsRef<[u8]>) -> HttpResponse {
        self.request("POST", path, &[], body.as_ref())
    }

    /// Publishes an event to a channel and returns its id.
    #[track_caller]
    pub fn publish(&self, channel: &str, data: impl AsRef<[u8]>) -> String {
        let response = self.post(&format!("/api/v1/events/{channel}"), data);
        response.assert_status(200).json()["id"].as_str().expect("a stored event has an id").to_owned()
    }

    /// Publishes a batch of JSON messages and returns the ids; that of a transient event is empty.
    #[track_caller]
    pub fn publish_batch(&self, messages: impl IntoIterator<Item = Value>) -> Vec<String> {
        let lines: String = messages.into_iter().map(|message| format!("{message}\n")).collect();
        let headers = [("Content-Type", "application/x-ndjson")];
        let response = self.request("POST", "/api/v1/publish", &headers, lines.as_bytes());
        let results = response.assert_status(200).json();
        let ids = results.as_array().unwrap().iter().map(|result| result["id"].as_str().unwrap_or_default());
        ids.map(str::to_owned).collect()
    }

    /// Publishes each number of a range to a channel, and returns the ids.
    #[track_caller]
    pub fn publish_numbers(&self, channel: &str, range: Range<usize>) -> Vec<String> {
        self.publish_batch(numbers(range).iter().map(|data| json!({"channels": [channel], "data": data})))
    }

    /// Returns the data of the stored events of a channel; it has 1,000 at most.
    #[track_caller]
    pub fn stored(&self, channel: &str) -> Vec<String> {
        self.get(&format!("/api/v1/channels/{channel}/events?limit=1000")).event_data()
    }

    /// Opens a stream that begins with its position as an id, unless the path has a parameter `position`.
    #[track_caller]
    pub fn subscribe(&self, path: &str) -> SseReader {
        self.subscribe_with(path, &[])
    }

    /// As [`HubProcess::subscribe`], with further headers.
    #[track_caller]
    pub fn subscribe_with(&self, path: &str, headers: &[(&str, &str)]) -> SseReader {
        SseReader::open(self.send_request("GET", &with_position(path), headers, b""))
    }

    /// As [`HubProcess::subscribe`], and reads through the position: later events are delivered.
    #[track_caller]
    pub fn open_stream(&self, path: &str) -> SseReader {
        let mut reader = self.subscribe(path);
        reader.position();
        reader
    }

    /// As [`HubProcess::subscribe`], after an event id.
    #[track_caller]
    pub fn resume(&self, path: &str, last_event_id: &str) -> SseReader {
        self.subscribe_with(path, &[("Last-Event-ID", last_event_id)])
    }

    /// Returns the number of connections that the hub counts for a channel or pattern.
    #[track_caller]
    pub fn connections(&self, channel: &str) -> u64 {
        let list = self.get("/api/v1/channels").assert_status(200).json();
        let row = list["channels"].as_array().unwrap().iter().find(|row| row["channel"] == channel);
        row.map_or(0, |row| row["connections"].as_u64().unwrap())
    }

    /// Returns the value of a metric, with its labels as they are written; 0 if the metric is absent.
    #[track_caller]
    pub fn metric(&self, name: &str) -> f64 {
        self.get("/metrics").assert_status(200).metric(name)
    }

    /// Asserts that the hub is ready, and that it stores and delivers events.
    #[track_caller]
    pub fn assert_healthy(&self) {
        self.get("/readyz").assert_status(200);
        let mut reader = self.subscribe("/api/v1/events/health.check");
        self.publish("health.check", "well");
        assert_eq!(reader.data(), "well");
    }
}
