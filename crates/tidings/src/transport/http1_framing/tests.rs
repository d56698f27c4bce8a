//! Valid and invalid heads and framing, in pieces of any size.

use proptest::{collection::vec, prelude::*, sample::select};

use super::*;

/// Result for one input: offset, part and text of its error.
type Verdict = Result<(), (usize, MessagePart, &'static str)>;

fn whole(input: &[u8]) -> Verdict {
    FramingValidator::new().feed(input).map_err(|fault| (fault.at, fault.part, fault.what))
}

fn in_portions(input: &[u8], cuts: &[usize]) -> Verdict {
    let mut validator = FramingValidator::new();
    let mut begin = 0;
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (input.len() + 1)).collect();
    ends.push(input.len());
    ends.sort_unstable();
    for end in ends {
        validator.feed(&input[begin..end]).map_err(|fault| (begin + fault.at, fault.part, fault.what))?;
        begin = end;
    }
    Ok(())
}

/// Asserts that the input is valid, and that another request may follow.
#[track_caller]
fn passes(input: &str) {
    let mut validator = FramingValidator::new();
    let outcome = validator.feed(input.as_bytes());
    assert_eq!(outcome, Ok(()), "{input:?}");
    assert_eq!(validator.state, FramingState::Start, "{input:?}");
}

/// Asserts that the last byte of the input is refused, and none before it.
#[track_caller]
fn fails_at_its_end(input: &[u8], part: MessagePart) {
    let text = String::from_utf8_lossy(input);
    match whole(input) {
        Ok(()) => panic!("{text:?} passes"),
        Err((at, found, what)) => {
            assert_eq!((at, found), (input.len() - 1, part), "{text:?}: {what}");
        }
    }
}

fn with(headers: &str) -> String {
    format!("POST /a HTTP/1.1\r\nHost: a\r\n{headers}")
}

#[test]
fn plain_requests_pass() {
    passes("GET / HTTP/1.1\r\n\r\n");
    passes("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.0\r\nHost:\r\n\r\n");
    passes("GET /\u{e9} HTTP/1.1\r\nX-Any: \t\u{e9} a\tb \r\n!#$%&'*+-.^_`|~: x\r\n\r\n");
    passes(&with("Content-Length: 3\r\n\r\nabc"));
    passes(&with("CONTENT-LENGTH:003 \t\r\n\r\n\n\0\rGET / HTTP/1.1\r\n\r\n"));
    passes(&with("content-length: 0\r\n\r\nGET / HTTP/1.1\r\n\r\n"));
    passes(&with("Content-Lengths: x\r\nXContent-Length: y\r\nContent-Lengt: z\r\n\r\n"));
    passes(&with("Transfer-Encoding-And-More: identity\r\n\r\n"));
}

