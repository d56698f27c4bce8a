//! What cannot be done is refused with the way out.

use clap::Parser;

use super::Plan;
use crate::bench::Args;

#[derive(Parser)]
struct CommandLine {
    #[command(flatten)]
    args: Args,
}

/// The fault of these arguments.
fn fault(arguments: &str) -> String {
    let arguments = std::iter::once("bench").chain(arguments.split_whitespace());
    Plan::new(&CommandLine::try_parse_from(arguments).unwrap().args).err().unwrap()
}

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
        let fault = fault(&arguments);
        assert!(fault.contains(expected), "{arguments}: {fault}");
    }
}

#[test]
fn several_publishers_of_one_channel_have_lanes_of_their_own() {
    let plan = |arguments: &str| {
        let arguments = std::iter::once("bench").chain(arguments.split_whitespace());
        Plan::new(&CommandLine::try_parse_from(arguments).unwrap().args).unwrap()
    };
    assert_eq!(plan("--publishers 8").lanes_each(), 8);
    assert_eq!(plan("--publishers 8 --channels 3").lanes_each(), 3);
    assert_eq!(plan("--publishers 8 --channels 8").lanes_each(), 1);
    assert_eq!(plan("--publishers 8 --channels 100").lanes_each(), 1);
}

#[test]
fn headers_and_token_are_not_shown() {
    let arguments =
        ["bench", "--header", "X-Api-Key: hidden", "--publish-header", "A: hidden", "--token", "hidden"];
    let shown = format!("{:?}", CommandLine::try_parse_from(arguments).unwrap().args);
    assert!(!shown.contains("hidden"), "{shown}");
}
