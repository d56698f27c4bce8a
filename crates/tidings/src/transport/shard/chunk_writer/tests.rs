//! A socket may take a chunk in any pieces.

use super::*;

/// Bytes that a socket gets if it takes at most `bytes_at_once` of each write.
fn sent(mut chunk: ChunkWriter, bytes_at_once: usize) -> Vec<u8> {
    let mut out = Vec::new();
    while !chunk.is_sent() {
        let left: Vec<u8> = chunk.parts[chunk.sent..].concat()[chunk.sent_bytes..].to_vec();
        let taken = &left[..bytes_at_once.min(left.len())];
        out.extend_from_slice(taken);
        chunk.advance(taken.len());
    }
    out
}

#[test]
fn chunk_is_whole_however_the_socket_takes_it() {
    let frames =
        || vec![Bytes::from_static(b"data: a\n\n"), Bytes::new(), Bytes::from_static(b"data: bc\n\n")];
    for bytes_at_once in 1..40 {
        assert_eq!(sent(ChunkWriter::frames(frames()), bytes_at_once), b"13\r\ndata: a\n\ndata: bc\n\n\r\n");
        assert_eq!(sent(ChunkWriter::last(Bytes::from_static(b"x")), bytes_at_once), b"1\r\nx\r\n0\r\n\r\n");
        let first = ChunkWriter::first(Bytes::from_static(b"HEAD"), Bytes::from_static(b": hi\n\n"));
        assert_eq!(sent(first, bytes_at_once), b"HEAD6\r\n: hi\n\n\r\n");
    }
}
