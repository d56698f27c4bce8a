//! Links that lead somewhere, nowhere, and out.

use super::check;
use crate::tidy::file::TextFile;

fn faults(text: &str) -> Vec<String> {
    let file = |path: &str| TextFile { path: path.to_owned(), text: String::new() };
    let document = TextFile { text: text.to_owned(), ..file("docs/guide.md") };
    check(&[file("README.md"), document, file("docs/pictures/a.png")])
}

#[test]
fn links_to_files_and_folders_lead_somewhere() {
    let text = "[a](../README.md) ![b](pictures/a.png \"A title\") [c](/README.md#top) [d](pictures/) [e](..)\n[f]: guide.md";
    assert_eq!(faults(text), [""; 0]);
}

#[test]
fn links_to_nothing_are_named_with_their_line() {
    assert_eq!(
        faults("\n[a](b.md) [c](../../d.md)"),
        ["docs/guide.md:2: `b.md` leads nowhere", "docs/guide.md:2: `../../d.md` leads nowhere",]
    );
    assert_eq!(faults("[a]: gone.md").len(), 1);
    assert_eq!(faults("[a](README.md)").len(), 1, "a link starts at its document");
}

#[test]
fn addresses_anchors_and_code_are_left_alone() {
    let text =
        "[a](https://example.org/b) [c](#d) [e](mailto:f@example.org) `[g](h.md)`\n```\n[i](j.md)\n```\n";
    assert_eq!(faults(text), [""; 0]);
}
