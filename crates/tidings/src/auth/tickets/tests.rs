//! Tickets are redeemed once, within a minute, and one user cannot take all of them.

use super::*;
use crate::auth::{identity::AuthMethod, identity::Principal, permissions::Permissions};

fn user(name: &str) -> Arc<Identity> {
    let (principal, method) = (Principal::User(name.into()), AuthMethod::Anonymous);
    Arc::new(Identity { principal, permissions: Permissions::NOTHING, method, generation: 0 })
}

fn channels() -> Vec<Subscription> {
    vec![Subscription::parse("a").unwrap()]
}

#[test]
fn ticket_is_valid_once_and_for_a_minute() {
    let tickets = Tickets::default();
    let first = tickets.issue(&user("u"), channels(), 1_000).unwrap();
    assert_eq!(first.expires_at, 61_000);
    assert!(first.text.reveal().starts_with("ti_"));
    let (issuer, subscriptions) = tickets.redeem(first.text.reveal(), 60_999).unwrap();
    assert_eq!((issuer.principal.clone(), subscriptions), (Principal::User("u".into()), channels()));
    assert!(tickets.redeem(first.text.reveal(), 60_999).is_none());
    let second = tickets.issue(&user("u"), channels(), 1_000).unwrap();
    assert!(tickets.redeem(second.text.reveal(), 61_000).is_none());
    assert!(tickets.redeem("ti_nonsense", 0).is_none());
}

#[test]
fn one_user_gets_a_hundred_tickets_a_minute_and_others_still_get_theirs() {
    let tickets = Tickets::default();
    for _ in 0..TICKETS_PER_USER_MAX {
        let ticket = tickets.issue(&user("u"), channels(), 0).unwrap();
        // A redeemed ticket still counts.
        assert!(tickets.redeem(ticket.text.reveal(), 1).is_some());
    }
    let error = tickets.issue(&user("u"), channels(), 59_999).unwrap_err();
    assert_eq!((error.code(), error.limit_name()), (Code::TooMany, Some("tickets")));
    tickets.issue(&user("v"), channels(), 59_999).unwrap();
    tickets.issue(&user("u"), channels(), 60_000).unwrap();
    let table = tickets.table();
    assert_eq!((table.issued.len(), table.by_user.len(), table.stored.len()), (2, 2, 2));
}
