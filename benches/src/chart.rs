//! A chart of horizontal bars as SVG, readable on light and dark pages.

use std::fmt::Write;

use crate::numbers::short;

/// Bars of one figure.
#[derive(Debug, Clone)]
pub(crate) struct ChartPanel {
    pub(crate) title: String,
    /// Names and values, from top to bottom.
    pub(crate) bars: Vec<(String, f64)>,
    /// Suffix of every value.
    pub(crate) unit: &'static str,
    /// Value of a vertical line.
    pub(crate) reference: Option<f64>,
}

const WIDTH: f64 = 720.0;
const MARGIN: f64 = 16.0;
const NAME_WIDTH: f64 = 150.0;
/// Space for the value of the longest bar.
const VALUE_WIDTH: f64 = 84.0;
const TITLE_HEIGHT: f64 = 30.0;
const BAR_PITCH: f64 = 21.0;
const BAR_HEIGHT: f64 = 14.0;
const PANEL_GAP: f64 = 22.0;

/// Greys and a blue with contrast on white and on black.
const STYLE: &str = "text{font:13px system-ui,sans-serif;fill:#57606a}.title{font-weight:600;fill:#24292f}\
    .bar{fill:#8c959f}.own{fill:#0969da}.value{paint-order:stroke;stroke:#fff;stroke-width:4px}.line{stroke:#cf222e;stroke-width:1.5;stroke-dasharray:3 3}\
    @media(prefers-color-scheme:dark){.paper{fill:#0d1117}text{fill:#9ea7b3}.title{fill:#e6edf3}\
    .bar{fill:#6e7681}.own{fill:#4493f8}.value{stroke:#0d1117}.line{stroke:#ff7b72}}";

/// Draws panels in a column, without empty ones.
pub(crate) fn draw(panels: &[ChartPanel]) -> String {
    let panels: Vec<&ChartPanel> = panels.iter().filter(|panel| !panel.bars.is_empty()).collect();
    let height: f64 = MARGIN + panels.iter().map(|panel| panel_height(panel)).sum::<f64>();
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
         height=\"{height}\" role=\"img\" aria-label=\"Figures of Tidings beside other servers\">\n\
         <style>{STYLE}</style>\n\
         <rect class=\"paper\" width=\"{WIDTH}\" height=\"{height}\" rx=\"6\" fill=\"#ffffff\"/>\n"
    );
    let mut top = MARGIN;
    for panel in panels {
        draw_panel(&mut svg, panel, top);
        top += panel_height(panel);
    }
    svg += "</svg>\n";
    svg
}

fn panel_height(panel: &ChartPanel) -> f64 {
    TITLE_HEIGHT + BAR_PITCH * panel.bars.len() as f64 + PANEL_GAP
}

fn draw_panel(svg: &mut String, panel: &ChartPanel, top: f64) {
    let left = MARGIN + NAME_WIDTH;
    let longest = panel.bars.iter().map(|(_, value)| *value).chain(panel.reference).fold(0.0, f64::max);
    let scale = (WIDTH - left - VALUE_WIDTH) / longest.max(f64::MIN_POSITIVE);
    let text = |svg: &mut String, class: &str, x: f64, y: f64, anchor: &str, text: &str| {
        let text = escaped(text);
        let _ = writeln!(
            svg,
            "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"
        );
    };
    text(svg, "title", MARGIN, top + 15.0, "start", &panel.title);
    let bars_top = top + TITLE_HEIGHT;
    if let Some(reference) = panel.reference {
        let (x, bottom) = (left + reference * scale, bars_top + BAR_PITCH * panel.bars.len() as f64);
        let _ = writeln!(
            svg,
            "<line class=\"line\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{:.1}\" y2=\"{bottom:.1}\"/>",
            bars_top - 4.0
        );
    }
    for (at, (name, value)) in panel.bars.iter().enumerate() {
        let y = bars_top + BAR_PITCH * at as f64;
        let (width, base) = ((value * scale).max(1.0), y + BAR_HEIGHT - 3.0);
        let class = if name.starts_with("tidings") { "own" } else { "bar" };
        text(svg, "name", left - 8.0, base, "end", &name.replace('`', ""));
        let _ = writeln!(
            svg,
            "<rect class=\"{class}\" x=\"{left:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{BAR_HEIGHT}\" rx=\"2\"/>"
        );
        text(svg, "value", left + width + 6.0, base, "start", &format!("{}{}", short(*value), panel.unit));
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests;
