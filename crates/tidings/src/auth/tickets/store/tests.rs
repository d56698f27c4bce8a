//! A sealed ticket reveals nothing without its text.

use super::*;

#[test]
fn only_its_text_opens_a_sealed_ticket() {
    let channels = vec![Subscription::parse("user.u").unwrap(), Subscription::parse("user.u.**").unwrap()];
    let sealed = seal("ti_one", &Secret::new("a token"), &channels);
    let opened = open("ti_one", sealed.clone());
    assert_eq!(opened, Some((Secret::new("a token"), channels)));
    assert_eq!(open("ti_two", sealed.clone()), None);
    for at in 0..sealed.len() {
        let mut other = sealed.clone();
        other[at] ^= 1;
        assert_eq!(open("ti_one", other), None, "byte {at}");
    }
    assert!(!sealed.windows(7).any(|part| part == b"a token"));
    assert_ne!(name("ti_one"), name("ti_two"));
    assert!(!name("ti_one").contains("ti_"));
}
