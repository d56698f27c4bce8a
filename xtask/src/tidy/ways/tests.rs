//! Ways that lead from file to file, that break, and that are too long.

use super::{BOUNDS, check};
use crate::tidy::file::TextFile;

const SOURCES: &[(&str, &str)] = &[
    ("tidings/src/a.rs", "use crate::b::Book; fn f(book: &Book) { book.lend_first(); queue.push_book(1) }"),
    ("tidings/src/b.rs", "pub struct Book;"),
    ("tidings/src/b/c.rs", "impl Book { fn lend_first(&self) {} }"),
    ("tidings/src/d.rs", "use crate::a::f; // lend_first"),
    ("tidings/src/e.rs", "trait Shelf { fn sort_all(&self); }"),
    ("tidings/src/f.rs", "fn f(shelf: &dyn Shelf) { shelf.sort_all() }"),
    ("tidings/src/g.rs", "impl Shelf for Box { fn sort_all(&self) {} }"),
    ("log/src/lib.rs", "pub fn push_book(number: u8) {}"),
    ("log/src/store.rs", "pub fn keep() {}"),
];

fn faults(ways: &str) -> Vec<String> {
    let empty: String = BOUNDS.iter().map(|(name, _)| format!("{name}:\n")).collect();
    let text = format!("```\nnothing: here\n```\n## Ways\nText.\n```\n{ways}\n{empty}```\n");
    let sources = SOURCES.iter().map(|(path, text)| TextFile::new(&format!("crates/{path}"), text));
    let mut files: Vec<TextFile> = sources.collect();
    files.push(TextFile::new("ARCHITECTURE.md", &text));
    check(&files)
}

#[test]
fn uses_method_calls_and_names_of_other_crates_lead_on() {
    assert_eq!(faults("lend: a → b → b/c\n  → log\nother: d → a"), [""; 0]);
}

#[test]
fn a_handover_leads_to_a_user_and_to_another_file_of_the_trait() {
    assert_eq!(faults("lend: b ⇢ a → b → b/c\nsort: f ⇢ g"), [""; 0]);
    assert_eq!(faults("lend: b → a"), ["way `lend`: no file before `a` leads to it"]);
}

#[test]
fn comments_and_files_of_other_ways_lead_nowhere() {
    let cases =
        [("lend: d → b/c", "b/c"), ("other: a\nlend: d → b", "b"), ("lend: a → log/store", "log/store")];
    for (ways, path) in cases {
        assert_eq!(faults(ways), [format!("way `lend`: no file before `{path}` leads to it")], "{ways}");
    }
}

#[test]
fn files_exist_and_bounded_ways_are_there_and_short() {
    assert_eq!(faults("lend: a → gone → b"), ["way `lend`: there is no file `gone`"]);
    assert_eq!(check(&[TextFile::new("ARCHITECTURE.md", "")]).len(), BOUNDS.len());
    for (name, files_max) in BOUNDS {
        let file = |at: usize| TextFile::new(&format!("crates/tidings/src/f{at}.rs"), "use crate::f0::f;");
        let way = |count: usize| {
            let steps: Vec<String> = (0..count).chain([0]).map(|at| format!("f{at}")).collect();
            let mut files: Vec<TextFile> = (0..count).map(file).collect();
            let lines = format!("{name}: {}", steps.join(" ⇢ "));
            files.push(TextFile::new("ARCHITECTURE.md", &format!("## Ways\n```\n{lines}\n```")));
            check(&files)
        };
        let expected = format!("way `{name}` has {} files; the limit is {files_max}", files_max + 1);
        assert!(!way(*files_max).iter().any(|fault| fault.contains("the limit")), "{:?}", way(*files_max));
        assert!(way(files_max + 1).contains(&expected), "{:?}", way(files_max + 1));
    }
}
