//! The program `tidings`: a hub, and the tools to try, use and check it from a command line.

mod address;
mod bench;
mod check;
mod doctor;
mod error_hint;
mod fd_limit;
mod help;
mod key;
mod publish;
mod serve;
mod settings;
mod subscribe;
mod terminal;
mod token;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use settings::{Diagnostic, FlagValue, Loaded, RawValue, Sources};

/// Live events from backends to browsers over Server-Sent Events, resumed without a hole.
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
    /// Run a hub (this is what `tidings` alone does).
    Serve(SettingFlags),
    Publish(publish::Args),
    Subscribe(subscribe::Args),
    Token(token::Args),
    Key(key::Args),
    /// Check the settings and print every one with where it came from.
    Check(check::CheckArgs),
    Bench(Box<bench::Args>),
    Doctor(doctor::Args),
}

/// Flags that say or override settings.
#[derive(Debug, Clone, Args)]
pub(crate) struct SettingFlags {
    /// Settings file; without it tidings.toml is read if there is one.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address and port to listen on, instead of those in the settings; may be given several times.
    #[arg(long, value_name = "ADDRESS")]
    listen: Vec<String>,
    /// Directory that holds the log.
    #[arg(long, value_name = "DIRECTORY")]
    data_dir: Option<String>,
    /// Keep everything in memory, and nothing on disk.
    #[arg(long, conflicts_with = "data_dir")]
    memory: bool,
    /// Redis that carries one log for several nodes; passwords are better kept in REDIS_URL, since every program sees flags.
    #[arg(long, value_name = "URL")]
    redis: Option<String>,
    /// Listen beyond loopback although everyone who reaches the hub may do everything.
    #[arg(long)]
    insecure: bool,
}

impl SettingFlags {
    /// Loads the settings that these flags, the environment and the file make together.
    fn load(&self) -> Result<Loaded, Vec<Diagnostic>> {
        let mut flags = Vec::new();
        if !self.listen.is_empty() {
            flags.push(FlagValue {
                setting: "listen",
                flag: "--listen",
                raw: RawValue::List(self.listen.clone()),
            });
        }
        if let Some(directory) = self.data_dir.clone() {
            flags.push(FlagValue { setting: "data_dir", flag: "--data-dir", raw: RawValue::Text(directory) });
        }
        if self.memory {
            flags.push(FlagValue { setting: "data_dir", flag: "--memory", raw: RawValue::Nothing });
        }
        if let Some(url) = self.redis.clone() {
            flags.push(FlagValue { setting: "redis.url", flag: "--redis", raw: RawValue::Text(url) });
        }
        if self.insecure {
            flags.push(FlagValue {
                setting: "insecure",
                flag: "--insecure",
                raw: RawValue::Bare("true".to_owned()),
            });
        }
        settings::load(Sources {
            config: self.config.clone(),
            variables: std::env::vars_os().collect(),
            flags,
            descriptors_max: fd_limit::allowed(),
        })
    }
}

/// The exit code for wrong usage and wrong settings.
const EXIT_USAGE: u8 = 2;
/// The exit code of a process that a second signal ended, as shells report one.
const EXIT_INTERRUPTED: i32 = 130;

fn main() -> ExitCode {
    let command_line: Cli = match help::read() {
        Ok(command_line) => command_line,
        Err(code) => return code,
    };
    match command_line.command.unwrap_or(CliCommand::Serve(command_line.serve)) {
        CliCommand::Serve(flags) => serve::run(flags),
        CliCommand::Publish(args) => on_runtime(publish::run(args)),
        CliCommand::Subscribe(args) => on_runtime(subscribe::run(args)),
        CliCommand::Token(args) => token::run(&args),
        CliCommand::Key(args) => key::run(&args),
        CliCommand::Check(args) => check::run(&args),
        CliCommand::Bench(args) => on_runtime(bench::run(*args)),
        CliCommand::Doctor(args) => on_runtime(doctor::run(args)),
    }
}

/// Threads that read the log for streams that resume: a storm of clients waits its turn instead of costing a stack each.
const BLOCKING_THREADS_MAX: usize = 16;

/// Runs a command to its end. On several threads, so that a blocked output does not hold up signals.
fn on_runtime(command: impl Future<Output = ExitCode>) -> ExitCode {
    match tokio::runtime::Builder::new_multi_thread()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .enable_all()
        .build()
    {
        Ok(runtime) => {
            let code = runtime.block_on(command);
            // What still waits for a terminal or a name server must not hold up the end.
            runtime.shutdown_background();
            code
        }
        Err(error) => {
            terminal::print_error(&format!("cannot start threads: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Lists what is wrong with the settings.
fn refuse(problems: &[Diagnostic]) -> ExitCode {
    terminal::print_error(&match problems.len() {
        1 => "the settings have a fault".to_owned(),
        count => format!("the settings have {count} faults"),
    });
    for problem in problems {
        terminal::print_error(&problem.to_string());
    }
    ExitCode::from(EXIT_USAGE)
}
