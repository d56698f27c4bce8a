//! Signatures by the examples of the RFCs, and what a token must and may say.

use ring::hmac;

use super::*;
use crate::config::{Secret, bounds::USER_NAME_BYTES_MAX};

const SECRET: &str = "a secret of thirty-two bytes or more";

fn signed(header: &str, claims: &str) -> String {
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let signature = hmac::sign(&key, signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn hs256(claims: &str) -> String {
    signed(r#"{"alg":"HS256"}"#, claims)
}

fn claims(text: &str) -> Result<Claims, CredentialError> {
    let token = hs256(text);
    let token = Token::parse(&token)?;
    assert!(token.is_signed_by(&VerificationKey::of_secret(&Secret::new(SECRET))));
    token.claims("sub")
}

fn jwk(text: &str) -> VerificationKey {
    from_jwks(format!(r#"{{"keys":[{text}]}}"#).as_bytes()).unwrap().pop().unwrap()
}

/// RFC 7515, A.3.
const P256: &str = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
const ES256: &str = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
/// RFC 8037, A.4.
const ED25519: &str = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
const EDDSA: &str = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";

#[test]
fn examples_of_the_rfcs_verify_with_their_key_and_no_other() {
    let keys = [jwk(P256), jwk(ED25519), VerificationKey::of_secret(&Secret::new(SECRET))];
    for (text, signer) in [(ES256, 0), (EDDSA, 1), (&hs256("{}"), 2)] {
        let token = Token::parse(text).unwrap();
        let found: Vec<bool> = keys.iter().map(|key| token.is_signed_by(key)).collect();
        let wanted: Vec<bool> = (0..keys.len()).map(|index| index == signer).collect();
        assert_eq!(found, wanted, "{text}");
    }
}

#[test]
fn changed_claims_break_the_signature() {
    let other = ES256.replace(".eyJpc3Mi", ".eyJpc3Nj");
    assert!(!Token::parse(&other).unwrap().is_signed_by(&jwk(P256)));
}

#[test]
fn key_bound_to_another_algorithm_verifies_nothing() {
    let bound = |alg: &str| jwk(&P256.replace(r#""kty""#, &format!(r#""alg":"{alg}","kty""#)));
    let token = Token::parse(ES256).unwrap();
    assert!(token.is_signed_by(&bound("ES256")));
    assert!(!token.is_signed_by(&bound("ES384")));
}

#[test]
fn named_key_verifies_tokens_of_its_name_and_those_without_one() {
    let named = |kid: &str| jwk(&P256.replace(r#""kty""#, &format!(r#""kid":"{kid}","kty""#)));
    let token = Token::parse(ES256).unwrap();
    assert!(token.is_signed_by(&named("a")));
    let token = Token { key_id: Some("b".to_owned()), ..token };
    assert!(!token.is_signed_by(&named("a")));
    assert!(token.is_signed_by(&named("b")));
}

#[test]
fn jwks_keys_that_cannot_verify_are_passed_over() {
    for key in [
        r#"{"kty":"oct","k":"c2VjcmV0"}"#,
        r#"{"kty":"RSA","n":"AQAB","e":"AQAB"}"#,
        r#"{"kty":"EC","crv":"P-521","x":"AA","y":"AA"}"#,
        r#"{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}"#,
        r#"{"nothing":1}"#,
        &P256.replace(r#""kty""#, r#""use":"enc","kty""#),
        &P256.replace(r#""kty""#, r#""key_ops":["sign"],"kty""#),
        &P256.replace(r#""kty""#, r#""alg":"none","kty""#),
    ] {
        let keys = from_jwks(format!(r#"{{"keys":[{key},{P256}]}}"#).as_bytes()).unwrap();
        assert_eq!(keys.len(), 1, "{key}");
    }
    assert!(from_jwks(b"[]").is_err());
    assert!(from_jwks(b"<html>").is_err());
}

#[test]
fn what_is_no_token_is_refused_before_any_key_is_asked() {
    let huge = format!("{}.e30.AA", URL_SAFE_NO_PAD.encode("x".repeat(TOKEN_BYTES_MAX)));
    let critical = signed(r#"{"alg":"HS256","crit":["exp"]}"#, "{}");
    let padded = hs256("{}") + "=";
    for text in ["", ".", "..", "a.b", "a.b.c", "a.b.c.d", "e30.e30.AA", &huge, &critical, &padded] {
        assert_eq!(Token::parse(text).err(), Some(CredentialError::Shape), "{text:.40}");
    }
    for algorithm in ["none", "None", "NONE", "hs256", "ES512", "", "HS1"] {
        let text = signed(&format!(r#"{{"alg":"{algorithm}"}}"#), "{}");
        assert_eq!(Token::parse(&text).err(), Some(CredentialError::Algorithm), "{algorithm}");
    }
    let unsigned =
        format!("{}.{}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#), URL_SAFE_NO_PAD.encode("{}"));
    assert_eq!(Token::parse(&unsigned).err(), Some(CredentialError::Algorithm));
}

#[test]
fn secret_never_verifies_what_was_signed_with_a_public_key_in_its_place() {
    let token = hs256(r#"{"sub":"a","exp":1}"#);
    assert!(!Token::parse(&token).unwrap().is_signed_by(&jwk(P256)));
}

#[test]
fn claims_are_read_with_their_types() {
    let read = claims(
        r#"{"sub":"a@b.c","exp":12.5,"nbf":1,"iat":2,"jti":"j","aud":["x","y"],"iss":"i","tidings":{"subscribe":["a.*","not a pattern"],"publish":"b"}}"#,
    )
    .unwrap();
    let pattern = |text| Subscription::parse(text).unwrap();
    assert_eq!(
        read,
        Claims {
            user: "a@b.c".into(),
            expires_at: 12.5,
            not_before: Some(1.0),
            issued_at: Some(2.0),
            token_id: Some("j".into()),
            audience: vec!["x".into(), "y".into()],
            issuer: Some("i".into()),
            subscribe: vec![pattern("a.*")],
            publish: vec![pattern("b")],
        }
    );
    assert_eq!(claims(r#"{"sub":7,"exp":1}"#).unwrap().user, "7");
    let by_claim = hs256(r#"{"uid":"u","sub":"s","exp":1}"#);
    assert_eq!(Token::parse(&by_claim).unwrap().claims("uid").unwrap().user, "u");
}

#[test]
fn claims_of_a_wrong_type_are_refused() {
    let long = format!(r#"{{"sub":"{}","exp":1}}"#, "x".repeat(USER_NAME_BYTES_MAX + 1));
    for text in [
        r#"{"exp":1}"#,
        r#"{"sub":"","exp":1}"#,
        r#"{"sub":1.5,"exp":1}"#,
        r#"{"sub":["a"],"exp":1}"#,
        &long,
        r#"{"sub":"a"}"#,
        r#"{"sub":"a","exp":"never"}"#,
        r#"{"sub":"a","exp":null}"#,
        r#"{"sub":"a","exp":"1"}"#,
        r#"{"sub":"a","exp":1,"nbf":"x"}"#,
        r#"{"sub":"a","exp":1,"iat":{}}"#,
        r#"{"sub":"a","exp":1,"aud":{"x":1}}"#,
        r#"{"sub":"a","exp":1,"aud":[1]}"#,
        r#"{"sub":"a","exp":1,"jti":7}"#,
        r#"{"sub":"a","exp":1,"tidings":{"subscribe":{}}}"#,
        "[]",
        "nothing",
    ] {
        assert_eq!(claims(text).err(), Some(CredentialError::Shape), "{text:.60}");
    }
}

#[test]
fn pem_keys_are_bound_to_their_kind() {
    use Algorithm as A;
    let read = |name: &str| {
        let path = format!("{}/../tidings-server/tests/keys/{name}", env!("CARGO_MANIFEST_DIR"));
        keys::from_pem(&std::fs::read(path).unwrap())
    };
    let rsa = [A::Rs256, A::Rs384, A::Rs512, A::Ps256, A::Ps384, A::Ps512];
    for (name, wanted) in [
        ("rsa.pub.pem", &rsa[..]),
        ("p256.pub.pem", &[A::Es256]),
        ("p384.pub.pem", &[A::Es384]),
        ("ed25519.pub.pem", &[A::EdDsa]),
    ] {
        let keys = read(name).unwrap();
        let can: Vec<A> = A::ALL.iter().copied().filter(|algorithm| keys[0].can(*algorithm)).collect();
        assert_eq!((keys.len(), &can[..]), (1, wanted), "{name}");
    }
    for (name, wanted) in [
        ("rsa.pem", "a private key"),
        ("p256.pem", "a private key"),
        ("small.pub.pem", "1024 bits"),
        ("p521.pub.pem", "P-256 and P-384"),
        ("README.md", "BEGIN PUBLIC KEY"),
    ] {
        let error = read(name).err().unwrap();
        assert!(error.contains(wanted), "{name}: {error}");
    }
    let damaged = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n";
    assert!(keys::from_pem(damaged.as_bytes()).err().unwrap().contains("damaged"));
    assert!(keys::from_pem(b"-----BEGIN PUBLIC KEY-----\n").is_err());
}
