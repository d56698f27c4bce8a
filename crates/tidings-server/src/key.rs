//! `tidings key`: makes an API key, and prints it with the settings that let it in.

mod secret;

use std::io::IsTerminal as _;
use std::process::ExitCode;

use tidings::config::Right;
use tidings::config::bounds::{key_name_fault, pattern_fault};

use crate::EXIT_USAGE;
use crate::terminal::{print, print_error, print_note};
use secret::NewKey;

/// Make an API key for a backend, with the lines that let it in.
///
/// The secret is printed once and kept nowhere; the settings hold its hash.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Names the key's holder: 1 to 250 bytes of A-Za-z0-9_.-
    #[arg(long, value_name = "NAME")]
    name: String,
    /// What the key may do: publish, subscribe or manage; may be given several times. Patterns imply theirs.
    #[arg(long, value_name = "RIGHT", value_parser = read_right)]
    right: Vec<Right>,
    /// Pattern that the key may subscribe to; may be given several times.
    #[arg(long, value_name = "PATTERN")]
    subscribe: Vec<String>,
    /// Pattern that the key may publish to; may be given several times.
    #[arg(long, value_name = "PATTERN")]
    publish: Vec<String>,
}

fn read_right(word: &str) -> Result<Right, String> {
    word.parse().map_err(|unknown: tidings::config::UnknownWord| unknown.to_string())
}

/// Prints a key; 2 if the flags make none.
///
/// All goes to standard output, as one piece of TOML in which the secret is a comment: what is cut off, redirected or
/// pasted too much of still reads, and nothing but the comment has to be taken out.
pub(crate) fn run(args: &Args) -> ExitCode {
    let rights = match rights(args) {
        Ok(rights) => rights,
        Err(fault) => {
            print_error(&fault);
            return ExitCode::from(EXIT_USAGE);
        }
    };
    print(&text(args, &rights, &NewKey::draw()));
    print_note(
        "Give the secret to the backend, for example as TIDINGS_TOKEN. Put the lines from [[auth.keys]] on into\n\
         tidings.toml, and send the hub SIGHUP or start it again.\n",
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
            "warning: the comment in the first line is the secret; do not keep it in a file that others read",
        );
    }
    ExitCode::SUCCESS
}

/// The key's rights, in the order of the words.
fn rights(args: &Args) -> Result<Vec<Right>, String> {
    if let Some(fault) = key_name_fault(&args.name) {
        return Err(format!("--name {fault}"));
    }
    for (flag, patterns) in [("--subscribe", &args.subscribe), ("--publish", &args.publish)] {
        if let Some(fault) = patterns.iter().find_map(|pattern| pattern_fault(pattern, false)) {
            return Err(format!("{flag} {fault}"));
        }
    }
    let implied = |right: Right| match right {
        Right::Publish => !args.publish.is_empty(),
        Right::Subscribe => !args.subscribe.is_empty(),
        Right::Manage => false,
    };
    let all = [Right::Publish, Right::Subscribe, Right::Manage];
    let rights: Vec<Right> =
        all.into_iter().filter(|right| args.right.contains(right) || implied(*right)).collect();
    if rights.is_empty() {
        return Err(
            "the key would have no right; give --publish PATTERN, --subscribe PATTERN or --right manage"
                .to_owned(),
        );
    }
    Ok(rights)
}

fn text(args: &Args, rights: &[Right], key: &NewKey) -> String {
    let list = |texts: &[String]| {
        let quoted: Vec<String> = texts.iter().map(|text| format!("\"{text}\"")).collect();
        format!("[{}]", quoted.join(", "))
    };
    let rights: Vec<String> = rights.iter().map(ToString::to_string).collect();
    let mut text = format!(
        "# The secret, shown this once and not to be kept here: {}\n[[auth.keys]]\nname = \"{}\"\nhash = \"{}\"\nrights = {}\n",
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
