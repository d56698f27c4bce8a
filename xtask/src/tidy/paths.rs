//! Finds the paths in Rust tokens: `use` trees taken apart, and paths in the midst of code.

use super::tokens::Token;

/// One path such as `crate::log::Entry`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct UsePath {
    pub(crate) segments: Vec<String>,
    /// The name after `as`.
    pub(crate) alias: Option<String>,
    pub(crate) line: usize,
    /// The modules within the file that it stands in, outermost first.
    pub(crate) modules: Vec<String>,
}

impl UsePath {
    /// The name by which code here calls what the path leads to.
    pub(crate) fn name(&self) -> Option<&str> {
        let last = self.segments.last().map(String::as_str);
        // `use log::{self}` brings in `log`.
        let last =
            if last == Some("self") { self.segments.iter().rev().nth(1).map(String::as_str) } else { last };
        self.alias.as_deref().or(last)
    }

    /// Whether the path goes through `first::second` anywhere.
    pub(crate) fn has(&self, first: &str, second: &str) -> bool {
        self.segments.windows(2).any(|pair| pair[0] == first && pair[1] == second)
    }
}

/// All paths of two or more segments, and all names after `use`.
pub(crate) fn paths(tokens: &[Token]) -> Vec<UsePath> {
    let mut finder = Finder { tokens, at: 0, modules: Vec::new(), depth: 0, found: Vec::new() };
    while finder.at < tokens.len() {
        finder.step();
    }
    finder.found
}

struct Finder<'a> {
    tokens: &'a [Token],
    at: usize,
    /// Open modules with the depth of braces that they stand at.
    modules: Vec<(String, usize)>,
    depth: usize,
    found: Vec<UsePath>,
}

impl Finder<'_> {
    fn step(&mut self) {
        let is = |place: usize, text: &str| self.tokens.get(place).is_some_and(|token| token.is(text));
        if is(self.at, "mod") && is(self.at + 2, "{") {
            self.modules.push((self.tokens[self.at + 1].text.clone(), self.depth));
            self.depth += 1;
            self.at += 3;
        } else if is(self.at, "{") {
            self.depth += 1;
            self.at += 1;
        } else if is(self.at, "}") {
            self.depth = self.depth.saturating_sub(1);
            let depth = self.depth;
            self.modules.retain(|(_, at)| *at < depth);
            self.at += 1;
        } else if is(self.at, "use") {
            self.at += 1;
        } else if self.tokens[self.at].is_word() && (is(self.at + 1, "::") || self.is_after_use()) {
            self.tree(&[]);
        } else {
            self.at += 1;
        }
    }

    /// Whether the word here is the first of a `use`, with or without a leading `::`.
    fn is_after_use(&self) -> bool {
        let before = self.tokens[..self.at].iter().rev().find(|token| !token.is("::"));
        before.is_some_and(|token| token.is("use"))
    }

    /// Takes apart the path here, which continues `prefix`, and goes behind it.
    fn tree(&mut self, prefix: &[String]) {
        let mut segments = prefix.to_vec();
        loop {
            let Some(token) = self.tokens.get(self.at) else { return };
            if token.is("{") {
                return self.group(&segments);
            }
            let line = token.line;
            if !token.is_word() && !token.is("*") {
                // A type parameter follows, as in `Vec::<u8>::new`: what was read is the path.
                return self.push(segments, None, line);
            }
            segments.push(token.text.clone());
            self.at += 1;
            if self.tokens.get(self.at).is_some_and(|token| token.is("::")) {
                self.at += 1;
                continue;
            }
            let alias = self.alias();
            return self.push(segments, alias, line);
        }
    }

    /// Takes apart `{a, b::c}` after `prefix`.
    fn group(&mut self, prefix: &[String]) {
        self.at += 1;
        while let Some(token) = self.tokens.get(self.at) {
            if token.is("}") {
                self.at += 1;
                return;
            }
            if token.is_word() || token.is("*") || token.is("{") {
                self.tree(prefix);
            } else {
                self.at += 1;
            }
        }
    }

    fn alias(&mut self) -> Option<String> {
        let is_alias = self.tokens.get(self.at).is_some_and(|token| token.is("as"));
        let name = self.tokens.get(self.at + 1).filter(|token| is_alias && token.is_word())?;
        self.at += 2;
        Some(name.text.clone())
    }

    fn push(&mut self, segments: Vec<String>, alias: Option<String>, line: usize) {
        let modules = self.modules.iter().map(|(name, _)| name.clone()).collect();
        self.found.push(UsePath { segments, alias, line, modules });
    }
}

#[cfg(test)]
mod tests;
