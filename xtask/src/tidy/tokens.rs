//! Cuts Rust source into words and signs, without comments and without what strings contain.

/// A word, number, sign, or placeholder of a literal, and its line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    /// `::` is one token; other signs are one character each; a string is `""`, a character `''`.
    pub(crate) text: String,
    /// From 1.
    pub(crate) line: usize,
}

impl Token {
    pub(crate) fn is(&self, text: &str) -> bool {
        self.text == text
    }

    /// Whether this is a name or keyword.
    pub(crate) fn is_word(&self) -> bool {
        self.text.starts_with(|first: char| first.is_alphabetic() || first == '_')
    }
}

/// All tokens of `source`.
pub(crate) fn tokens(source: &str) -> Vec<Token> {
    let mut cutter = Cutter { characters: source.chars().collect(), at: 0, line: 1, tokens: Vec::new() };
    while cutter.at < cutter.characters.len() {
        cutter.step();
    }
    cutter.tokens
}

/// The tokens without items under `#[cfg(test)]`.
pub(crate) fn without_tests(tokens: &[Token]) -> Vec<Token> {
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if is_test_attribute(&tokens[at..]) {
            at = end_of_item(tokens, end_of_attributes(tokens, at));
        } else {
            kept.push(tokens[at].clone());
            at += 1;
        }
    }
    kept
}

/// Whether `#[cfg(test)]` or `#[cfg(all(test, …))]` begins here. `not(test)` is code that ships.
fn is_test_attribute(tokens: &[Token]) -> bool {
    let begins = |words: &[&str]| {
        tokens.len() >= words.len() && words.iter().zip(tokens).all(|(word, token)| token.is(word))
    };
    begins(&["#", "[", "cfg", "(", "test", ")"]) || begins(&["#", "[", "cfg", "(", "all", "(", "test"])
}

fn end_of_attributes(tokens: &[Token], mut at: usize) -> usize {
    while tokens.get(at).is_some_and(|token| token.is("#"))
        && tokens.get(at + 1).is_some_and(|token| token.is("["))
    {
        at = end_of_brackets(tokens, at + 1);
    }
    at
}

/// The place after the bracket that closes the one at `at`.
fn end_of_brackets(tokens: &[Token], at: usize) -> usize {
    let mut depth = 0_usize;
    for (place, token) in tokens.iter().enumerate().skip(at) {
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return place + 1;
                }
            }
            _ => {}
        }
    }
    tokens.len()
}

/// The place after the item, field or match arm that begins at `at`.
fn end_of_item(tokens: &[Token], mut at: usize) -> usize {
    const ITEMS: &[&str] = &[
        "pub", "fn", "mod", "impl", "struct", "enum", "trait", "async", "const", "static", "unsafe", "type",
    ];
    let begins_with = |word: &str| tokens.get(at).is_some_and(|token| token.is(word));
    // A field ends at its comma; in an item a comma can stand between type parameters.
    let comma_ends = !ITEMS.iter().any(|word| begins_with(word));
    let mut is_use = false;
    while let Some(token) = tokens.get(at) {
        match token.text.as_str() {
            "use" => is_use = true,
            ";" => return at + 1,
            "," if comma_ends => return at + 1,
            "{" if !is_use => return end_of_brackets(tokens, at),
            "(" | "[" | "{" => {
                at = end_of_brackets(tokens, at);
                continue;
            }
            ")" | "]" | "}" => return at,
            _ => {}
        }
        at += 1;
    }
    at
}

struct Cutter {
    characters: Vec<char>,
    at: usize,
    line: usize,
    tokens: Vec<Token>,
}

impl Cutter {
    fn step(&mut self) {
        let Some(first) = self.peek(0) else { return };
        match (first, self.peek(1)) {
            ('/', Some('/')) => self.skip_until(|cutter| cutter.peek(0) == Some('\n')),
            ('/', Some('*')) => self.skip_block_comment(),
            ('"', _) => self.string(),
            ('\'', _) => self.quote(),
            (':', Some(':')) => self.push("::".to_owned(), 2),
            (first, _) if first.is_whitespace() => self.advance(),
            (first, _) if first.is_alphanumeric() || first == '_' => self.word(),
            (first, _) => self.push(first.to_string(), 1),
        }
    }

    fn peek(&self, ahead: usize) -> Option<char> {
        self.characters.get(self.at + ahead).copied()
    }

    fn advance(&mut self) {
        if self.peek(0) == Some('\n') {
            self.line += 1;
        }
        self.at += 1;
    }

    fn push(&mut self, text: String, length: usize) {
        self.tokens.push(Token { text, line: self.line });
        self.at += length;
    }

    fn skip_until(&mut self, is_end: impl Fn(&Self) -> bool) {
        while self.at < self.characters.len() && !is_end(self) {
            self.advance();
        }
    }

    /// Block comments nest.
    fn skip_block_comment(&mut self) {
        let mut depth = 0_usize;
        while self.at < self.characters.len() {
            match (self.peek(0), self.peek(1)) {
                (Some('/'), Some('*')) => {
                    depth += 1;
                    self.at += 2;
                }
                (Some('*'), Some('/')) => {
                    depth -= 1;
                    self.at += 2;
                    if depth == 0 {
                        return;
                    }
                }
                _ => self.advance(),
            }
        }
    }

    fn word(&mut self) {
        let start = self.at;
        let length = self.characters[start..]
            .iter()
            .take_while(|character| character.is_alphanumeric() || **character == '_')
            .count();
        let word: String = self.characters[start..start + length].iter().collect();
        let raw_marks = self.characters[start + length..].iter().take_while(|mark| **mark == '#').count();
        let after_marks = self.peek(length + raw_marks);
        match word.as_str() {
            "r" | "br" | "cr" if after_marks == Some('"') => {
                self.at += length + raw_marks;
                self.raw_string(raw_marks);
            }
            "b" | "c" if self.peek(length) == Some('"') => {
                self.at += length;
                self.string();
            }
            "b" if self.peek(length) == Some('\'') => {
                self.at += length;
                self.quote();
            }
            // `r#type` is the word `type`.
            "r" if raw_marks == 1 => self.at += length + 1,
            _ => self.push(word, length),
        }
    }

    fn string(&mut self) {
        self.push("\"\"".to_owned(), 1);
        while let Some(character) = self.peek(0) {
            if character == '\\' {
                self.advance();
            }
            self.advance();
            if character == '"' {
                return;
            }
        }
    }

    fn raw_string(&mut self, marks: usize) {
        self.push("\"\"".to_owned(), 1);
        let is_end = |cutter: &Self| {
            cutter.peek(0) == Some('"') && (1..=marks).all(|mark| cutter.peek(mark) == Some('#'))
        };
        self.skip_until(is_end);
        self.at += 1 + marks;
    }

    /// A character such as `'a'` or `'\n'`, or a lifetime such as `'a`, which no rule looks at.
    fn quote(&mut self) {
        let is_character = self.peek(1) == Some('\\') || self.peek(2) == Some('\'');
        if !is_character {
            self.at += 1;
            self.skip_until(|cutter| {
                !cutter.peek(0).is_some_and(|next| next.is_alphanumeric() || next == '_')
            });
            return;
        }
        self.push("''".to_owned(), 1);
        if self.peek(0) == Some('\\') {
            self.at += 1;
        }
        self.advance();
        self.skip_until(|cutter| cutter.peek(0) == Some('\''));
        self.at += 1;
    }
}

#[cfg(test)]
mod tests;
