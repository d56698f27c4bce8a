//! Checks the patterns of `--subscribe` and `--publish`.

use tidings::config::bounds::pattern_fault;

/// Returns the first error of the patterns, with the flag that has it.
pub(crate) fn check_patterns(subscribe: &[String], publish: &[String]) -> Result<(), String> {
    for (flag, patterns) in [("--subscribe", subscribe), ("--publish", publish)] {
        if let Some(error) = patterns.iter().find_map(|pattern| pattern_fault(pattern, false)) {
            return Err(format!("{flag} {error}"));
        }
    }
    Ok(())
}
