//! Each hook on a few inputs: they hold before any fuzzing, and they go on compiling.

use super::*;

#[test]
fn texts_of_strangers_are_read_or_refused() {
    for text in ["", "channel=a&channel=b.*", "history=%ff&history=1", "channel=%24x&lastEventId=a-1-b"] {
        query(text);
    }
    framing(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /\n", 3);
    cookie(&[b"session=a; other=b", b"session=\"a\""]);
    cookie(&[b"session=a; session=b", b"\xff=;;"]);
    let claims = r#"{"sub":7,"exp":1e9,"tidings":{"subscribe":["a.**","?"]}}"#;
    jwt("a.b.c", r#"{"alg":"HS256","kid":"k"}"#, claims);
    jwks(
        br#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#,
        "a.b.c",
    );
}

#[cfg(feature = "redis")]
#[test]
fn replies_and_entries_of_redis_are_read_or_refused() {
    resp(b"*2\r\n$2\r\nok\r\n:5\r\n-ERR no\r\n+OK\r\n$-1\r\n*-1\r\n*0\r\n\x03");
    resp(b"$200\r\nshort");
    resp(b"*9999999\r\n");
    let header = b"0000000000000007 00000001 00000002 1800000000000 a b.c";
    redis_entry(b"5-0", &[(b"m", header), (b"d", b"text"), (b"n", b"name"), (b"p", b"high"), (b"x", b"9")]);
    redis_entry(b"5-1", &[(b"m", header)]);
}
