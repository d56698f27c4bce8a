//! The commands as a new user types them: help, addresses, and errors about a hub that cannot be reached.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;

use rustix::process::Signal;

use crate::prelude::*;

fn address_without_listener() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

fn publish_to(directory: &TempDirectory, url: &str) -> ProgramOutput {
    directory.run(&["publish", "a", "text", "--url", url], &[])
}

#[test]
fn help_names_every_placeholder() {
    let directory = TempDirectory::create();
    for flag in ["--help", "-h"] {
        let help = directory.run(&["bench", flag], &[]);
        help.assert(0, &[]);
        assert_eq!(help.stdout.matches("{n}").count(), 3, "{}", help.stdout);
        assert!(help.stdout.is_ascii(), "{}", help.stdout);
        let subscribe = help.stdout.lines().find(|line| line.contains("Another server's streams")).unwrap();
        assert!(subscribe.ends_with("{channel} and {n}, the stream's number, are filled in"), "{subscribe}");
    }
}

#[test]
fn wrong_usage_is_printed_to_standard_error_with_exit_code_2() {
    let directory = TempDirectory::create();
    for arguments in [&["publish"][..], &["serve", "--no-such-flag"], &["no-such-command"], &["token"]] {
        let outcome = directory.run(arguments, &[]);
        outcome.assert(2, &["error: ", "--help"]);
        assert_eq!(outcome.stdout, "", "{arguments:?}");
    }
    let version = directory.run(&["--version"], &[]);
    assert_eq!((version.code, version.stderr.as_str()), (Some(0), ""));
}

#[test]
fn invalid_value_is_printed_with_the_valid_ones() {
    let directory = TempDirectory::create();
    for ttl in ["5s", "0", "-1"] {
        let outcome = directory.run(&["publish", "a", "x", &format!("--ttl={ttl}")], &[]);
        outcome.assert(2, &[&format!("ttl \"{ttl}\" is not a whole number of milliseconds from 1 to")]);
    }
    let hub = TestHub::in_memory_in(&directory, &[]);
    let arguments = ["subscribe", "a", "--last-event-id", "xx", "--count", "1", "--url", &hub.url];
    let reader = std::thread::scope(|scope| {
        let reader = scope.spawn(|| directory.run(&arguments, &[]));
        eventually("the program is subscribed", || hub.connections("a") == 1);
        hub.publish("a", "new");
        reader.join().unwrap()
    });
    reader.assert(0, &["gap (malformed): the id cannot be read, so events may be missing"]);
    assert_eq!(reader.stdout, "new\n");
}

#[test]
fn doctor_without_a_url_examines_the_hub_of_this_machine() {
    let directory = TempDirectory::create();
    let help = directory.run(&["doctor", "--help"], &[]);
    assert!(help.stdout.contains("[default: http://127.0.0.1:8000]"), "{}", help.stdout);
    // A hub may or may not run there.
    let report = directory.run(&["doctor", "--wait", "0", "--json"], &[]);
    assert!(report.stdout.contains("\"url\":\"http://127.0.0.1:8000\""), "{report:?}");
    let hub = TestHub::in_memory_in(&directory, &[]);
    directory.run(&["doctor", "--wait", "0"], &[("TIDINGS_URL", &hub.url)]).assert(0, &[]);
}

#[test]
fn port_alone_means_this_machine() {
    let directory = TempDirectory::create();
    for address in ["0", ":0", "localhost:0"] {
        let hub = TestHub::start(directory.command(&["--memory", "--listen", address]));
        assert!(hub.url.starts_with("http://127.0.0.1:"), "{address}: {}", hub.url);
        hub.assert_healthy();
        hub.terminate();
    }
    for (address, advice) in [
        ("70000", "a port is at most 65535"),
        (":70000", "a port is at most 65535"),
        ("localhost", "it has no port, write localhost:8000"),
        ("0.0.0.0", "it has no port, write 0.0.0.0:8000"),
        ("*:9000", "every address is written 0.0.0.0 or [::]"),
        ("http://127.0.0.1:9000", "write it without the scheme"),
        ("example.com:9000", "write the address itself"),
    ] {
        directory.run(&["--listen", address], &[]).assert(2, &[advice]);
    }
}

#[test]
fn error_names_the_url_and_a_remedy() {
    let directory = TempDirectory::create();
    let url = format!("http://{}", address_without_listener());
    let advice = "start a hub there, or name another with --url or TIDINGS_URL";
    publish_to(&directory, &url).assert(1, &[&format!("no connection to {url}: "), advice]);
    let bench = directory.run(&["bench", "--connections", "1", "--url", &url], &[]);
    bench.assert(1, &[&format!("streams of {url} opened"), "see that a server listens there"]);
    let doctor = directory.run(&["doctor", "--wait", "0", &url], &[]);
    assert!(doctor.stdout.contains(&format!("no connection to {url}: ")), "{doctor:?}");

    let hub = protected_in(&directory, "secret = \"0123456789abcdef0123456789abcdef\"");
    let base = hub.url.trim_end_matches('/');
    publish_to(&directory, &hub.url).assert(1, &[&format!("{base} answered 401 credentials_missing: ")]);
    let elsewhere = format!("{base}/no-such-prefix");
    publish_to(&directory, &elsewhere).assert(1, &[&format!("{elsewhere} answered 404 not_found: ")]);
}

#[test]
fn wrong_scheme_for_the_port_is_named() {
    let directory = TempDirectory::create();
    let plain = TestHub::in_memory_in(&directory, &[]);
    let address = plain.authority();
    let error = format!("no connection to https://{address}: ");
    let advice = format!("that port speaks no TLS; write http://{address}");
    publish_to(&directory, &format!("https://{address}")).assert(1, &[&error, &advice]);
    let doctor = directory.run(&["doctor", "--wait", "0", &format!("https://{address}/")], &[]);
    assert!(doctor.stdout.contains(&advice), "{doctor:?}");

    let file = |name: &str| format!("{}/tests/tls/{name}.pem", env!("CARGO_MANIFEST_DIR"));
    let (cert, key) = (file("first.cert"), file("first.key"));
    let mut command = directory.command(&["--memory", "--listen", "127.0.0.1:0"]);
    command.envs([("TIDINGS_SERVER_TLS_CERT_FILE", cert), ("TIDINGS_SERVER_TLS_KEY_FILE", key)]);
    let secure = TestHub::start(command);
    let address = secure.authority();
    let error = format!("http://{address} answered 400 bad_request: this port speaks https");
    publish_to(&directory, &format!("http://{address}")).assert(1, &[&error]);
}

#[test]
fn banner_is_printed_before_the_warning_of_an_open_hub() {
    let directory = TempDirectory::create();
    let (both, output) = std::io::pipe().unwrap();
    let mut command = directory.command(&["--memory", "--listen", "127.0.0.1:0"]);
    let mut child = ChildProcess::spawn(command.stdout(output.try_clone().unwrap()).stderr(output));
    // Keeps the other end of the pipe open.
    drop(command);
    let mut lines = BufReader::new(both).lines().map(Result::unwrap);
    let banner = "listens on http://127.0.0.1:";
    let before: Vec<String> = lines.by_ref().take_while(|line| !line.contains(banner)).collect();
    assert!(!before.iter().any(|line| line.contains("open to every local program")), "{before:?}");
    lines.find(|line| line.contains("open to every local program")).unwrap();
    child.signal(Signal::TERM);
    assert!(child.wait().success());
}
