use super::*;

#[test]
fn chunks_are_read_in_any_portions() {
    let framed = b"5\r\nhello\r\n6;note=1\r\n world\r\n0\r\nTrailer: x\r\n\r\n";
    for portion in 1..framed.len() {
        let mut chunks = Chunks::default();
        let mut body = Vec::new();
        for bytes in framed.chunks(portion) {
            chunks.feed(bytes, &mut body).unwrap();
        }
        assert_eq!(body, b"hello world");
        assert!(chunks.is_done());
    }
}

#[test]
fn broken_chunk_framing_is_an_error() {
    for framed in [&b"x\r\n"[..], b"\r\n", b"2\r\nabc", b"123456789\r\n", b"0\r\n\r\nmore", b"1\n"] {
        assert!(Chunks::default().feed(framed, &mut Vec::new()).is_err(), "{framed:?}");
    }
}

#[test]
fn response_head_tells_status_and_framing() {
    let head = parse_head(
        b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 12\r\ncontent-type: a/b\r\nConnection: close\r\n\r\n",
    )
    .unwrap();
    assert_eq!((head.status, head.body_bytes, head.is_chunked, head.is_last), (503, Some(12), false, true));
    assert_eq!(head.content_type, "a/b");
    assert!(parse_head(b"HTTP/2 200\r\n\r\n").is_err());
}
