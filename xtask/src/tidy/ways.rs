//! The ways of ARCHITECTURE.md: each file exists, a file before it leads to it, and the bounded ways are short.

use std::collections::{BTreeMap, BTreeSet};

use super::file::{TextFile, regex};
use super::modules::Crate;
use super::source;

/// The crate whose files are named without a prefix.
const CRATE: &str = "crates/tidings/src/";
/// Ways whose number of files is bounded, as ARCHITECTURE.md says.
const BOUNDS: &[(&str, usize)] = &[("publish", 30), ("revocation", 18)];
/// Files that may define a name that leads from one file to another. A name of more files is a common word.
const DEFINERS_MAX: usize = 3;

/// A way: the files that a request passes, in order.
struct Way<'a> {
    name: &'a str,
    steps: Vec<Step<'a>>,
}

struct Step<'a> {
    path: &'a str,
    /// A queue, a waker or a trait object leads to this file.
    is_handover: bool,
}

/// Returns each file that does not exist or that no file before it leads to, and each way that is too long.
pub(crate) fn check(files: &[TextFile]) -> Vec<String> {
    let document = files.iter().find(|file| file.path == "ARCHITECTURE.md");
    let ways = read(document.map_or("", |file| file.text.as_str()));
    let links = Links::read(files);
    let missing = BOUNDS.iter().filter(|(name, _)| ways.iter().all(|way| way.name != *name));
    let mut faults: Vec<String> =
        missing.map(|(name, _)| format!("ARCHITECTURE.md has no way `{name}`")).collect();
    for way in &ways {
        check_way(way, &links, &mut faults);
    }
    faults
}

fn check_way(way: &Way<'_>, links: &Links<'_>, faults: &mut Vec<String>) {
    let name = way.name;
    let mut passed: Vec<&TextFile> = Vec::new();
    for Step { path, is_handover } in &way.steps {
        let Some(file) = links.find(path) else {
            faults.push(format!("way `{name}`: there is no file `{path}`"));
            continue;
        };
        let leads =
            |earlier: &&TextFile| links.lead(earlier, file) || *is_handover && links.hand_over(earlier, file);
        if !passed.is_empty() && !passed.iter().any(leads) {
            faults.push(format!("way `{name}`: no file before `{path}` leads to it"));
        }
        if passed.iter().all(|earlier| earlier.path != file.path) {
            passed.push(file);
        }
    }
    let count = passed.len();
    let bound = BOUNDS.iter().find(|(bounded, files_max)| *bounded == name && count > *files_max);
    faults.extend(
        bound.map(|(_, files_max)| format!("way `{name}` has {count} files; the limit is {files_max}")),
    );
}

/// Reads the first code block below `## Ways`: a line `name: file → file ⇢ file` for each way, which indented lines continue.
fn read(document: &str) -> Vec<Way<'_>> {
    let section = document.lines().skip_while(|line| *line != "## Ways");
    let block = section.skip_while(|line| !line.starts_with("```")).skip(1);
    let mut ways: Vec<Way<'_>> = Vec::new();
    let mut is_handover = false;
    for line in block.take_while(|line| !line.starts_with("```")) {
        let start = line.split_once(':').filter(|_| !line.starts_with(' '));
        if let Some((name, _)) = start {
            ways.push(Way { name, steps: Vec::new() });
        }
        let Some(way) = ways.last_mut() else { continue };
        for word in start.map_or(line, |(_, rest)| rest).split_whitespace() {
            match word {
                "→" => is_handover = false,
                "⇢" => is_handover = true,
                path => way.steps.push(Step { path, is_handover }),
            }
        }
    }
    ways
}

/// Files and names that lead from one file to another.
struct Links<'a> {
    files: BTreeMap<&'a str, &'a TextFile>,
    /// Shipped code by path.
    code: BTreeMap<&'a str, String>,
    /// Names of types and constants, and those of functions as a call begins, by the files that define them.
    definers: BTreeMap<String, BTreeSet<&'a str>>,
    traits: BTreeSet<String>,
    modules: Crate<'a>,
}

impl<'a> Links<'a> {
    fn read(files: &'a [TextFile]) -> Self {
        let sources = files.iter().filter(|file| file.is_rust_in("crates/") && !file.is_test());
        let files_by_path: BTreeMap<&str, &TextFile> =
            sources.map(|file| (file.path.as_str(), file)).collect();
        let code: BTreeMap<&str, String> =
            files_by_path.iter().map(|(path, file)| (*path, source::shipped(&file.text))).collect();
        let mut definers: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
        let definition = regex(r"\b(fn|struct|enum|trait|type|const|static) (\w{4,})");
        for (path, code) in &code {
            for found in definition.captures_iter(code) {
                let call = if &found[1] == "fn" { "(" } else { "" };
                definers.entry(format!("{}{call}", &found[2])).or_default().insert(path);
            }
        }
        let trait_definition = regex(r"\btrait (\w+)");
        let traits = code.values().flat_map(|code| trait_definition.captures_iter(code));
        let traits = traits.map(|found| found[1].to_owned()).collect();
        definers.retain(|_, paths| paths.len() <= DEFINERS_MAX);
        Self { files: files_by_path, code, definers, traits, modules: Crate::read(files, CRATE) }
    }

    /// Finds `a/b` in the crate `tidings`, or else in the crate `a`.
    fn find(&self, path: &str) -> Option<&'a TextFile> {
        let of_crate = path.split_once('/').map(|(name, rest)| format!("crates/{name}/src/{rest}.rs"));
        let places = [Some(format!("{CRATE}{path}.rs")), of_crate, Some(format!("crates/{path}/src/lib.rs"))];
        places.into_iter().flatten().find_map(|place| self.files.get(place.as_str()).copied())
    }

    /// Whether `to` uses `from`, or both name one trait.
    fn hand_over(&self, from: &TextFile, to: &TextFile) -> bool {
        let name_it = |name: &String| {
            [from, to].iter().all(|file| source::has_word(&self.code[file.path.as_str()], name))
        };
        self.lead(to, from) || self.traits.iter().any(name_it)
    }

    /// Whether `from` uses the module `to`, calls one of its functions, or names one of its types or constants.
    fn lead(&self, from: &TextFile, to: &TextFile) -> bool {
        let (from, to) = (from.path.as_str(), to.path.as_str());
        let is_named = |(name, paths): (&String, &BTreeSet<&str>)| {
            let code = &self.code[from];
            let word = name.trim_end_matches('(');
            paths.contains(to) && !paths.contains(from) && code.contains(name) && source::has_word(code, word)
        };
        self.modules.file_uses(from, to) || self.definers.iter().any(is_named)
    }
}

#[cfg(test)]
mod tests;
