//! `tidings serve`: the greeting, the address, the signals.

use std::net::{TcpListener, TcpStream};

use rustix::process::Signal;

use super::process::{Directory, Hub};

const FREE_PORT: [&str; 3] = ["--memory", "--listen", "127.0.0.1:0"];

#[test]
fn first_line_holds_the_bound_address_and_no_colour() {
    let directory = Directory::new();
    let mut hub = Hub::start(directory.command(&FREE_PORT));
    let authority =
        hub.url.strip_prefix("http://").and_then(|rest| rest.strip_suffix('/')).unwrap().to_owned();
    TcpStream::connect(authority).unwrap();
    let lines = [hub.line(), hub.line(), hub.line()].concat();
    assert!(lines.contains(&format!("curl -N {}api/v1/events/hello", hub.url)), "{lines}");
    assert!(lines.contains("curl -d"), "{lines}");
    assert!(!lines.contains('\x1b'), "{lines:?}");
}

#[test]
fn hub_ends_with_0_after_terminate_and_after_interrupt() {
    let directory = Directory::new();
    for (signal, command) in [(Signal::TERM, None), (Signal::INT, Some("serve"))] {
        let arguments: Vec<&str> = command.into_iter().chain(FREE_PORT).collect();
        let hub = Hub::start(directory.command(&arguments));
        hub.signal(signal);
        let (status, log) = hub.wait();
        assert_eq!(status.code(), Some(0), "{log}");
    }
}

#[test]
fn hub_says_once_that_it_is_open() {
    let directory = Directory::new();
    let hub = Hub::start(directory.command(&FREE_PORT));
    hub.signal(Signal::TERM);
    let (_, log) = hub.wait();
    assert_eq!(log.matches("open to every local program").count(), 1, "{log}");
}

#[test]
fn hang_up_is_ignored() {
    let directory = Directory::new();
    let mut hub = Hub::start(directory.command(&FREE_PORT));
    hub.signal(Signal::HUP);
    hub.wait_for_log("hang-up signal ignored");
    hub.signal(Signal::TERM);
    assert_eq!(hub.wait().0.code(), Some(0));
}

#[test]
fn address_in_use_is_named_with_a_way_out() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let outcome = Directory::new().run(&["--memory", "--listen", &address], &[]);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(outcome.stderr.contains(&format!("cannot listen on {address}: ")), "{outcome:?}");
    assert!(outcome.stderr.contains("--listen"), "{outcome:?}");
    assert_eq!(outcome.stdout, "");
}

#[test]
fn broken_log_filter_is_refused() {
    let outcome = Directory::new().run(&FREE_PORT, &[("RUST_LOG", "tidings=loud")]);
    assert_eq!(outcome.code, Some(2), "{outcome:?}");
    assert!(outcome.stderr.contains("RUST_LOG: \"tidings=loud\""), "{outcome:?}");
}
