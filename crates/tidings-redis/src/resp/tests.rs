use super::*;

fn decode(bytes: &[u8], step: usize, text_bytes_max: usize) -> Result<Vec<RedisReply>, ProtocolError> {
    let mut decoder = ReplyDecoder::new(text_bytes_max);
    let mut replies = Vec::new();
    for part in bytes.chunks(step) {
        decoder.buffer().extend_from_slice(part);
        while let Some(reply) = decoder.next_reply()? {
            replies.push(reply);
        }
    }
    assert!(decoder.is_empty());
    Ok(replies)
}

fn text(text: &'static str) -> RedisReply {
    RedisReply::Text(Bytes::from_static(text.as_bytes()))
}

#[test]
fn replies_are_put_together_however_they_are_cut() {
    let bytes =
        b"+OK\r\n-ERR no\r\n:-7\r\n$-1\r\n$0\r\n\r\n*-1\r\n*0\r\n*2\r\n*1\r\n$4\r\na\r\nb\r\n:1\r\n$2\r\nhi\r\n";
    let expected = vec![
        RedisReply::Word(Bytes::from_static(b"OK")),
        RedisReply::Error("ERR no".into()),
        RedisReply::Number(-7),
        RedisReply::Nil,
        text(""),
        RedisReply::Nil,
        RedisReply::Array(Vec::new()),
        RedisReply::Array(vec![RedisReply::Array(vec![text("a\r\nb")]), RedisReply::Number(1)]),
        text("hi"),
    ];
    for step in 1..bytes.len() {
        assert_eq!(decode(bytes, step, 100), Ok(expected.clone()), "in steps of {step}");
    }
}

#[test]
fn a_text_above_the_bound_is_passed_over_and_the_next_is_read() {
    let bytes = b"*2\r\n$5\r\nhello\r\n$2\r\nhi\r\n:3\r\n";
    let expected = vec![RedisReply::Array(vec![RedisReply::TooLarge(5), text("hi")]), RedisReply::Number(3)];
    for step in 1..bytes.len() {
        assert_eq!(decode(bytes, step, 4), Ok(expected.clone()), "in steps of {step}");
    }
}

#[test]
fn what_is_not_the_protocol_is_refused() {
    for bytes in [
        &b"HTTP/1.1 400 Bad Request\r\n"[..],
        b"$x\r\n",
        b"*-2\r\n",
        b"$-2\r\n",
        b"\r\n",
        b"$1\r\nabc\r\n",
        b"*99999999\r\n",
        b"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n",
    ] {
        assert!(decode(bytes, bytes.len(), 100).is_err(), "{}", String::from_utf8_lossy(bytes));
    }
}

#[test]
fn a_command_is_an_array_of_texts() {
    let mut out = BytesMut::new();
    RedisCommand::new("SET").arg("a").arg([0, b'\r']).write(&mut out);
    assert_eq!(&out[..], b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$2\r\n\0\r\r\n");
}
