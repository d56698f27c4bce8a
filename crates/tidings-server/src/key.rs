//! `tidings key`: makes an API key, and prints it with the settings that accept it.

mod secret;

use std::io::IsTerminal as _;
use std::process::ExitCode;

use tidings::config::Right;
use tidings::config::bounds::key_name_fault;

use crate::exit::fail_usage;
use crate::pattern_flags::check_patterns;
use crate::terminal::{print, print_error, print_note};
use secret::NewApiKey;

/// Make an API key for a backend, with the settings that accept it.
///
/// The secret is printed once and stored nowhere; the settings hold its hash.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of the key's holder: 1 to 250 bytes of A-Za-z0-9_.-
    #[arg(long, value_name = "NAME")]
    name: String,
    /// Right of the key: publish, subscribe or manage; may be repeated. Patterns imply theirs.
    #[arg(long, value_name = "RIGHT", value_parser = read_right)]
    right: Vec<Right>,
    /// Pattern that the key may subscribe to; may be repeated.
    #[arg(long, value_name = "PATTERN")]
    subscribe: Vec<String>,
    /// Pattern that the key may publish to; may be repeated.
    #[arg(long, value_name = "PATTERN")]
    publish: Vec<String>,
}

fn read_right(word: &str) -> Result<Right, String> {
    word.parse().map_err(|unknown: tidings::config::UnknownWord| unknown.to_string())
}

/// Prints a key. Returns 2 if the flags are wrong.
///
/// Standard output is TOML in which the secret is a comment: it can be redirected into the settings file as a whole.
pub(crate) fn run(args: &Args) -> ExitCode {
    let rights = match rights(args) {
        Ok(rights) => rights,
        Err(error) => return fail_usage(&error),
    };
    print(&toml(args, &rights, &NewApiKey::generate()));
    print_note(
        "Give the secret to the backend, for example as TIDINGS_TOKEN. Put the lines from [[auth.keys]] on into\n\
         tidings.toml, and send the hub SIGHUP or restart it.\n",
    );
    for (right, patterns) in [(Right::Subscribe, &args.subscribe), (Right::Publish, &args.publish)] {
        if rights.contains(&right) && patterns.is_empty() {
            print_error(&format!(
                "warning: the right {right} grants nothing without patterns; add --{right} PATTERN"
            ));
        }
    }
    if !std::io::stdout().is_terminal() {
        print_error(
            "warning: the comment in the first line is the secret; do not keep it in a file that other users can read",
        );
    }
    ExitCode::SUCCESS
}

/// Returns the key's rights, in the order of their words.
fn rights(args: &Args) -> Result<Vec<Right>, String> {
    if let Some(error) = key_name_fault(&args.name) {
        return Err(format!("--name {error}"));
    }
    check_patterns(&args.subscribe, &args.publish)?;
    let is_implied = |right: Right| match right {
        Right::Publish => !args.publish.is_empty(),
        Right::Subscribe => !args.subscribe.is_empty(),
        Right::Manage => false,
    };
    let all = [Right::Publish, Right::Subscribe, Right::Manage];
    let rights: Vec<Right> =
        all.into_iter().filter(|right| args.right.contains(right) || is_implied(*right)).collect();
    if rights.is_empty() {
        return Err(
            "the key would have no right; give --publish PATTERN, --subscribe PATTERN or --right manage"
                .to_owned(),
        );
    }
    Ok(rights)
}

/// Returns the settings that accept the key, after the secret as a comment.
fn toml(args: &Args, rights: &[Right], key: &NewApiKey) -> String {
    let list = |texts: &[String]| {
        let quoted: Vec<String> = texts.iter().map(|text| format!("\"{text}\"")).collect();
        format!("[{}]", quoted.join(", "))
    };
    let rights: Vec<String> = rights.iter().map(ToString::to_string).collect();
    let mut text = format!(
        "# The secret, shown only once; do not keep it here: {}\n[[auth.keys]]\nname = \"{}\"\nhash = \"{}\"\nrights = {}\n",
        key.secret,
        args.name,
        key.hash,
        list(&rights)
    );
    for (member, patterns) in [("subscribe", &args.subscribe), ("publish", &args.publish)] {
        if !patterns.is_empty() {
            text.push_str(&format!("{member} = {}\n", list(patterns)));
        }
    }
    text
}

#[cfg(test)]
mod tests;
