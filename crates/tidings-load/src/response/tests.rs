//! Responses parse the same however their bytes are split.

use proptest::prelude::*;

use super::ResponseParser;

const CHUNKED: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n\
                         7;a=b\r\nab\ncd\n\n\r\n0a\r\nefghijkl\nm\r\n0\r\nTrailer: x\r\n\r\n";
const KNOWN: &[u8] = b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 5\r\n\r\nhello";
const INTERIM: &[u8] = b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n";

/// Parses pieces that hold several responses: their statuses and bodies.
fn read(pieces: &[&[u8]]) -> Vec<(u16, String)> {
    let (mut response, mut body, mut whole) = (ResponseParser::default(), Vec::new(), Vec::new());
    for piece in pieces {
        let mut rest = *piece;
        while !rest.is_empty() {
            let taken = response.feed(rest, &mut |_, bytes| body.extend_from_slice(bytes)).unwrap();
            rest = &rest[taken..];
            if response.is_done() {
                let text = String::from_utf8(std::mem::take(&mut body)).unwrap();
                whole.push((response.head().unwrap().status, text));
                response.renew();
            }
        }
    }
    whole
}

proptest! {
    #[test]
    fn responses_are_the_same_wherever_the_bytes_are_cut(cuts in prop::collection::vec(0usize..400, 0..12)) {
        let all = [CHUNKED, KNOWN, INTERIM, KNOWN].concat();
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(all.len())).collect();
        cuts.extend([0, all.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|two| &all[two[0]..two[1]]).collect();
        let expected = [(200, "ab\ncd\n\nefghijkl\nm"), (401, "hello"), (204, ""), (401, "hello")];
        let expected: Vec<_> = expected.iter().map(|(status, body)| (*status, (*body).to_owned())).collect();
        prop_assert_eq!(read(&pieces), expected);
    }

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), cut in 0usize..200) {
        let after_head = [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".as_slice(), &bytes].concat();
        for all in [bytes, after_head] {
            let mut response = ResponseParser::default();
            let (one, two) = all.split_at(cut.min(all.len()));
            let _ = response.feed(one, &mut |_, _| {}).and_then(|_| response.feed(two, &mut |_, _| {}));
        }
    }
}

#[test]
fn body_without_a_length_ends_with_the_connection() {
    let mut response = ResponseParser::default();
    let mut body = Vec::new();
    let all = b"HTTP/1.0 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\r\ndata: 1\n\n";
    response.feed(all, &mut |_, bytes| body.extend_from_slice(bytes)).unwrap();
    assert!(!response.is_done());
    response.close().unwrap();
    assert!(response.is_done());
    let head = response.head().unwrap();
    assert!(head.is_event_stream && !head.keeps_alive);
    assert_eq!(body, b"data: 1\n\n");
}

#[test]
fn close_within_a_response_is_an_error() {
    for (bytes, fault) in [(&b""[..], "before"), (&KNOWN[..30], "before"), (&CHUNKED[..90], "within")] {
        let mut response = ResponseParser::default();
        response.feed(bytes, &mut |_, _| {}).unwrap();
        assert!(response.close().unwrap_err().to_string().contains(fault));
    }
}

#[test]
fn malformed_response_is_refused() {
    for bytes in [
        &b"SSH-2.0-x\r\n\r\n"[..],
        b"HTTP/1.1 2x0 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
    ] {
        assert!(
            ResponseParser::default().feed(bytes, &mut |_, _| {}).is_err(),
            "{}",
            String::from_utf8_lossy(bytes)
        );
    }
}
