//! Faults of the machine: full disks, failing disks, damaged files, exhausted file descriptors, kills.

use std::io::{Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::prelude::*;

const CHANNEL: &str = "/api/v1/events/a";

/// Data of all stored events, page by page.
fn stored(hub: &TestHub) -> Vec<String> {
    let mut all = Vec::new();
    let mut after = String::new();
    loop {
        let response = hub.get(&format!("/api/v1/channels/a/events?limit=1000&after={after}"));
        let page = response.assert_status(200).json();
        assert_eq!(page.get("gap"), None, "{page}");
        all.extend(response.event_data());
        let Some(next) = page["next"].as_str() else { return all };
        next.clone_into(&mut after);
    }
}

/// A small file system `disk` in a directory. It survives the hubs that use it.
struct SmallDisk {
    directory: TempDirectory,
    /// Process that keeps the mount namespace until its input ends.
    holder: std::process::Child,
}

impl SmallDisk {
    /// `None` if this kernel or user may not mount one.
    fn new(size: &str) -> Option<Self> {
        let directory = TempDirectory::create();
        std::fs::create_dir(directory.path().join("disk")).unwrap();
        if !can_unshare(&["-m", "true"]) {
            println!(
                "skipped: this kernel or user may not make a mount namespace, so no disk can be made full"
            );
            return None;
        }
        let script = format!("mount -t tmpfs -o size={size} tmpfs disk && echo mounted && cat");
        let mut holder = Command::new("unshare")
            .args(["-m", "sh", "-c", &script])
            .current_dir(directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mounted = read_lines(holder.stdout.take().unwrap()).recv().unwrap();
        assert_eq!(mounted.trim(), "mounted");
        Some(Self { directory, holder })
    }

    fn serve(&self, variables: &[(&str, &str)]) -> TestHub {
        let program = self.directory.command(&[]);
        let mut command = Command::new("nsenter");
        command.args(["-m", "-t", &self.holder.id().to_string(), "--"]);
        let script = format!(
            "cd {} && exec \"$0\" serve --listen 127.0.0.1:0 --data-dir disk/data",
            self.directory.path().display()
        );
        command.args(["sh", "-c", &script]).arg(program.get_program());
        command.env_clear().env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin").envs(variables.iter().copied());
        command.stdin(Stdio::null());
        TestHub::start(command)
    }

    fn path(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        root.join(self.directory.path().join("disk").strip_prefix("/").unwrap())
    }

    /// Fills the remaining space.
    fn fill(&self, name: &str) {
        let mut file = std::fs::File::create(self.path().join(name)).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
    }

    fn free(&self, name: &str) {
        std::fs::remove_file(self.path().join(name)).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ended = self.holder.kill();
        let _status = self.holder.wait();
    }
}

/// Publishes large events until one is refused; returns the number of stored ones.
fn publish_until_full(hub: &TestHub) -> usize {
    let large = "x".repeat(200 << 10);
    for stored in 0.. {
        let answer = hub.post(CHANNEL, &large);
        if answer.head.status != 200 {
            answer.assert_problem(503, "not_stored");
            assert!(answer.head.header("retry-after").is_some());
            return stored;
        }
    }
    unreachable!("the disk has an end")
}

#[test]
fn full_disk_refuses_publishes_and_recovers_without_a_restart() {
    let Some(disk) = SmallDisk::new("24m") else { return };
    let hub = disk.serve(&[]);
    let mut reader = hub.subscribe(CHANNEL);
    hub.publish("a", "before");
    assert_eq!(reader.data(), "before");
    hub.get("/readyz").assert_status(200);

    disk.fill("filler");
    let kept = 1 + publish_until_full(&hub);
    hub.get("/healthz").assert_status(200);
    assert_eq!(hub.get("/readyz").head.status, 503);
    assert_eq!(stored(&hub).len(), kept, "history has exactly the stored events");
    hub.post(&format!("{CHANNEL}?store=false"), "past the log");

    disk.free("filler");
    eventually("publishes are accepted again", || hub.post(CHANNEL, "after").head.status == 200);
    hub.wait_until_ready();
    while reader.data() != "after" {}
    assert_eq!(stored(&hub).len(), kept + 1);
}

#[test]
fn full_disk_recovers_by_itself_when_events_expire() {
    let Some(disk) = SmallDisk::new("60m") else { return };
    let hub = disk.serve(&[("TIDINGS_LOG_RETENTION_AGE", "2s")]);
    for round in 0..2 {
        publish_until_full(&hub);
        // The last free pages are used, too: there is no space to write a checkpoint.
        disk.fill(&format!("filler{round}"));
        eventually(&format!("publishes are accepted again in round {round}"), || {
            hub.post(CHANNEL, "x".repeat(200 << 10)).head.status == 200
        });
        hub.wait_until_ready();
    }
    hub.terminate();
}

#[test]
fn hub_is_ready_only_while_its_largest_event_fits() {
    let Some(disk) = SmallDisk::new("24m") else { return };
    let hub = disk.serve(&[("TIDINGS_LIMITS_EVENT_BYTES", "4MiB")]);
    hub.wait_until_ready();
    // Two mebibytes stay free: space for small events only.
    disk.fill("filler");
    let filler = std::fs::OpenOptions::new().write(true).open(disk.path().join("filler")).unwrap();
    filler.set_len(filler.metadata().unwrap().len() - (2 << 20)).unwrap();
    drop(filler);
    eventually("the hub is not ready", || hub.get("/readyz").head.status == 503);
    hub.get("/readyz").assert_problem(503, "unavailable");
    for _ in 0..3 {
        hub.publish("a", "small");
        assert_eq!(hub.get("/readyz").head.status, 503, "the hub is not ready because a small event fits");
    }
    disk.free("filler");
    hub.wait_until_ready();
    hub.terminate();
}

#[test]
fn hub_starts_on_a_full_disk_for_reads_and_recovers() {
    let Some(disk) = SmallDisk::new("24m") else { return };
    let hub = disk.serve(&[]);
    let ids = hub.publish_numbers("a", 1..4);
    let revocation = json!({"user": "u", "until": "2100-01-01T00:00:00Z"}).to_string();
    hub.post("/api/v1/revocations", &revocation).assert_status(204);
    disk.fill("filler");
    hub.kill();
    // The first start has the reserve; the others have no space.
    for round in 0..2 {
        let mut hub = disk.serve(&[]);
        if round == 1 {
            hub.read_log_through("read-only until there is room");
        }
        hub.post(CHANNEL, "x".repeat(200 << 10)).assert_problem(503, "not_stored");
        hub.get("/readyz").assert_problem(503, "unavailable");
        hub.get("/healthz").assert_status(200);
        assert_eq!(stored(&hub), ["1", "2", "3"]);
        let mut reader = hub.resume(CHANNEL, &ids[0]);
        assert_eq!(reader.data_of_next(2), ["2", "3"]);
        hub.kill();
        if round == 0 {
            disk.free("data/reserve");
            disk.fill("last room");
        }
    }
    let hub = disk.serve(&[]);
    let mut open = hub.resume(CHANNEL, &ids[1]);
    assert_eq!(open.data(), "3");
    disk.free("filler");
    eventually("publishes are accepted again", || hub.post(CHANNEL, "4").head.status == 200);
    hub.wait_until_ready();
    assert_eq!(open.data(), "4");
    hub.terminate();

    let hub = disk.serve(&[]);
    let mut reader = hub.resume(CHANNEL, &ids[0]);
    assert_eq!(reader.data_of_next(3), ["2", "3", "4"], "no event was lost, and there is no gap");
    hub.terminate();
}

#[test]
fn revocation_on_a_full_disk_is_kept() {
    let Some(disk) = SmallDisk::new("24m") else { return };
    for durability in ["interval", "memory"] {
        let hub = disk.serve(&[("TIDINGS_LOG_DURABILITY", durability)]);
        eventually("the reserve exists", || disk.path().join("data/reserve").exists());
        disk.fill("filler");
        for n in 0..100 {
            let user = format!("{durability}{n}{}", "x".repeat(200));
            let revocation = json!({"user": user, "until": "2100-01-01T00:00:00Z"}).to_string();
            hub.post("/api/v1/revocations", &revocation).assert_status(204);
        }
        hub.kill();
        let kept = std::fs::read_to_string(disk.path().join("data/revocations.log")).unwrap();
        assert_eq!(kept.lines().filter(|line| line.contains(durability)).count(), 100);
        disk.free("filler");
    }
}

/// Makes the next sync of the hub's data fail, by `strace`.
struct FailingSync(std::process::Child);

impl FailingSync {
    fn of(hub: &TestHub) -> Self {
        let mut child = Command::new("strace")
            .args(["-f", "-e", "trace=fdatasync,fsync", "-e", "inject=fdatasync,fsync:error=EIO"])
            .args(["-p", &hub.id().to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = read_lines(child.stderr.take().unwrap());
        let is_attached = lines.iter().any(|line| line.contains("attached"));
        assert!(is_attached, "the hub can be traced");
        // The rest of its output is read and dropped: a full pipe would block it.
        std::thread::spawn(move || lines.iter().for_each(drop));
        Self(child)
    }
}

impl Drop for FailingSync {
    fn drop(&mut self) {
        // The signal makes strace detach from the hub.
        let _ended = kill_process(Pid::from_child(&self.0), Signal::INT);
        let _status = self.0.wait();
    }
}

#[test]
fn failing_sync_makes_the_log_read_only_until_a_restart() {
    let directory = TempDirectory::create();
    let variables = [("TIDINGS_LOG_DURABILITY", "fsync")];
    let hub = TestHub::serve_in(&directory, &variables);
    let mut reader = hub.subscribe(CHANNEL);
    let id = hub.publish("a", "kept");
    assert_eq!(reader.data(), "kept");
    {
        let _failing = FailingSync::of(&hub);
        hub.post(CHANNEL, "unknown").assert_problem(503, "outcome_unknown");
        hub.post(CHANNEL, "never").assert_problem(503, "not_stored");
    }
    // The disk works again, but the hub does not know which earlier writes it lost.
    hub.post(CHANNEL, "never").assert_problem(503, "not_stored");
    assert_eq!(hub.get("/readyz").head.status, 503);
    hub.get("/healthz").assert_status(200);
    assert_eq!(stored(&hub)[0], "kept");
    hub.post(&format!("{CHANNEL}?store=false"), "live").assert_status(200);
    assert_eq!(reader.data(), "live", "streams continue, and unacknowledged events were not delivered");
    hub.resume(CHANNEL, &id).position();
    hub.kill();

    let hub = TestHub::serve_in(&directory, &variables);
    hub.get("/readyz").assert_status(200);
    hub.publish("a", "again");
    let seen = hub.resume(CHANNEL, &id).data_through("again");
    assert!(!seen.contains(&"never".to_owned()), "{seen:?}");
}

/// The files that hold events, oldest first.
fn segments(directory: &TempDirectory) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory.path().join("data/segments")).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "log"));
    files.retain(|file| std::fs::metadata(file).unwrap().len() > 0);
    files.sort();
    assert!(!files.is_empty());
    files
}

