use super::*;

fn phase(name: &'static str, violations: Vec<Violation>) -> PhaseReport {
    PhaseReport { name, counters: Arc::default(), violations }
}

#[test]
fn each_phase_and_property_counts_once() {
    let lost = || Violation::new(ViolationKind::Lost, "event p0n1");
    let report =
        CheckerReport { phases: vec![phase("fsync", vec![]), phase("memory", vec![lost(), lost()])] };
    assert_eq!(report.passed_and_failed(), (21, 1));
    assert!(report.to_string().ends_with("\nchecker: 21 passed, 1 failed"));
}

#[test]
fn only_the_first_faults_are_explained() {
    let violations = (0..23).map(|at| Violation::new(ViolationKind::Stuck, format!("number {at}"))).collect();
    let text = CheckerReport { phases: vec![phase("fsync", violations)] }.to_string();
    assert!(text.contains("number 19\n") && !text.contains("number 20\n"));
    assert!(text.contains("violation: 3 more are counted below"));
}

#[test]
fn phases_with_different_counts_share_the_rows_of_common_counts() {
    let with = phase("directory", vec![Violation::new(ViolationKind::Lost, "event p0n1")]);
    with.counters.add_row("rounds", 3);
    let text = CheckerReport { phases: vec![phase("fsync", vec![]), with] }.to_string();
    let row = |name: &str| {
        let lines: Vec<_> = text.lines().filter(|line| line.starts_with(&format!("{name}  "))).collect();
        assert_eq!(lines.len(), 1, "{text}");
        lines[0].split_whitespace().skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(row("rounds"), ["-", "3"]);
    assert_eq!(row("lost"), ["0", "1"]);
}
