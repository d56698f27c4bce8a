//! The developers' commands; `cargo xtask` without arguments lists them.

mod ci;
mod clients;
mod compare;
mod counts;
mod fuzz;
mod generate;
mod install;
mod process;
mod public_api;
mod redis_versions;
mod step_log;
mod suite;
mod tally;
mod tidy;
mod tools;
mod workspace;

use std::process::ExitCode;

use suite::Part;
use tally::Tally;
use workspace::{Result, Workspace};

const USAGE: &str = "\
cargo xtask test [--verbose]          installs programs that are missing and runs all tests; shows a step's output if it fails
cargo xtask test FILTER               runs the tests whose names contain FILTER; of browsers, only if a file has it
cargo xtask test --quick              runs the unit tests, and installs nothing
cargo xtask test --browsers           runs the tests in browsers
cargo xtask ci [--verbose]            runs all tests, and before them formatting, lints, tidiness, docs, generated files, dependencies
cargo xtask check [--seconds N] [...] runs the checker against a real server (60 s unless given); passes the rest on
cargo xtask compare [--parts a,b] [--rounds N] [--slice S]  measures the hub beside other servers, writes docs/benchmarks.md
cargo xtask generate [--check]        writes the generated files, or names those that are out of date
cargo xtask tidy [--list RULE]        checks names, prose, module rows, bounds, links; `--list` prints the findings of a rule
cargo xtask dependencies [--advisories]  checks licences, versions and sources of dependencies; advisories need a network
cargo xtask workflows                 lints `.github/`; needs Go
cargo xtask clients                   plays one script to every client library; needs Go 1.26, and installs Java and Maven
cargo xtask redis-versions [--quick]  runs the tests of Redis over other versions of Redis and Valkey; quick: as ci does
cargo xtask fuzz [--seconds N] [target]  fuzzes each target, or one, for N seconds (60 unless given)";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut tally = Tally::default();
    if let Err(error) = run(&arguments, &mut tally) {
        eprintln!("error: {error}");
        return ExitCode::FAILURE;
    }
    tally.close()
}

fn run(arguments: &[String], tally: &mut Tally) -> Result<()> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let workspace = Workspace::find()?;
    match words.as_slice() {
        ["test", rest @ ..] => {
            let part = match rest {
                [] | ["--verbose"] => Part::All,
                ["--quick"] => Part::Units,
                ["--browsers"] => Part::Browsers,
                [filter] if !filter.starts_with('-') => Part::Named(filter),
                _ => return Err(format!("unknown arguments `{}`; usage:\n{USAGE}", rest.join(" "))),
            };
            if rest != ["--verbose"] {
                log_steps(&workspace, tally);
            }
            suite::run(&workspace, tally, part);
        }
        ["ci"] => {
            log_steps(&workspace, tally);
            ci::run(&workspace, tally);
        }
        ["ci", "--verbose"] => ci::run(&workspace, tally),
        ["check", rest @ ..] => {
            let (seconds, rest) = seconds(rest)?;
            suite::check(&workspace, tally, seconds, &rest);
        }
        ["compare", rest @ ..] => compare::run(&workspace, tally, &compare::Choice::read(rest)?)?,
        ["generate"] => generate::write_all(&workspace)?,
        ["generate", "--check"] => generate::check_all(&workspace, tally),
        ["tidy"] => tidy::run(&workspace, tally),
        ["tidy", "--list", rule] => tidy::list(&workspace, rule)?,
        ["clients"] => clients::run(&workspace, tally),
        ["redis-versions"] => redis_versions::run(&workspace, tally),
        ["redis-versions", "--quick"] => redis_versions::run_quick(&workspace, tally),
        ["dependencies"] => tools::check_dependencies(&workspace, tally, false),
        ["workflows"] => tools::check_workflows(&workspace, tally),
        ["dependencies", "--advisories"] => tools::check_dependencies(&workspace, tally, true),
        ["fuzz", rest @ ..] => {
            let (seconds, rest) = seconds(rest)?;
            match rest.as_slice() {
                [] => fuzz::run(&workspace, tally, seconds, None)?,
                [target] => fuzz::run(&workspace, tally, seconds, Some(target))?,
                _ => return Err(format!("fuzz takes one target; usage:\n{USAGE}")),
            }
        }
        [] | ["help" | "--help" | "-h"] => println!("{USAGE}"),
        _ => return Err(format!("unknown command `{}`; usage:\n{USAGE}", words.join(" "))),
    }
    Ok(())
}

/// Prints the folder for the output of steps, and sends it there.
fn log_steps(workspace: &Workspace, tally: &mut Tally) {
    let folder = workspace.target.join("xtask");
    println!("each step writes to a file in {}; its output is shown if it fails", folder.display());
    tally.log_steps_in(folder);
}

/// Takes `--seconds N` out of `words`; 60 without it.
fn seconds<'a>(words: &[&'a str]) -> Result<(u64, Vec<&'a str>)> {
    let mut rest = words.to_vec();
    let Some(at) = rest.iter().position(|word| *word == "--seconds") else { return Ok((60, rest)) };
    let value = rest.get(at + 1).copied().unwrap_or_default();
    let seconds = value
        .parse()
        .ok()
        .filter(|seconds| (1..=86_400).contains(seconds))
        .ok_or_else(|| format!("--seconds is `{value}`; give a number from 1 to 86400"))?;
    rest.drain(at..=at + 1);
    Ok((seconds, rest))
}
