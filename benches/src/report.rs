//! Tables of figures, as text or Markdown, and the description of the machine.

use std::{fs, process::Command};

use crate::{chart::ChartPanel, result::BenchResult};

/// A target and its measured figure.
#[derive(Debug, Clone)]
pub(crate) struct TargetResult {
    pub(crate) name: &'static str,
    pub(crate) target: &'static str,
    pub(crate) measured: String,
    pub(crate) is_met: bool,
}

/// One table with its notes.
#[derive(Debug, Default)]
pub(crate) struct FigureTable {
    pub(crate) title: String,
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
    pub(crate) note: String,
    /// Wrong counts.
    pub(crate) errors: Vec<String>,
    /// Compared targets.
    pub(crate) targets: Vec<TargetResult>,
    /// Panels of the chart.
    pub(crate) panels: Vec<ChartPanel>,
}

impl FigureTable {
    pub(crate) fn new(title: &str, columns: &[&str], note: &str) -> Self {
        Self {
            title: title.to_owned(),
            columns: columns.iter().map(|column| (*column).to_owned()).collect(),
            note: note.to_owned(),
            ..Self::default()
        }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Adds a row without figures: its first cells, and the reason in the last one.
    pub(crate) fn row_without_figures(&mut self, first: &[&str], reason: String) {
        let mut row: Vec<String> = first.iter().map(|cell| (*cell).to_owned()).collect();
        row.resize(self.columns.len() - 1, "–".to_owned());
        row.push(reason);
        self.rows.push(row);
    }

    /// Compares a figure with a target, if it was measured.
    pub(crate) fn target(
        &mut self,
        name: &'static str,
        target: &'static str,
        measured: Option<f64>,
        is_met: impl Fn(f64) -> bool,
    ) {
        let Some(figure) = measured else { return };
        self.targets.push(TargetResult {
            name,
            target,
            measured: format!("{figure:.2}"),
            is_met: is_met(figure),
        });
    }

    pub(crate) fn print(&self, load_before: &str, is_markdown: bool) -> BenchResult<()> {
        println!("{}{}\n", if is_markdown { "### " } else { "" }, self.title);
        self.print_rows();
        println!("\n{} Load average before {load_before}, after {}.\n", self.note, load()?);
        for error in &self.errors {
            println!("WRONG: {error}\n");
        }
        Ok(())
    }

    fn print_rows(&self) {
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|at| {
                let cells = self.rows.iter().filter_map(|row| row.get(at)).chain([&self.columns[at]]);
                cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
            })
            .collect();
        let rule = widths.iter().map(|width| "-".repeat(*width)).collect();
        for row in [&self.columns, &rule].into_iter().chain(&self.rows) {
            let cells: Vec<String> =
                row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
            println!("| {} |", cells.join(" | "));
        }
    }
}

/// Prints between two marks, which name the place of the figures in the page.
pub(crate) fn in_block(
    is_markdown: bool,
    name: &str,
    print: impl FnOnce() -> BenchResult<()>,
) -> BenchResult<()> {
    if is_markdown {
        println!("<!-- {name} -->\n");
    }
    print()?;
    if is_markdown {
        println!("<!-- end of {name} -->\n");
    }
    Ok(())
}

/// Prints all measured targets.
pub(crate) fn print_targets(targets: &[TargetResult]) {
    let mut table = FigureTable::new("", &["figure", "target", "measured", "reached"], "");
    for row in targets {
        let reached = if row.is_met { "yes" } else { "**no**" };
        table.row([row.name.to_owned(), row.target.to_owned(), row.measured.clone(), reached.to_owned()]);
    }
    table.print_rows();
    println!();
}

/// Prints the command line and the machine.
pub(crate) fn print_machine() -> BenchResult<()> {
    let command = command();
    let processors = fs::read_to_string("/proc/cpuinfo")?;
    let name = processors.lines().find(|line| line.starts_with("model name"));
    let name = name.and_then(|line| line.split_once(": ")).map_or("unknown", |(_, name)| name);
    let cores = processors.lines().filter(|line| line.starts_with("processor")).count();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let kernel = kernel.trim().split('-').next().unwrap_or_default();
    println!("`{command}` on {cores} cores of {name}, Linux {kernel}.\n");
    Ok(())
}

/// Command that repeats this run.
fn command() -> String {
    let arguments = std::env::args().skip(1).collect::<Vec<_>>().join(" ");
    format!("cargo run --release -p benches -- {arguments}")
}

/// Load average of the last 1, 5 and 15 minutes.
pub(crate) fn load() -> BenchResult<String> {
    Ok(fs::read_to_string("/proc/loadavg")?.split(' ').take(3).collect::<Vec<_>>().join(" "))
}

/// Moves this process to the second core; the servers run on the first.
pub(crate) fn pin_to_second_core() -> BenchResult<()> {
    let id = std::process::id().to_string();
    let pinned = Command::new("taskset").args(["-pc", "1", &id]).output()?;
    if !pinned.status.success() {
        return Err("this takes two cores: one for the server, one for the load".into());
    }
    Ok(())
}
