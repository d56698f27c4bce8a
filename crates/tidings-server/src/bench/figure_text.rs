//! Figures as text.

/// Formats KiB as MiB.
pub(super) fn mebibytes(kib: Option<u64>) -> String {
    kib.map_or_else(|| "unknown".to_owned(), |kib| format!("{:.1} MiB", kib as f64 / 1024.0))
}

/// Formats milliseconds with about three digits.
pub(super) fn milliseconds(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{} ms", grouped(value as u64)),
        value if value >= 10.0 => format!("{value:.1} ms"),
        value => format!("{value:.2} ms"),
    }
}

/// Formats a rate: one decimal below 100, a grouped integer above.
pub(super) fn figure(value: f64) -> String {
    if value < 100.0 { format!("{value:.1}") } else { grouped(value as u64) }
}

/// Formats a number with a comma before every third digit.
pub(super) fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests;
