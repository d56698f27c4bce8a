//! Impossible arguments are refused with a hint.

use super::BenchPlan;
use crate::bench::tests::parse;

#[test]
fn what_cannot_be_done_is_refused_with_the_way_out() {
    for (arguments, expected) in [
        ("--url https://h", "plain HTTP only"),
        ("--url h:80", "does not begin with http://"),
        ("--url http:///x", "no plain host"),
        ("--connections 0", "no streams"),
        ("--connections 100000000", "ulimit -n"),
        ("--seconds 0", "--seconds is 0"),
        ("--storm 0", "--storm is 0"),
        ("--warm-up -1", "--warm-up"),
        ("--header x", "--header has no header"),
        ("--prefix a*", "--prefix"),
        ("--publish-method post", "--publish-method"),
        ("--body x", "{data}"),
        ("--pid 4294967295", "no process"),
        ("--pid-of-port 0", "listens there"),
        ("--subscribe http://127.0.0.1/{chanel} --publish http://127.0.0.1/", "{chanel}"),
        ("--subscribe http://127.0.0.1/a --publish http://127.0.0.1/ --batch 2", "--batch"),
    ] {
        let arguments = arguments.replace("--warm-up -1", "--warm-up=-1");
        let error = BenchPlan::new(&parse(&arguments)).err().unwrap();
        assert!(error.contains(expected), "{arguments}: {error}");
    }
}

#[test]
fn headers_and_token_are_not_shown() {
    let arguments = "--header X-Api-Key:hidden --publish-header A:hidden --token hidden";
    let shown = format!("{:?}", parse(arguments));
    assert!(!shown.contains("hidden"), "{shown}");
}
