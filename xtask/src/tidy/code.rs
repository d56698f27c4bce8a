//! What code of the hub must not do: name HTTP types in its core, queue without bound, start tasks outside `node`.

use super::TextFile;
use super::paths::paths;
use super::rows::{CRATE, module_of};
use super::tokens::{Token, tokens, without_tests};

/// The modules that know no HTTP.
const CORE: &[&str] = &["log", "hub", "connection", "publish", "broker"];
const HTTP_CRATES: &[&str] = &["http", "http_body", "http_body_util", "hyper", "hyper_util", "axum"];

/// Files of the crate other than `node` that start tasks or threads, each with the reason.
const SPAWNING_FILES: &[(&str, &str)] = &[];
/// Locks that `sync` has, too.
const LOCKS: &[&str] = &["Condvar", "Mutex", "RwLock"];
/// Types with a method `spawn` that starts a task or thread.
const SPAWNERS: &[&str] = &["Builder", "Handle", "JoinSet", "LocalSet", "Runtime", "TaskTracker"];

/// `log`, `hub`, `connection`, `broker` and `publish` name nothing of an HTTP crate.
pub(crate) fn no_http_in_the_core(files: &[TextFile]) -> Vec<String> {
    let mut faults = Vec::new();
    for file in own_code(files) {
        let module = module_of(&file.path);
        if !module.first().is_some_and(|top| CORE.contains(&top.as_str())) {
            continue;
        }
        for path in paths(&without_tests(&tokens(&file.text))) {
            let first = path.segments.first().map_or("", String::as_str);
            if HTTP_CRATES.contains(&first) {
                faults.push(format!(
                    "{}: `{}` in `{}`",
                    file.at(path.line),
                    path.segments.join("::"),
                    module.join("::")
                ));
            }
        }
    }
    faults
}

/// No channel without a bound in any crate, tests included.
pub(crate) fn no_unbounded_channel(files: &[TextFile]) -> Vec<String> {
    let mut faults = Vec::new();
    for file in files.iter().filter(|file| file.is_rust_in("crates/")) {
        let tokens = tokens(&file.text);
        for (at, token) in tokens.iter().enumerate() {
            let is_unbounded =
                matches!(token.text.as_str(), "unbounded_channel" | "UnboundedSender" | "unbounded");
            if is_unbounded || is_std_channel(&tokens, at) {
                faults.push(format!(
                    "{}: `{}` has no bound; give it one in `limits`",
                    file.at(token.line),
                    token.text
                ));
            }
        }
    }
    faults
}

/// Whether `mpsc::channel()` without a size stands here, also with its type named.
fn is_std_channel(tokens: &[Token], at: usize) -> bool {
    let before = |back: usize, text: &str| at >= back && tokens[at - back].is(text);
    if !tokens[at].is("channel") || before(1, ".") || before(1, "fn") {
        return false;
    }
    if before(1, "::") && !before(2, "mpsc") {
        return false;
    }
    let mut next = at + 1;
    if tokens.get(next).is_some_and(|token| token.is("::")) {
        // `channel::<T>()`: the bracket opens after the type parameters.
        next += tokens[next..].iter().take_while(|token| !token.is("(") && !token.is(";")).count();
    }
    tokens.get(next).is_some_and(|token| token.is("("))
        && tokens.get(next + 1).is_some_and(|token| token.is(")"))
}

/// Long-lived tasks and threads have one owner, `node`, which ends them in order.
pub(crate) fn only_node_spawns(files: &[TextFile]) -> Vec<String> {
    let mut faults = Vec::new();
    for file in own_code(files) {
        let inner = file.path.strip_prefix(CRATE).unwrap_or_default();
        let is_allowed = SPAWNING_FILES.iter().any(|(path, _)| *path == inner);
        if is_allowed || module_of(&file.path).first().is_some_and(|top| top == "node") {
            continue;
        }
        for line in spawns(&without_tests(&tokens(&file.text))) {
            faults.push(format!("{}: only `node` starts tasks and threads", file.at(line)));
        }
    }
    for (path, reason) in SPAWNING_FILES {
        if !files.iter().any(|file| file.path.strip_prefix(CRATE) == Some(path)) {
            faults.push(format!(
                "{CRATE}{path} may spawn ({reason}) but is not there; take it out of the list"
            ));
        }
    }
    faults
}

/// The lines on which a task or thread is started, or the function that does it is brought in.
fn spawns(tokens: &[Token]) -> Vec<usize> {
    let is_start = |word: &str| matches!(word, "spawn" | "spawn_local");
    let mut lines: Vec<usize> = paths(tokens)
        .iter()
        .filter(|path| {
            ["tokio", "task", "thread", "std"]
                .iter()
                .any(|owner| path.has(owner, "spawn") || path.has(owner, "spawn_local"))
        })
        .map(|path| path.line)
        .collect();
    if tokens.iter().any(|token| SPAWNERS.contains(&token.text.as_str())) {
        let calls = tokens
            .windows(3)
            .filter(|three| three[0].is(".") && is_start(&three[1].text) && three[2].is("("));
        lines.extend(calls.map(|three| three[1].line));
    }
    lines
}

/// Locks of the standard library have no name, so no order is checked of them: those of `sync` are used instead.
pub(crate) fn locks_of_sync(files: &[TextFile]) -> Vec<String> {
    let mut faults = Vec::new();
    for file in own_code(files).filter(|file| module_of(&file.path).first().is_none_or(|top| top != "sync")) {
        for path in paths(&without_tests(&tokens(&file.text))) {
            if let Some(lock) = LOCKS.iter().find(|lock| path.has("std", "sync") && path.has("sync", lock)) {
                faults.push(format!(
                    "{}: `std::sync::{lock}` has no place in the order of locks; use `crate::sync::{lock}`, see docs/locks.md",
                    file.at(path.line)
                ));
            }
        }
    }
    faults
}

/// The code of the crate `tidings` that ships.
fn own_code(files: &[TextFile]) -> impl Iterator<Item = &TextFile> {
    files.iter().filter(|file| file.is_rust_in(CRATE) && !file.is_test())
}

#[cfg(test)]
mod tests;
