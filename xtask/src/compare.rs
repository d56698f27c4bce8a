//! `cargo xtask compare`: measures the hub beside other servers and puts the figures into `docs/benchmarks.md`.

use std::fs::{self, File};

use crate::install;
use crate::process::{self, MINUTES};
use crate::tally::Tally;
use crate::workspace::{Result, Workspace};

/// The page, whose text between the figures is written by hand.
const PAGE: &str = "docs/benchmarks.md";
const CHART: &str = "docs/benchmarks.svg";
/// Block of figures that is whole only if every part was measured.
const SUMMARY: &str = "targets";

/// Arguments of the command line.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Choice {
    /// Parts of the benches; all if the list is empty.
    parts: Vec<String>,
    /// Arguments that the benches get.
    passed_on: Vec<String>,
}

impl Choice {
    /// Reads `--parts a,b`, and passes everything else on.
    ///
    /// # Errors
    /// `--parts` has no names.
    pub(crate) fn read(words: &[&str]) -> Result<Self> {
        let mut choice = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            if *word == "--parts" {
                let parts = words.next().ok_or("--parts takes names, as in `--parts fanout,memory`")?;
                choice.parts.extend(parts.split(',').map(str::to_owned));
            } else {
                choice.passed_on.push((*word).to_owned());
            }
        }
        Ok(choice)
    }
}

/// Installs and builds the servers, measures them, and writes the figures, also those of a run with a wrong count.
pub(crate) fn run(workspace: &Workspace, tally: &mut Tally, choice: &Choice) -> Result<()> {
    install::compared(workspace, tally);
    let packages = ["--package", "tidings-server", "--package", "benches"];
    let mut build = workspace.cargo(&["build", "--locked", "--release"]);
    build.args(packages);
    if !process::prepare(tally, "build --release", build, MINUTES * 30) {
        return Ok(());
    }
    let program = workspace.target.join("release").join("benches");
    let output = workspace.target.join("compare.md");
    let file = File::create(&output).map_err(|error| format!("{}: {error}", output.display()))?;
    let mut command = workspace.command(&program.to_string_lossy());
    command.args(&choice.parts).arg("--markdown");
    if choice.parts.is_empty() {
        command.args(["--chart", CHART]);
    }
    command.args(&choice.passed_on).stdout(file);
    process::check(tally, "compare", command, MINUTES * 60);
    let figures = fs::read_to_string(&output).map_err(|error| format!("{}: {error}", output.display()))?;
    write(workspace, choice, &figures)
}

fn write(workspace: &Workspace, choice: &Choice, figures: &str) -> Result<()> {
    let path = workspace.root.join(PAGE);
    let mut page = fs::read_to_string(&path).map_err(|error| format!("{PAGE}: {error}"))?;
    for block in blocks(figures) {
        if block.name != SUMMARY || choice.parts.is_empty() {
            page = block.put_into(&page)?;
            println!("  {PAGE}: {}", block.name);
        }
    }
    fs::write(&path, page).map_err(|error| format!("{PAGE} cannot be written: {error}"))
}

/// Figures between marks.
#[derive(Debug, PartialEq, Eq)]
struct Block<'a> {
    name: &'a str,
    /// With both marks.
    text: &'a str,
}

/// All whole blocks; a run that broke off may leave the beginning of one.
fn blocks(figures: &str) -> Vec<Block<'_>> {
    let mut found = Vec::new();
    let mut rest = figures;
    while let Some(at) = rest.find("<!-- ") {
        rest = &rest[at..];
        let Some(name) = rest["<!-- ".len()..].split_once(" -->").map(|(name, _)| name) else { break };
        let end = end_mark(name);
        let Some(length) = rest.find(&end).map(|at| at + end.len()) else { break };
        found.push(Block { name, text: &rest[..length] });
        rest = &rest[length..];
    }
    found
}

impl Block<'_> {
    /// The page with this in the place that has its marks.
    fn put_into(&self, page: &str) -> Result<String> {
        let (begin, end) = (format!("<!-- {} -->", self.name), end_mark(self.name));
        let place =
            page.split_once(&begin).and_then(|(before, rest)| Some((before, rest.split_once(&end)?.1)));
        let (before, after) = place
            .ok_or_else(|| format!("{PAGE} has no place for these figures; give it `{begin}` and `{end}`"))?;
        Ok(format!("{before}{}{after}", self.text))
    }
}

fn end_mark(name: &str) -> String {
    format!("<!-- end of {name} -->")
}

#[cfg(test)]
mod tests;
