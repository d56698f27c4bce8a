//! Streams parse the same however their bytes are split, and with every line end.

use proptest::prelude::*;

use super::{ScannedItem, SseScanner};
use crate::stamp::{Stamp, StampCodec};

const RUN: u32 = 7;

fn stamp(number: u32) -> Stamp {
    Stamp { channel: 3, producer: 1, number, micros: 5 }
}

fn data(number: u32, bytes: usize) -> String {
    let mut text = Vec::new();
    StampCodec::new(RUN).write(stamp(number), bytes, &mut text);
    String::from_utf8(text).unwrap()
}

fn stream() -> String {
    format!(
        "retry: 3000\n: hi\nid: a-0\n\ndata: {}\nid: a-1\n\nevent: x\ndata:{}\n\nevent: tidings.gap\ndata: {{}}\nid: a-3\n\n\
         data\n\n: c\n\nid: not yet\ndata: {}\nid\n\nid: a-5\ndata: {}\n\nevent: tidings.end\ndata: {{}}\n\nid: never\n",
        data(1, 64),
        data(2, 3_000),
        data(4, 64),
        data(5, 100),
    )
}

fn scan(pieces: &[&[u8]]) -> (Vec<ScannedItem>, String) {
    let (mut scanner, codec, mut items) = (SseScanner::default(), StampCodec::new(RUN), Vec::new());
    for piece in pieces {
        scanner.feed(piece, &codec, &mut |item| items.push(item));
    }
    (items, String::from_utf8(scanner.last_id().to_vec()).unwrap())
}

proptest! {
    #[test]
    fn items_are_the_same_wherever_the_bytes_are_cut(
        cuts in prop::collection::vec(0usize..4_000, 0..12),
        line_end in prop::sample::select(vec!["\n", "\r\n", "\r"]),
    ) {
        let all = stream().replace('\n', line_end).into_bytes();
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(all.len())).collect();
        cuts.extend([0, all.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|two| &all[two[0]..two[1]]).collect();
        let event = |number| ScannedItem::Event(stamp(number));
        let expected = vec![event(1), event(2), ScannedItem::Gap, ScannedItem::Foreign, event(4), event(5), ScannedItem::End];
        prop_assert_eq!(scan(&pieces), (expected, "a-5".to_owned()));
    }
}

#[test]
fn id_of_a_block_without_its_end_is_not_resumed_after() {
    let (items, id) = scan(&[b"id: 1\ndata: x\n\n", b"id: 2\ndata: y\n"]);
    assert_eq!((items, id.as_str()), (vec![ScannedItem::Foreign], "1"));
}

#[test]
fn new_connection_keeps_the_id_and_nothing_else() {
    let (mut scanner, codec) = (SseScanner::default(), StampCodec::new(RUN));
    scanner.feed(b"id: 1\n\nevent: tidings.gap\ndata: hal", &codec, &mut |_| {});
    scanner.renew();
    let mut items = Vec::new();
    scanner.feed(b"data: x\n\n", &codec, &mut |item| items.push(item));
    assert_eq!((items, scanner.last_id()), (vec![ScannedItem::Foreign], &b"1"[..]));
}