/// Restarts the hub on a damaged directory, and asserts that every client gets all missed events, or a gap.
#[track_caller]
fn assert_no_silent_loss(directory: &TempDirectory, ids: &[String], damage: &str) {
    let hub = TestHub::serve_in(directory, &[]);
    for (seen, id) in ids.iter().enumerate() {
        let mut reader = hub.resume(CHANNEL, id);
        hub.publish("a", format!("end{seen}"));
        let mut got = Vec::new();
        let mut has_gap = false;
        loop {
            let event = reader.event();
            has_gap |= event.name == "tidings.gap";
            if event.data == format!("end{seen}") {
                break;
            }
            if event.name == "message" && !event.data.starts_with("end") {
                got.push(event.data);
            }
        }
        assert!(
            has_gap || got == numbers(seen + 1..ids.len()),
            "{damage}: after {seen} came {got:?}, and no gap"
        );
    }
    hub.terminate();
}

#[test]
fn damaged_records_always_give_a_gap() {
    for damage in
        ["torn tail", "torn record", "flipped byte at the start", "flipped byte in the middle", "zeroes"]
    {
        let directory = TempDirectory::create();
        let hub = TestHub::serve_in(&directory, &[]);
        let ids = hub.publish_numbers("a", 0..20);
        hub.terminate();
        let files = segments(&directory);
        let path = files.last().unwrap();
        let bytes = std::fs::read(path).unwrap();
        let mut file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
        let mut put = |at: usize, bytes: &[u8]| {
            file.seek(SeekFrom::Start(at as u64)).unwrap();
            file.write_all(bytes).unwrap();
        };
        match damage {
            "torn tail" => file.set_len(bytes.len() as u64 - 3).unwrap(),
            "torn record" => file.set_len(bytes.len() as u64 / 2).unwrap(),
            "flipped byte at the start" => put(bytes.len() / 10, &[bytes[bytes.len() / 10] ^ 1]),
            "flipped byte in the middle" => put(bytes.len() / 2, &[bytes[bytes.len() / 2] ^ 0x80]),
            _ => put(bytes.len() * 3 / 4, &[0; 32]),
        }
        assert_no_silent_loss(&directory, &ids, damage);
    }
}

