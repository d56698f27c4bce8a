//! The modules of a crate, which of them each one uses, and circles among them.

use std::collections::{BTreeMap, BTreeSet};

use super::file::TextFile;
use super::source::{self, NamedPath, Place};

/// Returns each file that stands in a circle, with the files of the circle that it uses.
pub(crate) fn circles(files: &[TextFile]) -> Vec<String> {
    let roots = files.iter().filter_map(|file| {
        let folder = file.path.strip_suffix("lib.rs").or_else(|| file.path.strip_suffix("main.rs"))?;
        folder.ends_with("src/").then_some(folder)
    });
    roots
        .collect::<BTreeSet<_>>()
        .into_iter()
        .flat_map(|folder| Crate::read(files, folder).circles())
        .collect()
}

/// The modules of one crate, by their paths below it: the root is the empty path.
pub(crate) struct Crate<'a> {
    pub(crate) modules: BTreeMap<Vec<String>, Module<'a>>,
}

pub(crate) struct Module<'a> {
    pub(crate) file: &'a TextFile,
    pub(crate) paths: Vec<NamedPath>,
    /// The code without `use`, to tell a name that is only given out from one that is used here, too.
    body: String,
}

/// Uses of other modules, each with its first line.
type Uses = BTreeMap<Vec<String>, usize>;

impl<'a> Crate<'a> {
    /// Reads the files in `folder`; tests and programs in `bin` are no part of it.
    pub(crate) fn read(files: &'a [TextFile], folder: &str) -> Self {
        let own = files.iter().filter(|file| file.is_rust_in(folder) && !file.is_test());
        let modules = own.filter(|file| !file.path[folder.len()..].starts_with("bin/")).map(|file| {
            let code = source::shipped(&file.text);
            let module = Module { file, paths: source::paths(&code), body: source::without_uses(&code) };
            (module_of(&file.path[folder.len()..]), module)
        });
        Self { modules: modules.collect() }
    }

    fn circles(&self) -> Vec<String> {
        let uses: BTreeMap<&[String], Uses> =
            self.modules.iter().map(|(name, module)| (name.as_slice(), self.uses(name, module))).collect();
        let reached: BTreeMap<&[String], BTreeSet<&[String]>> =
            uses.keys().map(|module| (*module, reach(module, &uses))).collect();
        let mut found = Vec::new();
        for (module, uses) in uses.iter().filter(|(module, _)| reached[*module].contains(*module)) {
            let is_inner =
                |other: &[String]| reached[module].contains(other) && reached[other].contains(module);
            let circle = self.modules.keys().filter(|other| is_inner(other)).count();
            let inner = uses.iter().filter(|(used, _)| is_inner(used));
            let inner: Vec<String> =
                inner.map(|(used, line)| format!("{} (line {line})", self.modules[used].file.path)).collect();
            let path = &self.modules[*module].file.path;
            found.push(format!("{path}: in a circle of {circle} files; uses {}", inner.join(", ")));
        }
        found
    }

    /// Whether the module in the file `from` uses the one in the file `to`.
    pub(crate) fn file_uses(&self, from: &str, to: &str) -> bool {
        let user = self.modules.iter().find(|(_, module)| module.file.path == from);
        user.is_some_and(|(name, module)| {
            self.uses(name, module).keys().any(|used| self.modules[used].file.path == to)
        })
    }

    fn uses(&self, name: &[String], module: &Module<'_>) -> Uses {
        let mut uses = Uses::new();
        for path in &module.paths {
            // A name that a module only gives out is a use of those modules that take it.
            let is_given_out = matches!(&path.place, Place::Use { name, is_public: true } if !source::has_word(&module.body, name));
            if let Some(used) = self.resolve(name, path).filter(|used| used != name && !is_given_out) {
                uses.entry(used).or_insert(path.line);
            }
        }
        uses
    }

    /// The module that defines what `path` leads to from `module`; nothing for other crates.
    pub(crate) fn resolve(&self, module: &[String], path: &NamedPath) -> Option<Vec<String>> {
        self.resolve_at(module, path, 0)
    }

    fn resolve_at(&self, module: &[String], path: &NamedPath, depth: usize) -> Option<Vec<String>> {
        let mut place = module.to_vec();
        // A module within the file has the same place as the file.
        let inner = path.segments.iter().take(path.depth).take_while(|segment| *segment == "super").count();
        let mut rest = path.segments[inner..].iter();
        let first = rest.next()?;
        match first.as_str() {
            "crate" => place.clear(),
            "self" => {}
            "super" => drop(place.pop()),
            child => {
                place.push(child.to_owned());
                if !self.modules.contains_key(&place) {
                    return None;
                }
            }
        }
        for segment in rest {
            if segment == "super" {
                place.pop();
                continue;
            }
            place.push(segment.clone());
            if self.modules.contains_key(&place) {
                continue;
            }
            place.pop();
            // The name may have been brought in from elsewhere.
            let imported = self.modules.get(&place)?.paths.iter().find(
                |other| matches!(&other.place, Place::Use { name, .. } if name == segment && other.segments != path.segments),
            );
            let through =
                imported.filter(|_| depth < 8).and_then(|other| self.resolve_at(&place, other, depth + 1));
            return Some(through.unwrap_or(place));
        }
        Some(place)
    }
}

/// The modules that `start` uses, and those that these use, and so on.
fn reach<'a>(start: &[String], uses: &'a BTreeMap<&[String], Uses>) -> BTreeSet<&'a [String]> {
    let mut reached = BTreeSet::new();
    let mut open = vec![start];
    while let Some(module) = open.pop() {
        for used in uses[module].keys() {
            if reached.insert(used.as_slice()) {
                open.push(used);
            }
        }
    }
    reached
}

/// The path of the module in a file: `log/ring.rs` is `log::ring`, `lib.rs` is the root.
fn module_of(path: &str) -> Vec<String> {
    let path = path.trim_end_matches(".rs");
    let mut module: Vec<String> = path.split('/').map(str::to_owned).collect();
    if matches!(path, "lib" | "main") {
        module.clear();
    }
    module
}

#[cfg(test)]
mod tests;
