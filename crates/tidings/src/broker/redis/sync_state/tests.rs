use tidings_protocol::{Epoch, Tag};

use super::{Sight, Witness};

fn at(epoch: u64, offset: u64) -> Witness {
    Witness { epoch: Epoch(epoch), offset, tag: Tag(7) }
}

#[test]
fn what_is_acknowledged_while_the_log_is_looked_over_stays_seen() {
    let sight = Sight::new();
    sight.looked(at(1, 5), true);
    sight.has_seen(at(1, 9));
    sight.looked(at(1, 6), true);
    assert_eq!(sight.seen(), at(1, 9));
}

#[test]
fn entry_of_an_epoch_that_is_not_adopted_yet_is_seen_in_its_own() {
    let sight = Sight::new();
    sight.looked(at(1, 5), true);
    sight.has_seen(at(2, 6));
    assert_eq!(sight.seen(), at(2, 6));
    assert_eq!(sight.witness(), at(1, 6));
}

#[test]
fn report_of_a_loss_forgets_nothing_that_was_acknowledged_since() {
    let sight = Sight::new();
    sight.has_seen(at(1, 5));
    sight.has_seen(at(1, 6));
    sight.forget(at(1, 5));
    assert_eq!(sight.seen(), at(1, 6));
    sight.forget(at(1, 6));
    assert_eq!(sight.seen().offset, 0);
}
