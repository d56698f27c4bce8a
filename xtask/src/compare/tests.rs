//! Figures in their places, and what is passed on.

use super::{Block, Choice, blocks};

const PAGE: &str = "# Figures\n\nBy hand.\n\n<!-- a -->\nold\n<!-- end of a -->\n\nBy hand, too.\n";

#[test]
fn figures_take_the_place_of_the_old_ones_and_prose_stays() {
    let figures = "<!-- a -->\nnew\n<!-- end of a -->\n\n<!-- b -->\nbroken off";
    let found = blocks(figures);
    assert_eq!(found, [Block { name: "a", text: "<!-- a -->\nnew\n<!-- end of a -->" }]);
    let page = found[0].put_into(PAGE).expect("it has a place");
    assert_eq!(page, PAGE.replace("old", "new"));
}

#[test]
fn figures_without_a_place_are_a_fault() {
    let fault = Block { name: "b", text: "" }.put_into(PAGE).expect_err("there is no place");
    assert!(fault.contains("`<!-- b -->` and `<!-- end of b -->`"), "{fault}");
}

#[test]
fn parts_are_chosen_and_the_rest_is_passed_on() {
    let choice = Choice::read(&["--rounds", "1", "--parts", "fanout,memory"]).expect("it is right");
    assert_eq!(choice.parts, ["fanout", "memory"]);
    assert_eq!(choice.passed_on, ["--rounds", "1"]);
    assert!(Choice::read(&["--parts"]).is_err());
}