#[test]
fn chunked_bodies_pass() {
    let chunked = with("Transfer-Encoding: \tChUnKeD \r\n\r\n");
    for body in [
        "0\r\n\r\n",
        "3\r\nabc\r\n0\r\n\r\n",
        "00A\r\n0123456789\r\n0\r\n\r\n",
        "2;name=value;other=\"x;y\"\r\n\r\n\r\n0;last\r\n\r\n",
        "1 ; name\r\n\0\r\n0\t;x\r\n\r\n",
        "0\r\nX-Sum: 1\r\nX-Other:\r\n\r\n",
    ] {
        passes(&format!("{chunked}{body}"));
        passes(&format!("{chunked}{body}{chunked}{body}GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
    }
}

#[test]
fn faults_of_lines_and_names_are_found_where_they_are() {
    for input in [
        "\n",
        "\rG",
        "GET / HTTP/1.1\n",
        "GET / HTTP/1.1\rH",
        "GET /\0",
        "GET\t",
        "GET / HTTP/1.1\r\n ",
        "GET / HTTP/1.1\r\n\t",
        "GET / HTTP/1.1\r\n\n",
        "GET / HTTP/1.1\r\n\rX",
        "GET / HTTP/1.1\r\n:",
        "GET / HTTP/1.1\r\nHost ",
        "GET / HTTP/1.1\r\nHost\t",
        "GET / HTTP/1.1\r\nHost\r",
        "GET / HTTP/1.1\r\nHost\n",
        "GET / HTTP/1.1\r\nX\0",
        "GET / HTTP/1.1\r\nX(",
        "GET / HTTP/1.1\r\nX: a\n",
        "GET / HTTP/1.1\r\nX: a\rb",
        "GET / HTTP/1.1\r\nX: a\0",
        "GET / HTTP/1.1\r\nX: a\x7f",
        "GET / HTTP/1.1\r\nX: a\x1b",
        "GET / HTTP/1.1\r\nX: a\r\n ",
        "GET / HTTP/1.1\r\nX: a\r\n\r\n\n",
        "GET / HTTP/1.1\r\nHost: a\r\nhOsT:",
    ] {
        fails_at_its_end(input.as_bytes(), MessagePart::Head);
    }
    fails_at_its_end(b"GET / HTTP/1.1\r\nX\xff", MessagePart::Head);
}

#[test]
fn lengths_that_are_not_one_plain_number_are_refused() {
    for lengths in [
        "Content-Length: +",
        "Content-Length: -",
        "Content-Length: 5,",
        "Content-Length: 5 5",
        "Content-Length: 0x",
        "Content-Length: \u{b}",
        "Content-Length:\r",
        "Content-Length: \r",
        "Content-Length: 5\n",
        "Content-Length: 5\r\nContent-Length:",
        "Content-Length: 18446744073709551616",
        "Content-Length: 18446744073709551614",
        "Transfer-Encoding: chunked\r\nContent-Length:",
        "Content-Length: 5\r\nTransfer-Encoding:",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding:",
        "Transfer-Encoding: i",
        "Transfer-Encoding: chunked,",
        "Transfer-Encoding: chunkedx",
        "Transfer-Encoding: chunked x",
        "Transfer-Encoding: chunke\r",
        "Transfer-Encoding: \"",
        "Transfer-Encoding:\r",
        "Transfer-Encoding: chunked\n",
    ] {
        fails_at_its_end(with(lengths).as_bytes(), MessagePart::Head);
    }
    fails_at_its_end(b"POST / HTTP/1.0\r\nTransfer-Encoding:", MessagePart::Head);
    passes("POST / HTTP/1.0\r\nContent-Length: 1\r\n\r\nx");
    let mut validator = FramingValidator::new();
    validator.feed(with("Content-Length: 18446744073709551613\r\n\r\nmuch more").as_bytes()).unwrap();
}

#[test]
fn faults_of_chunks_are_found_where_they_are() {
    let chunked = with("Transfer-Encoding: chunked\r\n\r\n");
    let fails = |body: &str, part| fails_at_its_end(format!("{chunked}{body}").as_bytes(), part);
    for body in [
        "Z",
        "\r",
        "\n",
        " ",
        "-",
        "3x",
        "3\n",
        "3\rx",
        "3 \r",
        "3 3",
        "10000000000000000",
        "3\r\nabcd",
        "3\r\nabc\n",
        "3\r\nabc\rd",
        "3\r\nabc\r\n\r",
    ] {
        fails(body, MessagePart::ChunkFrame);
    }
    for body in ["3;a\n", "3;\0"] {
        fails(body, MessagePart::Extension);
    }
    for body in [
        "0\r\n\n",
        "0\r\nX\n",
        "0\r\nX: a\n",
        "0\r\n ",
        "0\r\nX: a\r\n ",
        "0\r\nContent-Length:",
        "0\r\nTransfer-Encoding:",
        "0\r\nHost:",
        "0\r\n\rX",
    ] {
        fails(body, MessagePart::Trailer);
    }
}

#[test]
fn nothing_passes_behind_a_fault() {
    let mut validator = FramingValidator::new();
    let first = validator.feed(b"GET / HTTP/1.1\nHost: a\r\n\r\n").unwrap_err();
    assert_eq!((first.at, first.part), (14, MessagePart::Head));
    let later = validator.feed(b"GET / HTTP/1.1\r\n\r\n").unwrap_err();
    assert_eq!((later.at, later.what), (0, first.what));
    assert_eq!(validator.feed(b""), Ok(()));
}

#[test]
fn preface_of_http_2_ends_the_judging_at_the_beginning_only() {
    let mut validator = FramingValidator::new();
    validator.feed(&PREFACE[..23]).unwrap();
    assert!(validator.is_opening());
    validator.feed(&PREFACE[23..]).unwrap();
    assert!(!validator.is_opening());
    validator.feed(b"\0\n\r anything").unwrap();

    let mut later = FramingValidator::new();
    later.feed(b"\r\n").unwrap();
    assert!(later.feed(PREFACE).is_err(), "it is no preface there");

    let mut other = FramingValidator::new();
    assert!(other.feed(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\0").is_err());
    assert!(FramingValidator::new().feed(b"PRI * HTTP/2.0\r\nHost: a\r\n\r\n").is_err());
}

#[test]
fn opening_is_over_when_the_first_head_is_whole() {
    let mut validator = FramingValidator::new();
    validator.feed(b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r").unwrap();
    assert!(validator.is_opening());
    validator.feed(b"\n").unwrap();
    assert!(!validator.is_opening());
    validator.feed(b"12345GET").unwrap();
    assert!(!validator.is_opening());
}

/// Pieces of valid and invalid requests.
const PIECES: &[&str] = &[
    "GET / HTTP/1.1\r\n",
    "POST /a HTTP/1.0\r\n",
    "Host: a\r\n",
    "Content-Length: 3\r\n",
    "Content-Length: 0\r\n",
    "Transfer-Encoding: chunked\r\n",
    "transfer-encoding:\tCHUNKED \r\n",
    "X: y\r\n",
    "\r\n",
    "abc",
    "3\r\nabc\r\n",
    "3;x=y\r\nabc\r\n",
    "0\r\n\r\n",
    "0\r\nX: y\r\n\r\n",
    "\n",
    "\r",
    " ",
    ":",
    "\0",
    "PRI * HTTP/2.0\r\n\r\n",
    "SM\r\n\r\n",
];

fn request() -> impl Strategy<Value = String> {
    let name = select(vec!["X-Any", "Accept", "Content-Lengt", "hosts", "T"]);
    let headers = vec((name, "[ -~\t]{0,12}"), 0..4).prop_map(|headers| {
        headers.iter().map(|(name, value)| format!("{name}:{value}\r\n")).collect::<String>()
    });
    let chunk = ("[a-zA-Z0-9\r\n]{1,20}", "(;[a-z]{0,5}(=[!-~]{0,5})?)?")
        .prop_map(|(data, extension)| format!("{:x}{extension}\r\n{data}\r\n", data.len()));
    let chunked = (vec(chunk, 0..4), headers.clone())
        .prop_map(|(chunks, trailers)| format!("{}0\r\n{trailers}\r\n", chunks.concat()));
    let framing = prop_oneof![
        Just("\r\n".to_owned()),
        "[\\x00-\\x7f]{0,40}".prop_map(|body| format!("Content-Length: {}\r\n\r\n{body}", body.len())),
        chunked.prop_map(|body| format!("Transfer-Encoding: chunked\r\n\r\n{body}")),
    ];
    (headers, framing)
        .prop_map(|(headers, framing)| format!("POST /a HTTP/1.1\r\nHost: a\r\n{headers}{framing}"))
}

proptest! {
    #[test]
    fn good_requests_pass_one_after_the_other_however_they_are_cut(
        requests in vec(request(), 0..6),
        cuts in vec(any::<usize>(), 0..12),
    ) {
        let input = requests.concat();
        passes(&input);
        prop_assert_eq!(in_portions(input.as_bytes(), &cuts), Ok(()));
    }

    #[test]
    fn outcome_does_not_depend_on_the_cuts(
        pieces in vec(select(PIECES), 0..20),
        cuts in vec(any::<usize>(), 0..12),
    ) {
        let input = pieces.concat();
        prop_assert_eq!(in_portions(input.as_bytes(), &cuts), whole(input.as_bytes()));
    }
}