/// Processor time of the process, in ticks.
fn ticks(hub: &TestHub) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", hub.id())).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn exhausted_file_descriptors_delay_new_connections_only() {
    let directory = TempDirectory::create();
    let program = directory.command(&["serve", "--listen", "127.0.0.1:0", "--data-dir", "data"]);
    let mut command = Command::new("prlimit");
    command.args(["--nofile=64:64"]).arg(program.get_program()).args(program.get_args());
    command.current_dir(directory.path()).env_clear().stdin(Stdio::null());
    let mut hub = TestHub::start(command);
    let mut reader = hub.open_stream(CHANNEL);
    let mut publisher = hub.connect();
    let mut publish = |hub: &TestHub, data: &str| {
        publisher.exchange(hub.encode_request("POST", CHANNEL, &[], data.as_bytes())).assert_status(200);
    };
    publish(&hub, "before");
    assert_eq!(reader.data(), "before");
    // The kernel completes these connections; the hub cannot accept them all.
    let waiting: Vec<HttpConnection> = (0..80).map(|_| hub.connect()).collect();
    hub.read_log_through("could not be accepted");
    let (begun, before) = (Instant::now(), ticks(&hub));
    std::thread::sleep(Duration::from_secs(1));
    let used = ticks(&hub) - before;
    assert!(used < 30, "{used} hundredths of a second of CPU were used in {:?}", begun.elapsed());
    publish(&hub, "meanwhile");
    assert_eq!(reader.data(), "meanwhile");
    drop(waiting);
    hub.assert_healthy();
    publish(&hub, "after");
    assert_eq!(reader.data(), "after");
}

