//! Flags that set settings.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::exit::fail_usage;
use crate::fd_limit;
use crate::settings::{Diagnostic, FlagValue, Loaded, RawValue, Sources, load};
use crate::terminal::print_error;

/// Flags that set or override settings.
#[derive(Debug, Clone, Args)]
pub(crate) struct SettingFlags {
    /// Settings file; by default tidings.toml, if it exists.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Address and port to listen on, instead of those in the settings; may be repeated.
    #[arg(long, value_name = "ADDRESS")]
    listen: Vec<String>,
    /// Directory that holds the log.
    #[arg(long, value_name = "DIRECTORY")]
    data_dir: Option<String>,
    /// Keep everything in memory, and nothing on disk.
    #[arg(long, conflicts_with = "data_dir")]
    memory: bool,
    /// Redis that carries one log for several nodes; prefer REDIS_URL for a password, because every program sees flags.
    #[arg(long, value_name = "URL")]
    redis: Option<String>,
    /// Listen beyond loopback without credentials; every client may then do everything.
    #[arg(long)]
    insecure: bool,
}

impl SettingFlags {
    /// Loads the settings from these flags, the environment and the file.
    pub(crate) fn load(&self) -> Result<Loaded, Vec<Diagnostic>> {
        let text = |text: &Option<String>| text.clone().map(RawValue::Text);
        let given = [
            ("listen", "--listen", (!self.listen.is_empty()).then(|| RawValue::List(self.listen.clone()))),
            ("data_dir", "--data-dir", text(&self.data_dir)),
            ("data_dir", "--memory", self.memory.then_some(RawValue::Nothing)),
            ("redis.url", "--redis", text(&self.redis)),
            ("insecure", "--insecure", self.insecure.then(|| RawValue::Bare("true".to_owned()))),
        ];
        let flag_value = |(setting, flag, raw)| Some(FlagValue { setting, flag, raw: raw? });
        load(Sources {
            config: self.config.clone(),
            variables: std::env::vars_os().collect(),
            flags: given.into_iter().filter_map(flag_value).collect(),
            descriptors_max: fd_limit::maximum(),
        })
    }
}

/// Prints the errors of the settings, and returns the exit code.
pub(crate) fn fail_settings(diagnostics: &[Diagnostic]) -> ExitCode {
    let code = fail_usage(&match diagnostics.len() {
        1 => "the settings have an error".to_owned(),
        count => format!("the settings have {count} errors"),
    });
    for diagnostic in diagnostics {
        print_error(&diagnostic.to_string());
    }
    code
}
