//! Connections that wait in a listener's queue when the hub ends.

use std::{io::Read, net, sync::mpsc};

use super::*;
use crate::{hub::ThreadRegistry, metrics::tests::metrics};

fn supervisor() -> Supervisor {
    Supervisor::new(ThreadRegistry::new(metrics()))
}

#[test]
fn connections_in_the_queue_are_taken_before_the_listener_closes() {
    const CONNECTIONS: usize = 20;
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [busy, queued] = listeners.each_ref().map(|listener| listener.local_addr().unwrap());
    let (taken, takes) = mpsc::sync_channel(CONNECTIONS);
    let (go_on, may_go_on) = mpsc::sync_channel::<()>(0);
    // The thread stops at the first connection, so that the queue of the other listener fills.
    let acceptor = Acceptor::start(&supervisor(), listeners.into(), move |socket, _| {
        taken.send(socket).unwrap();
        let _ = may_go_on.recv();
    });
    let _busy = net::TcpStream::connect(busy).unwrap();
    let _taken = takes.recv().unwrap();
    let mut connections = [(); CONNECTIONS].map(|()| net::TcpStream::connect(queued).unwrap());
    let Acceptor { waker, thread } = acceptor.unwrap();
    waker.wake().unwrap();
    drop(go_on);
    thread.join().unwrap();
    let sockets: Vec<_> = takes.iter().collect();
    assert_eq!(sockets.len(), CONNECTIONS);
    // Each client sees the end of its connection, and no reset.
    drop(sockets);
    for socket in &mut connections {
        assert_eq!(socket.read(&mut [0]).unwrap(), 0);
    }
    assert!(net::TcpStream::connect(queued).is_err());
}
