//! Sentences name their subject: no headless opening, no word that stands for an unnamed actor.

use regex::Regex;

use super::file::{TextFile, regex};

/// Openings of sentences in comments and documents; a capital tells the opening.
const OPENINGS: &str = r"\b(?:What|Who|Whoever|Whatever|Somebody|Someone|Nobody|Everybody|Where)\b|\bOne (?:that|who|which|whose|is|was|has|had|can|cannot|may|must|does|will|would|needs|of them)\b|\bThat (?:the|a|an|there|it|they|each|every|no|nothing|some|all|one|two|its|their|both|what|who)\b";
/// "Whether …" is the noun phrase of a `bool` at the start of a doc comment or of a table's cell, and nowhere else.
const WHETHER: &str = r"(?:^|[^ |] +)Whether\b";
/// Actors without a name, anywhere in a sentence.
const UNNAMED: &str =
    r"\b(?:[Ww]hoever|[Ss]omebody|[Nn]obody|[Aa]nybody|[Ee]verybody|[Hh]e|[Hh]is|[Hh]im|[Hh]imself)\b";
/// Openings of error texts and log lines, which begin in lower case.
const ERROR_OPENINGS: &str =
    r"^(?:what|who|whoever|somebody|someone|nobody|where|whether|one that|that there|that the)\b.* .* ";
/// Programs that a user of Tidings does not have.
const INTERNAL_PAPERS: &str = r"\b[Tt]he (?:contract|guides?)\b";

/// Other files with comments, after `#` or `//`.
const COMMENTED: &[&str] = &[".js", ".py", ".go", ".java", ".toml", ".yml", ".yaml"];

/// Returns banned openings of comments, documents and texts of errors and logs.
pub(crate) fn openings(files: &[TextFile]) -> Vec<String> {
    let (opening, whether, text) = (regex(OPENINGS), regex(WHETHER), regex(ERROR_OPENINGS));
    find(files, |sentence| match sentence {
        Sentence::Literal(words) => first(&text, words),
        Sentence::Doc(words) => {
            let rest = words.strip_prefix("Whether ").unwrap_or(words);
            first(&opening, words).or_else(|| first(&whether, rest))
        }
        Sentence::Plain(words) => first(&opening, words).or_else(|| first(&whether, words)),
    })
}

/// Returns uses of `somebody`, `nobody`, `whoever` and `he` in comments, documents and texts.
pub(crate) fn unnamed_actors(files: &[TextFile]) -> Vec<String> {
    let unnamed = regex(UNNAMED);
    find(files, |sentence| {
        let (Sentence::Literal(words) | Sentence::Doc(words) | Sentence::Plain(words)) = sentence;
        first(&unnamed, words)
    })
}

/// Returns mentions of papers that only the developers have, in the pages for users.
pub(crate) fn internal_papers(files: &[TextFile]) -> Vec<String> {
    let papers = regex(INTERNAL_PAPERS);
    let pages = files.iter().filter(|file| {
        file.path.ends_with(".md") && (file.path.starts_with("docs/") || file.path.ends_with("README.md"))
    });
    let found = pages.flat_map(|file| {
        let lines = file.text.lines().enumerate();
        lines.filter_map(|(number, line)| {
            Some(format!("{}: `{}`", file.at(number + 1), first(&papers, line)?))
        })
    });
    found.collect()
}

/// Words of one line.
enum Sentence<'a> {
    /// The first line of a doc comment's paragraph.
    Doc(&'a str),
    /// Another comment, or a line of a document.
    Plain(&'a str),
    /// A string of three words or more.
    Literal(&'a str),
}

fn find(files: &[TextFile], check: impl Fn(Sentence<'_>) -> Option<String>) -> Vec<String> {
    let marks = regex(r"(?:^|\s)(?:#|//)\s+(.*)");
    let literal = regex(r#""((?:[^"\\]|\\.)*)""#);
    let mut found = Vec::new();
    for file in files {
        let report = |line: usize, words: String| format!("{}: `{words}`", file.at(line));
        if file.path.ends_with(".md") {
            let prose = document_lines(file).into_iter();
            found.extend(prose.filter_map(|(line, text)| Some(report(line, check(Sentence::Plain(&text))?))));
        } else if file.path.ends_with(".rs") && !file.path.starts_with("xtask/src/tidy/prose") {
            for (number, line) in file.text.lines().enumerate() {
                let (code, comment) = split_comment(line);
                if let Some(words) = comment.and_then(|comment| check_comment(comment, &check)) {
                    found.push(report(number + 1, words));
                }
                if !file.is_test() {
                    let texts = literal
                        .captures_iter(code)
                        .filter_map(|text| check(Sentence::Literal(text.get(1)?.as_str())));
                    found.extend(texts.map(|words| report(number + 1, words)));
                }
            }
        } else if COMMENTED.iter().any(|end| file.path.ends_with(end)) {
            let lines = file.text.lines().enumerate();
            found.extend(lines.filter_map(|(number, line)| {
                let words = without_code(marks.captures(line)?.get(1)?.as_str());
                Some(report(number + 1, check(Sentence::Plain(&words))?))
            }));
        }
    }
    found
}

fn check_comment(comment: &str, check: impl Fn(Sentence<'_>) -> Option<String>) -> Option<String> {
    let doc = comment.strip_prefix("///").or_else(|| comment.strip_prefix("//!"));
    let words = without_code(doc.unwrap_or_else(|| comment.trim_start_matches('/')).trim_start());
    check(if doc.is_some() { Sentence::Doc(&words) } else { Sentence::Plain(&words) })
}

/// Code and comment of a line of Rust. A `//` with an odd number of quotes before it stands in a string.
pub(crate) fn split_comment(line: &str) -> (&str, Option<&str>) {
    let mut starts = line.match_indices("//").map(|(at, _)| at);
    let start = starts.find(|at| line[..*at].replace("\\\"", "").matches('"').count().is_multiple_of(2));
    start.map_or((line, None), |at| (&line[..at], Some(&line[at..])))
}

/// Lines of a document outside of code fences; of the changelog only those before its first release.
fn document_lines(file: &TextFile) -> Vec<(usize, String)> {
    let is_changelog = file.path == "CHANGELOG.md";
    let mut is_code = false;
    let mut lines = Vec::new();
    for (number, line) in file.text.lines().enumerate() {
        if is_changelog && line.starts_with("## ") && line != "## Unreleased" {
            break;
        }
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        } else if !is_code {
            lines.push((number + 1, without_code(line)));
        }
    }
    lines
}

/// The line with each span between backticks replaced by a pair of them.
fn without_code(line: &str) -> String {
    line.split('`').enumerate().map(|(part, text)| if part % 2 == 0 { text } else { "``" }).collect()
}

fn first(pattern: &Regex, text: &str) -> Option<String> {
    pattern.find(text).map(|found| text[found.start()..].chars().take(40).collect())
}

#[cfg(test)]
mod tests;
