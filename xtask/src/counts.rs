//! Reads the closing lines of test runners.

/// Test runner whose lines a command prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Runner {
    /// `cargo test`: one line for each test binary.
    Cargo,
    /// Node's test runner, in its TAP or its spec form.
    Node,
    /// Our own checker.
    Checker,
}

/// Sums of a runner's lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
}

impl Counts {
    /// Adds the counts of `line` if it is a closing line of the runner.
    pub(crate) fn read(&mut self, runner: Runner, line: &str) {
        let line = without_colours(line);
        match runner {
            Runner::Cargo => self.read_cargo(&line),
            Runner::Node => self.read_node(&line),
            Runner::Checker => self.read_checker(&line),
        }
    }

    /// `test result: ok. 3 passed; 0 failed; 1 ignored; …`
    fn read_cargo(&mut self, line: &str) {
        let Some(result) = line.strip_prefix("test result: ") else { return };
        let counts = result.split_once(". ").map_or("", |(_, counts)| counts);
        for part in counts.split("; ") {
            match part.split_once(' ') {
                Some((number, "passed")) => self.passed += number.parse().unwrap_or(0),
                Some((number, "failed")) => self.failed += number.parse().unwrap_or(0),
                _ => {}
            }
        }
    }

    /// `# pass 3` or `ℹ pass 3`; a cancelled test has not passed.
    fn read_node(&mut self, line: &str) {
        let Some(rest) = line.strip_prefix("# ").or_else(|| line.strip_prefix("ℹ ")) else { return };
        let Some((word, number)) = rest.split_once(' ') else { return };
        let Ok(number) = number.trim().parse::<u64>() else { return };
        match word {
            "pass" => self.passed += number,
            "fail" | "cancelled" => self.failed += number,
            _ => {}
        }
    }

    /// `checker: 12 passed, 0 failed`
    fn read_checker(&mut self, line: &str) {
        let Some((passed, failed)) = line.strip_prefix("checker: ").and_then(|rest| rest.split_once(", "))
        else {
            return;
        };
        if let (Some(passed), Some(failed)) =
            (number_before(passed, " passed"), number_before(failed, " failed"))
        {
            self.passed += passed;
            self.failed += failed;
        }
    }
}

fn number_before(text: &str, word: &str) -> Option<u64> {
    text.trim_end().strip_suffix(word)?.parse().ok()
}

/// The line without the escape sequences that colour it on a terminal, and without its line end.
fn without_colours(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut characters = line.trim_end().chars();
    while let Some(character) = characters.next() {
        if character == '\u{1b}' {
            // A colour is `ESC [ numbers m`.
            for rest in characters.by_ref() {
                if rest.is_ascii_alphabetic() {
                    break;
                }
            }
        } else {
            plain.push(character);
        }
    }
    plain
}

#[cfg(test)]
mod tests;
