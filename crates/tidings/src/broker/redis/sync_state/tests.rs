use tidings_protocol::{Epoch, Tag};

use super::{LastSeen, SyncState};

fn at(epoch: u64, offset: u64) -> LastSeen {
    LastSeen { epoch: Epoch(epoch), offset, tag: Tag(7) }
}

#[test]
fn entry_acknowledged_during_a_reconciliation_stays_seen() {
    let sync_state = SyncState::new();
    sync_state.note_reconciled(at(1, 5), true);
    sync_state.observe(at(1, 9));
    sync_state.note_reconciled(at(1, 6), true);
    assert_eq!(sync_state.seen(), at(1, 9));
}

#[test]
fn entry_of_an_epoch_that_is_not_adopted_yet_is_seen_in_its_own() {
    let sync_state = SyncState::new();
    sync_state.note_reconciled(at(1, 5), true);
    sync_state.observe(at(2, 6));
    assert_eq!(sync_state.seen(), at(2, 6));
    assert_eq!(sync_state.last_seen(), at(1, 6));
}

#[test]
fn report_of_a_loss_forgets_nothing_that_was_acknowledged_since() {
    let sync_state = SyncState::new();
    sync_state.observe(at(1, 5));
    sync_state.observe(at(1, 6));
    sync_state.forget(at(1, 5));
    assert_eq!(sync_state.seen(), at(1, 6));
    sync_state.forget(at(1, 6));
    assert_eq!(sync_state.seen().offset, 0);
}
