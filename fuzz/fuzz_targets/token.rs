//! Reads any texts as a JWT, as what one says, and as the keys that it is verified with.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidings::fuzzing;

fuzz_target!(|input: (&str, &str, &str, &[u8])| {
    let (token, header, claims, keys) = input;
    fuzzing::jwt(token, header, claims);
    fuzzing::jwks(keys, token);
});
