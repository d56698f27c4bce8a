//! Reads the port, memory and CPU time of the test process.

use std::net::TcpListener;
use std::process::Command;

use super::{ProcessTree, listeners, listening, machine_cpu, own_cpu};

#[test]
fn listener_is_found_by_its_port() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let found: Vec<u32> = listeners(port).iter().map(|process| process.0).collect();
    assert!(found.contains(&std::process::id()), "{found:?}");
}

#[test]
fn only_sockets_that_listen_on_the_port_count() {
    let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
                    0: 0100007F:1F40 00000000:0000 0A 00000000:00000000 00:00000000 00000000  0 0 111 1 x 100\n\
                    1: 0100007F:1F40 0100007F:9C40 01 00000000:00000000 00:00000000 00000000  0 0 112 1 x 100\n\
                    2: 00000000:1F41 00000000:0000 0A 00000000:00000000 00:00000000 00000000  0 0 113 1 x 100\n";
    assert_eq!(listening(table, 8000), [111]);
}

#[test]
fn memory_and_time_of_a_process_are_read() {
    let this = ProcessTree(std::process::id());
    assert!(this.memory_kib().unwrap() > 100);
    assert!(this.cpu().unwrap() >= own_cpu().unwrap() / 2);
    assert_eq!(ProcessTree(u32::MAX).cpu(), None);
    assert_eq!(ProcessTree(u32::MAX).memory_kib(), None);
}

#[test]
fn machine_has_cores_and_has_worked_no_less_than_this_process() {
    let (cpu, cores) = machine_cpu().unwrap();
    assert!(cores > 0 && cpu >= own_cpu().unwrap(), "{cpu:?} {cores}");
}

#[test]
fn process_counts_with_those_that_it_started() {
    let mut child = Command::new("sleep").arg("60").spawn().unwrap();
    let children = ProcessTree(std::process::id()).children();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(children.iter().any(|process| process.0 == child.id()), "{children:?}");
}
