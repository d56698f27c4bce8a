//! Tables of figures, as text or Markdown, and the description of the machine.

use std::fs;

use crate::{chart::ChartPanel, numbers::figure_text, result::BenchResult};

/// A target and its measured figure.
#[derive(Debug)]
pub(crate) struct TargetResult {
    name: &'static str,
    target: String,
    measured: f64,
    is_met: bool,
}

/// One table with its notes.
#[derive(Debug, Default)]
pub(crate) struct FigureTable {
    title: String,
    pub(crate) columns: &'static [&'static str],
    rows: Vec<Vec<String>>,
    note: String,
    /// Wrong counts.
    pub(crate) errors: Vec<String>,
    pub(crate) targets: Vec<TargetResult>,
    pub(crate) panels: Vec<ChartPanel>,
}

impl FigureTable {
    pub(crate) fn new(
        title: impl Into<String>,
        columns: &'static [&'static str],
        note: impl Into<String>,
    ) -> Self {
        Self { title: title.into(), columns, note: note.into(), ..Self::default() }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Compares a figure with its upper bound, if it was measured.
    pub(crate) fn at_most(&mut self, name: &'static str, bound: f64, measured: Option<f64>) {
        self.targets.extend(measured.map(|measured| TargetResult {
            name,
            target: format!("≤ {bound}"),
            measured,
            is_met: measured <= bound,
        }));
    }

    /// Compares a figure with its lower bound, if it was measured.
    pub(crate) fn at_least(&mut self, name: &'static str, bound: f64, measured: Option<f64>) {
        self.targets.extend(measured.map(|measured| TargetResult {
            name,
            target: format!("≥ {bound}"),
            measured,
            is_met: measured >= bound,
        }));
    }

    pub(crate) fn print(&self, load_before: &str, is_markdown: bool) -> BenchResult<()> {
        println!("{}{}\n", if is_markdown { "### " } else { "" }, self.title);
        self.print_rows();
        println!("\n{} Load average before {load_before}, after {}.\n", self.note, load_average()?);
        for error in &self.errors {
            println!("WRONG: {error}\n");
        }
        Ok(())
    }

    fn print_rows(&self) {
        let columns: Vec<String> = self.columns.iter().map(|column| (*column).to_owned()).collect();
        let widths = columns.iter().enumerate().map(|(at, column)| {
            let cells = self.rows.iter().filter_map(|row| row.get(at)).chain([column]);
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        });
        let widths: Vec<usize> = widths.collect();
        let rule = widths.iter().map(|width| "-".repeat(*width)).collect();
        for row in [&columns, &rule].into_iter().chain(&self.rows) {
            let cells: Vec<String> =
                row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
            println!("| {} |", cells.join(" | "));
        }
    }
}

/// Prints the machine and then the figures, in Markdown between two marks, which name their place in the page.
pub(crate) fn in_block(
    is_markdown: bool,
    name: &str,
    print: impl FnOnce() -> BenchResult<()>,
) -> BenchResult<()> {
    if is_markdown {
        println!("<!-- {name} -->\n");
    }
    print_machine()?;
    print()?;
    if is_markdown {
        println!("<!-- end of {name} -->\n");
    }
    Ok(())
}

pub(crate) fn print_targets(targets: &[TargetResult]) {
    let mut table = FigureTable::new("", &["figure", "target", "measured", "reached"], "");
    for TargetResult { name, target, measured, is_met } in targets {
        let reached = if *is_met { "yes" } else { "**no**" };
        table.row([(*name).to_owned(), target.clone(), figure_text(*measured), reached.to_owned()]);
    }
    table.print_rows();
    println!();
}

/// Prints the command line and the machine.
fn print_machine() -> BenchResult<()> {
    let arguments = std::env::args().skip(1).collect::<Vec<_>>().join(" ");
    let processors = fs::read_to_string("/proc/cpuinfo")?;
    let name = processors.lines().find(|line| line.starts_with("model name"));
    let name = name.and_then(|line| line.split_once(": ")).map_or("unknown", |(_, name)| name);
    let cores = processors.lines().filter(|line| line.starts_with("processor")).count();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let kernel = kernel.trim().split('-').next().unwrap_or_default();
    println!("`cargo run --release -p benches -- {arguments}` on {cores} cores of {name}, Linux {kernel}.\n");
    Ok(())
}

/// Load average of the last 1, 5 and 15 minutes.
pub(crate) fn load_average() -> BenchResult<String> {
    Ok(fs::read_to_string("/proc/loadavg")?.split(' ').take(3).collect::<Vec<_>>().join(" "))
}
