use super::*;

#[test]
fn words_are_read_as_they_were_said() {
    let live = LiveEvent { after: 7, channels: Vec::new(), event: None, data: "mark of {".into() };
    for word in [
        NodeMessage::Event(live),
        NodeMessage::Marker(0xab),
        NodeMessage::Mirrored("a.b".into()),
        NodeMessage::LeaseReleased,
    ] {
        let read = NodeMessage::decode(&word.encode()).unwrap();
        assert_eq!(format!("{read:?}"), format!("{word:?}"));
    }
}

#[test]
fn what_no_node_says_is_no_word() {
    for text in ["", "freed", "mark", "mark ", "mark 12", "mark 00000000000000AB", "{", "{}", "[]"] {
        assert!(NodeMessage::decode(text.as_bytes()).is_none(), "{text}");
    }
    assert!(NodeMessage::decode(b"mirrored \xff").is_none());
}
