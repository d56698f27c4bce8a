//! Each hook on a few inputs: they hold before any fuzzing, and they go on compiling.

use super::*;
use crate::testing::TestDir;

#[test]
fn recovery_tells_of_each_damage() {
    let batches = vec![vec![(1, 10), (2, 300)], vec![(3, 5000)], vec![(1, 0)]];
    for damage in [
        vec![],
        vec![Damage::Cut(3, 100)],
        vec![Damage::Grown(3, b"TDB1 and more".to_vec())],
        vec![Damage::Bits(0, 3, 255), Damage::Cut(1, 0), Damage::Cut(2, 1)],
    ] {
        let directory = TestDir::new();
        recovery(directory.path(), &batches, &damage);
    }
    for at in 0..400 {
        let directory = TestDir::new();
        recovery(directory.path(), &batches[..1], &[Damage::Bits(3, at, 1)]);
    }
}

#[test]
fn records_of_any_bytes_are_read_or_refused() {
    record(&[0; 64]);
}
