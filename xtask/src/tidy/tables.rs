//! Tables of ARCHITECTURE.md that rules hold the code to.

use super::file::TextFile;

/// Names between backticks in one cell.
pub(crate) type Cell = Vec<String>;

/// Returns the rows of the table whose first heading is `heading`; no row if there is no such table.
pub(crate) fn read(files: &[TextFile], heading: &str) -> Vec<Vec<Cell>> {
    let document = files.iter().find(|file| file.path == "ARCHITECTURE.md");
    let lines = document.map_or("", |file| file.text.as_str()).lines();
    let table = lines.skip_while(|line| !line.starts_with(&format!("| {heading} |")));
    table.skip(2).take_while(|line| line.starts_with('|')).map(cells).collect()
}

fn cells(line: &str) -> Vec<Cell> {
    let cells = line.trim_matches('|').split('|');
    cells.map(|cell| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()).collect()
}
