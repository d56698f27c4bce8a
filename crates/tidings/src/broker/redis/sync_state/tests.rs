use tidings_protocol::{Epoch, Tag};

use super::{LastSeen, SyncState};

fn at(epoch: u64, offset: u64) -> LastSeen {
    LastSeen { epoch: Epoch(epoch), offset, tag: Tag(7) }
}

#[test]
fn what_is_acknowledged_while_the_log_is_looked_over_stays_seen() {
    let sight = SyncState::new();
    sight.note_reconciled(at(1, 5), true);
    sight.observe(at(1, 9));
    sight.note_reconciled(at(1, 6), true);
    assert_eq!(sight.seen(), at(1, 9));
}

#[test]
fn entry_of_an_epoch_that_is_not_adopted_yet_is_seen_in_its_own() {
    let sight = SyncState::new();
    sight.note_reconciled(at(1, 5), true);
    sight.observe(at(2, 6));
    assert_eq!(sight.seen(), at(2, 6));
    assert_eq!(sight.last_seen(), at(1, 6));
}

#[test]
fn report_of_a_loss_forgets_nothing_that_was_acknowledged_since() {
    let sight = SyncState::new();
    sight.observe(at(1, 5));
    sight.observe(at(1, 6));
    sight.forget(at(1, 5));
    assert_eq!(sight.seen(), at(1, 6));
    sight.forget(at(1, 6));
    assert_eq!(sight.seen().offset, 0);
}
