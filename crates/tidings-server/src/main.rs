//! The program `tidings`: a hub, and command-line tools to try, use and check it.

mod bench;
mod check;
mod doctor;
mod error_hint;
mod exit;
mod fd_limit;
mod help;
mod hub_args;
mod key;
mod pattern_flags;
mod publish;
mod serve;
mod setting_flags;
mod settings;
mod subscribe;
mod terminal;
mod token;
mod url;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use exit::run_async;
use setting_flags::SettingFlags;

/// Live events from backends to browsers over Server-Sent Events, resumed without a gap.
///
/// Without a command it serves. Settings come from tidings.toml, then TIDINGS_… variables, then flags.
#[derive(Debug, Parser)]
#[command(name = "tidings", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<CliCommand>,
    #[command(flatten)]
    serve: SettingFlags,
}

#[derive(Debug, Subcommand)]
enum CliCommand {
    /// Run a hub; `tidings` alone does the same.
    Serve(SettingFlags),
    Publish(publish::Args),
    Subscribe(subscribe::Args),
    Token(token::Args),
    Key(key::Args),
    /// Check the settings, and print each with its origin.
    Check(check::CheckArgs),
    Bench(Box<bench::Args>),
    Doctor(doctor::Args),
}

fn main() -> ExitCode {
    let cli: Cli = match help::parse() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    match cli.command.unwrap_or(CliCommand::Serve(cli.serve)) {
        CliCommand::Serve(flags) => serve::run(flags),
        CliCommand::Publish(args) => run_async(publish::run(args)),
        CliCommand::Subscribe(args) => run_async(subscribe::run(args)),
        CliCommand::Token(args) => token::run(&args),
        CliCommand::Key(args) => key::run(&args),
        CliCommand::Check(args) => check::run(&args),
        CliCommand::Bench(args) => run_async(bench::run(*args)),
        CliCommand::Doctor(args) => run_async(doctor::run(args)),
    }
}
