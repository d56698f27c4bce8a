//! The manual's page on settings, made from the table.

use std::fmt::Write as _;

use tidings::config::Settings;

use super::table::{AcceptedFrom, SETTINGS, Setting, UNSUPPORTED, UNSUPPORTED_VARIABLES};

const HEAD: &str = "\
# Settings

<!-- SignedToken by `tidings check --markdown`; change the table in the server's `settings/table/rows.rs` instead. -->

A hub reads `tidings.toml` in its working directory if there is one (or the file that `--config` names, which has to
exist), then the environment, then flags; what comes later wins. `tidings check` prints every setting with its value
and where it came from, as a file that could be read again.

- In the environment a setting is `TIDINGS_` and its name in capitals: `log.retention_age` is
  `TIDINGS_LOG_RETENTION_AGE`. Lists are separated by commas there.
- Durations are a whole number and `ms`, `s`, `m`, `h` or `d`: `250ms`, `15s`, `24h`, `7d`.
- Sizes are bytes (`512`), or a whole number and a unit: `KiB`, `MiB`, `GiB`, `TiB` in steps of 1024, `kB` (or `KB`),
  `MB`, `GB`, `TB` in steps of 1000.
- A key or a `TIDINGS_…` variable that is no setting is an error that names the nearest one; only `TIDINGS_URL` and
  `TIDINGS_TOKEN` are left to `tidings publish` and `tidings subscribe`. All faults are listed at once, and the exit
  code is 2.
- `none` takes an optional value away.
- A hub with anything of `[auth]`, even an empty `[auth]`, asks for credentials. One without any listens on
  loopback only, unless `--insecure` is given.
- At `SIGHUP` a hub reads its settings again: `auth` and `server.tls` take effect at once, with the files that they name; of
  anything else that differs it says that it needs a restart. Settings with a fault change nothing.
- What is logged is chosen by `RUST_LOG`, for example `RUST_LOG=tidings=debug`; the default is `info`. No level
  writes a token.
";

const LATER_HEAD: &str = "
## Not in this version

These are known and refused, unless they are empty, since whoever sets one counts on it:
";

/// The page `docs/settings.md`.
pub(crate) fn markdown() -> String {
    let mut page = HEAD.to_owned();
    let defaults = Settings::default();
    let mut section = None;
    for setting in SETTINGS {
        let own = setting.section();
        if section != Some(own) {
            section = Some(own);
            let title = own.map_or_else(|| "Top of the file".to_owned(), |own| format!("`[{own}]`"));
            write!(
                page,
                "\n## {title}\n\n| setting | default | values | what it does |\n|---|---|---|---|\n"
            )
            .expect("text grows");
        }
        page.push_str(&row(setting, &defaults));
    }
    page.push_str(LATER_HEAD);
    let names = UNSUPPORTED.iter().chain(UNSUPPORTED_VARIABLES).map(|later| format!("`{}`", later.name));
    writeln!(page, "{}.", names.collect::<Vec<_>>().join(", ")).expect("text grows");
    page
}

fn row(setting: &Setting, defaults: &Settings) -> String {
    let name = match setting.given {
        AcceptedFrom::FileOrEnvironment | AcceptedFrom::File => {
            setting.name.rsplit('.').next().unwrap_or(setting.name).to_owned()
        }
        AcceptedFrom::Variable(variable) => format!("{variable} (environment only)"),
        AcceptedFrom::Flag(flag) => format!("{flag} (flag only)"),
    };
    let (code, remark) = name.split_once(' ').map_or((name.as_str(), ""), |(code, remark)| (code, remark));
    let bound = (setting.bound)();
    let values =
        if bound.is_empty() { setting.form.to_owned() } else { format!("{}: {bound}", setting.form) };
    let default = (setting.show)(defaults);
    let example = if setting.example == default || setting.example.is_empty() {
        String::new()
    } else {
        format!(" Example: `{}`.", setting.example)
    };
    let cells =
        [format!("`{code}` {remark}"), format!("`{default}`"), values, format!("{}{example}", setting.doc)];
    format!("| {} |\n", cells.map(|cell| cell.trim().replace('|', "\\|")).join(" | "))
}
