//! Helper of the unit tests.

use clap::Parser;

use super::Args;
use crate::{Cli, CliCommand};

/// Parses arguments of `tidings bench`.
pub(in crate::bench) fn parse(arguments: &str) -> Args {
    let words = ["tidings", "bench"].into_iter().chain(arguments.split_whitespace());
    match Cli::try_parse_from(words).unwrap().command {
        Some(CliCommand::Bench(args)) => *args,
        other => panic!("{other:?}"),
    }
}
