//! Names that were given up stay away: `xtask/old-names.txt` lists them.

use regex::Regex;

use super::file::{TextFile, regex};
use super::prose;

const LIST: &str = "xtask/old-names.txt";
/// Files that tell of the past.
const HISTORY: &[&str] = &[LIST, "CHANGELOG.md", "xtask/src/tidy/old_names/tests.rs"];

/// Names of one row of the list, in the files that the row speaks of.
struct Row {
    kind: Kind,
    pattern: Regex,
    scope: Option<Regex>,
}

#[derive(Clone, Copy)]
enum Kind {
    /// The path of a file.
    Path,
    /// Code: Rust without comments and strings, and spans between backticks.
    Code,
    /// Any text.
    Word,
}

/// Returns each path and each place in a file that has an old name.
pub(crate) fn check(files: &[TextFile]) -> Vec<String> {
    let Some(list) = files.iter().find(|file| file.path == LIST) else {
        return vec![format!("{LIST} is missing")];
    };
    let (rows, mut found) = parse(&list.text);
    let string = regex(r#""(?:[^"\\]|\\.)*""#);
    for file in files.iter().filter(|file| !HISTORY.contains(&file.path.as_str())) {
        let code: Vec<String> = file.text.lines().map(|line| code_of(file, line, &string)).collect();
        let code = code.join("\n");
        for row in rows.iter().filter(|row| row.scope.as_ref().is_none_or(|scope| scope.is_match(&file.path)))
        {
            let text = match row.kind {
                Kind::Path if row.pattern.is_match(&file.path) => {
                    found.push(format!("{}: an old path", file.path));
                    continue;
                }
                Kind::Path => continue,
                Kind::Code => &code,
                Kind::Word => &file.text,
            };
            found.extend(row.pattern.find_iter(text).map(|name| {
                let line = text[..name.start()].matches('\n').count() + 1;
                format!("{}: `{}` is an old name", file.at(line), name.as_str().trim())
            }));
        }
    }
    found
}

/// Reads rows `kind name … [@ path]`, and returns the faults of the list itself.
fn parse(list: &str) -> (Vec<Row>, Vec<String>) {
    let (mut rows, mut faults) = (Vec::new(), Vec::new());
    for (number, line) in
        list.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
    {
        match row(line) {
            Some(row) => rows.push(row),
            None => faults.push(format!("{LIST}:{}: `{line}` is no row", number + 1)),
        }
    }
    (rows, faults)
}

fn row(line: &str) -> Option<Row> {
    let (names, scope) = line.split_once(" @ ").map_or((line, None), |(names, scope)| (names, Some(scope)));
    let (kind, names) = names.split_once(' ')?;
    let names = names.split_whitespace().collect::<Vec<_>>().join("|");
    let (kind, pattern) = match kind {
        "path" => (Kind::Path, format!(r"(?:{names})(?:/|\.rs$)")),
        "type" => (Kind::Code, format!(r"\b(?:{names})\b")),
        "def" => (Kind::Code, format!(r"\b(?:struct|enum|trait) (?:{names})\b")),
        "fn" => (Kind::Code, format!(r"\bfn (?:{names})\b")),
        "field" => (Kind::Code, format!(r"\b(?:{names}): ")),
        "variant" => (Kind::Code, format!(r"(?m)^\s+(?:{names})(?:\(.*\)| \{{.*)?,?\s*$")),
        "word" => (Kind::Word, format!(r"\b(?:{names})\b")),
        _ => return None,
    };
    let scope = scope.map(Regex::new).transpose().ok()?;
    Some(Row { kind, pattern: Regex::new(&pattern).ok()?, scope })
}

/// Returns the parts of a line that are code: all of it if the file is neither Rust nor a document.
fn code_of(file: &TextFile, line: &str, string: &Regex) -> String {
    let quoted = |text: &str| text.split('`').skip(1).step_by(2).collect::<Vec<_>>().join(" ");
    if file.path.ends_with(".md") {
        return quoted(line);
    }
    if !file.path.ends_with(".rs") {
        return line.to_owned();
    }
    let (code, comment) = prose::split_comment(line);
    let code = string.replace_all(code, "");
    comment.map_or_else(|| code.to_string(), |comment| format!("{code} {}", quoted(comment)))
}

#[cfg(test)]
mod tests;