/// Publishes numbered events until the hub has exited; returns the acknowledged ones.
fn publish_until_exit(hub: &TestHub, name: &str) -> Vec<String> {
    let mut connection = hub.connect();
    let mut acknowledged = Vec::new();
    loop {
        let data = format!("{name}-{}", acknowledged.len());
        let request = hub.encode_request("POST", CHANNEL, &[], data.as_bytes());
        if connection.socket.write_all(&request).is_err() {
            return acknowledged;
        }
        match connection.read_some() {
            Some(answer) if answer.starts_with(b"HTTP/1.1 200") && answer.ends_with(b"}") => {
                acknowledged.push(data);
            }
            _ => return acknowledged,
        }
    }
}

#[test]
fn acknowledged_events_survive_a_kill_once_each() {
    const PUBLISHERS: usize = 4;
    let directory = TempDirectory::create();
    for round in 0..2 {
        let hub = TestHub::serve_in(&directory, &[]);
        let acknowledged: Vec<String> = std::thread::scope(|scope| {
            let hub = &hub;
            let publish = |publisher| move || publish_until_exit(hub, &format!("{round}-{publisher}"));
            let threads: Vec<_> = (0..PUBLISHERS).map(|number| scope.spawn(publish(number))).collect();
            eventually("some events are stored", || hub.metric("tidings_events_stored_total") > 300.0);
            hub.signal(Signal::KILL);
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        drop(hub);
        assert!(acknowledged.len() > 200);
        let hub = TestHub::serve_in(&directory, &[]);
        let kept = stored(&hub);
        for data in &acknowledged {
            assert_eq!(kept.iter().filter(|it| *it == data).count(), 1, "{data}");
        }
        let not_acknowledged = kept.iter().filter(|it| it.starts_with(&format!("{round}-"))).count();
        assert!(
            not_acknowledged <= acknowledged.len() + PUBLISHERS,
            "at most one publish of each publisher was in flight"
        );
        hub.terminate();
    }
}
