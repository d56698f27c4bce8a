//! Damages the directory of a log, and opens it.
#![no_main]

use std::fs;
use std::path::PathBuf;

use libfuzzer_sys::fuzz_target;
use tidings_log::fuzzing::{self, Damage};

type Input<'a> = (Vec<Vec<(u8, u16)>>, Vec<(u8, u32, u8)>, Option<(u8, u32)>, Option<(u8, &'a [u8])>);

/// In memory where the machine has such a place: a disk would be waited for.
fn directory() -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    let base = if memory.is_dir() { memory } else { std::env::temp_dir() };
    base.join(format!("tidings-fuzz-{}", std::process::id()))
}

fuzz_target!(|input: Input<'_>| {
    let (mut batches, bits, cut, grown) = input;
    batches.truncate(8);
    batches.iter_mut().flatten().for_each(|(_, length)| *length %= 6000);
    let mut damage: Vec<Damage> =
        bits.iter().take(8).map(|(file, at, bits)| Damage::Bits(*file, *at, *bits)).collect();
    damage.extend(cut.map(|(file, at)| Damage::Cut(file, at)));
    damage.extend(grown.map(|(file, more)| Damage::Grown(file, more.to_vec())));
    let directory = directory();
    let _ = fs::remove_dir_all(&directory);
    fuzzing::recovery(&directory, &batches, &damage);
    let _ = fs::remove_dir_all(&directory);
});
