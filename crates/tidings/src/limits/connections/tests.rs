//! Bounds on streams: one's own, and those of all.

use super::*;

fn limits(user: u64, address: Option<u64>) -> Arc<ConnectionLimits> {
    let limits = LimitSettings {
        connections: 3,
        connections_per_user: user,
        connections_per_address: address,
        ..LimitSettings::default()
    };
    ConnectionLimits::new(&limits)
}

fn claimant(user: Option<&str>, address: &str) -> PermitHolder {
    PermitHolder { user: user.map(Into::into), address: Some(ClientAddress::of(address.parse().unwrap())) }
}

#[test]
fn user_has_so_many_streams_and_others_theirs() {
    let connections = limits(1, None);
    let first = connections.acquire(claimant(Some("u"), "1.1.1.1")).unwrap();
    let error = connections.acquire(claimant(Some("u"), "2.2.2.2")).unwrap_err();
    assert_eq!((error.code(), error.limit_name()), (Code::UserConnectionsFull, Some("connections_per_user")));
    let _other = connections.acquire(claimant(Some("v"), "1.1.1.1")).unwrap();
    let _nobody = connections.acquire(claimant(None, "1.1.1.1")).unwrap();
    drop(first);
    let _again = connections.acquire(claimant(Some("u"), "1.1.1.1")).unwrap();
}

#[test]
fn address_has_so_many_streams_whoever_asks() {
    let connections = limits(100, Some(1));
    let first = connections.acquire(claimant(Some("u"), "2001:db8:1:2::1")).unwrap();
    let error = connections.acquire(claimant(Some("v"), "2001:db8:1:2:ffff::9")).unwrap_err();
    assert_eq!(error.limit_name(), Some("connections_per_address"));
    let _neighbour = connections.acquire(claimant(Some("v"), "2001:db8:1:3::1")).unwrap();
    drop(first);
    connections.acquire(claimant(Some("v"), "2001:db8:1:2:ffff::9")).unwrap();
}

#[test]
fn refused_streams_take_nothing_of_any_bound() {
    let connections = limits(1, Some(1));
    let _first = connections.acquire(claimant(Some("u"), "1.1.1.1")).unwrap();
    for _ in 0..10 {
        connections.acquire(claimant(Some("u"), "2.2.2.2")).unwrap_err();
        connections.acquire(claimant(Some("v"), "1.1.1.1")).unwrap_err();
    }
    let second = connections.acquire(claimant(Some("v"), "2.2.2.2")).unwrap();
    let _third = connections.acquire(claimant(Some("w"), "3.3.3.3")).unwrap();
    assert_eq!(connections.acquire(claimant(None, "4.4.4.4")).unwrap_err().code(), Code::ConnectionsFull);
    drop(second);
    drop(connections.acquire(claimant(None, "4.4.4.4")).unwrap());
    assert_eq!(connections.by_user.counts().len(), 2);
    assert_eq!(connections.by_address.counts().len(), 2);
}
