use super::*;

fn phase(name: &'static str, faults: Vec<Fault>) -> PhaseReport {
    PhaseReport { name, figures: Figures::default(), faults }
}

#[test]
fn each_phase_and_property_counts_once() {
    let lost = || Fault::new(FaultKind::Lost, "event p0n1");
    let report = Report { phases: vec![phase("fsync", vec![]), phase("memory", vec![lost(), lost()])] };
    assert_eq!(report.passed_and_failed(), (21, 1));
    assert!(report.to_string().ends_with("\nchecker: 21 passed, 1 failed"));
}

#[test]
fn only_the_first_faults_are_explained() {
    let faults = (0..23).map(|at| Fault::new(FaultKind::Stuck, format!("number {at}"))).collect();
    let text = Report { phases: vec![phase("fsync", faults)] }.to_string();
    assert!(text.contains("number 19\n") && !text.contains("number 20\n"));
    assert!(text.contains("fault: 3 more are counted below"));
}

#[test]
fn phases_that_count_different_things_share_the_rows_of_what_both_count() {
    let with = phase("directory", vec![Fault::new(FaultKind::Lost, "event p0n1")]);
    with.figures.name_with("rounds", 3);
    let text = Report { phases: vec![phase("fsync", vec![]), with] }.to_string();
    let row = |name: &str| {
        let lines: Vec<_> = text.lines().filter(|line| line.starts_with(&format!("{name}  "))).collect();
        assert_eq!(lines.len(), 1, "{text}");
        lines[0].split_whitespace().skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(row("rounds"), ["-", "3"]);
    assert_eq!(row("lost"), ["0", "1"]);
}
