//! Valid and invalid tokens of an identity provider, and hubs that accept the valid ones.

use std::path::PathBuf;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{hmac, rand::SystemRandom, signature};

use crate::prelude::*;

/// The secret of hubs with `auth.secret`.
pub(crate) const SECRET: &str = "a secret of thirty-two bytes or more";
/// The API key with all rights.
pub(crate) const KEY: &str = "tk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Name of a key pair in `tests/keys`.
#[derive(Clone, Copy)]
pub(crate) struct KeyPair(pub(crate) &'static str);

impl KeyPair {
    pub(crate) fn public(self) -> PathBuf {
        path(&format!("{}.pub.pem", self.0))
    }

    /// The public key as an identity provider publishes it. RSA only.
    pub(crate) fn jwk(self, id: &str) -> Value {
        let key = signature::RsaKeyPair::from_pkcs8(&self.private()).unwrap();
        let public = signature::RsaPublicKeyComponents::<Vec<u8>>::from(key.public());
        let [n, e] = [public.n, public.e].map(|number| URL_SAFE_NO_PAD.encode(number));
        json!({"kty": "RSA", "use": "sig", "kid": id, "n": n, "e": e})
    }

    fn private(self) -> Vec<u8> {
        let text = std::fs::read_to_string(path(&format!("{}.pem", self.0))).unwrap();
        let body: String = text.lines().filter(|line| !line.starts_with('-')).collect();
        base64::engine::general_purpose::STANDARD.decode(body).unwrap()
    }
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/keys").join(name)
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs()
}

/// Claims of a token that is valid for a minute.
pub(crate) fn claims(user: &str) -> Value {
    json!({"sub": user, "iat": now(), "exp": now() + 60})
}

/// A token of a user for a minute, signed with the secret.
pub(crate) fn token(user: &str) -> String {
    hs256(&claims(user))
}

pub(crate) fn hs256(claims: &Value) -> String {
    by_secret(SECRET.as_bytes(), &json!({"alg": "HS256", "typ": "JWT"}), claims)
}

/// A header with these additional members.
pub(crate) fn header(algorithm: &str, more: Value) -> Value {
    merged(json!({"alg": algorithm, "typ": "JWT"}), more)
}

/// Returns an object with members of another in place of its own; null removes a member.
pub(crate) fn merged(mut object: Value, changes: Value) -> Value {
    let members = object.as_object_mut().unwrap();
    let Value::Object(changes) = changes else { panic!("no object: {changes}") };
    for (name, value) in changes {
        match value {
            Value::Null => drop(members.remove(&name)),
            value => drop(members.insert(name, value)),
        }
    }
    object
}

/// Signs with HMAC whatever algorithm the header names.
pub(crate) fn by_secret(secret: &[u8], header: &Value, claims: &Value) -> String {
    let algorithm = header["alg"].as_str().unwrap_or_default();
    sealed(header, claims, |signed| hmac_of(secret, algorithm, signed))
}

/// The HMAC of the secret; an algorithm other than HMAC counts as HS256.
pub(crate) fn hmac_of(secret: &[u8], algorithm: &str, signed: &[u8]) -> Vec<u8> {
    let algorithm = match algorithm {
        "HS384" => hmac::HMAC_SHA384,
        "HS512" => hmac::HMAC_SHA512,
        _ => hmac::HMAC_SHA256,
    };
    hmac::sign(&hmac::Key::new(algorithm, secret), signed).as_ref().to_vec()
}

/// Signs with a private key, by the algorithm that the header names.
pub(crate) fn by_pair(pair: KeyPair, header: &Value, claims: &Value) -> String {
    sealed(header, claims, |signed| signature_of(pair, header["alg"].as_str().unwrap(), signed))
}

/// The signature of a private key.
pub(crate) fn signature_of(pair: KeyPair, algorithm: &str, signed: &[u8]) -> Vec<u8> {
    let random = SystemRandom::new();
    let key = pair.private();
    let rsa = |padding: &'static dyn signature::RsaEncoding| {
        let key = signature::RsaKeyPair::from_pkcs8(&key).unwrap();
        let mut made = vec![0; key.public().modulus_len()];
        key.sign(padding, &random, signed, &mut made).unwrap();
        made
    };
    let ecdsa = |algorithm: &'static signature::EcdsaSigningAlgorithm| {
        let key = signature::EcdsaKeyPair::from_pkcs8(algorithm, &key, &random).unwrap();
        key.sign(&random, signed).unwrap().as_ref().to_vec()
    };
    match algorithm {
        "RS256" => rsa(&signature::RSA_PKCS1_SHA256),
        "RS384" => rsa(&signature::RSA_PKCS1_SHA384),
        "RS512" => rsa(&signature::RSA_PKCS1_SHA512),
        "PS256" => rsa(&signature::RSA_PSS_SHA256),
        "PS384" => rsa(&signature::RSA_PSS_SHA384),
        "PS512" => rsa(&signature::RSA_PSS_SHA512),
        "ES256" => ecdsa(&signature::ECDSA_P256_SHA256_FIXED_SIGNING),
        "ES384" => ecdsa(&signature::ECDSA_P384_SHA384_FIXED_SIGNING),
        "EdDSA" => {
            let key = signature::Ed25519KeyPair::from_pkcs8_maybe_unchecked(&key).unwrap();
            key.sign(signed).as_ref().to_vec()
        }
        other => panic!("unknown algorithm {other}"),
    }
}

/// Encodes and signs a token.
pub(crate) fn sealed(header: &Value, claims: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let signed = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
    let signature = URL_SAFE_NO_PAD.encode(sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}

/// `Authorization` with this credential.
pub(crate) fn bearer(credential: &str) -> (&'static str, String) {
    ("Authorization", format!("Bearer {credential}"))
}

/// The lines of [`KEY`] in a settings file: it has all rights.
pub(crate) fn key_lines() -> String {
    lines_of_key("backend", KEY)
}

/// The lines of an API key with all rights.
pub(crate) fn lines_of_key(name: &str, key: &str) -> String {
    let hash = hash_of(key);
    format!(
        "[[auth.keys]]\nname = \"{name}\"\nhash = \"{hash}\"\nrights = [\"publish\", \"subscribe\", \
         \"manage\"]\nsubscribe = [\"**\"]\npublish = [\"**\"]\n"
    )
}

/// The hash of an API key, as in a settings file.
pub(crate) fn hash_of(key: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, key.as_bytes());
    let digits: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{digits}")
}

/// Lines of `[auth]` with [`SECRET`].
pub(crate) fn with_secret(lines: &str) -> String {
    format!("secret = {SECRET:?}\n{lines}")
}

/// A hub in memory with [`SECRET`], these lines of `[auth]`, and [`KEY`].
pub(crate) fn hub_with_secret(lines: &str) -> TestHub {
    protected(&with_secret(lines))
}

/// A hub in memory with these lines of `[auth]`, and [`KEY`].
pub(crate) fn protected(lines: &str) -> TestHub {
    protected_with(lines, &[])
}

/// As [`protected`], with environment variables.
pub(crate) fn protected_with(lines: &str, variables: &[(&str, &str)]) -> TestHub {
    let directory = TempDirectory::create();
    protected_with_in(&directory, lines, variables).owning(directory)
}

/// As [`protected`], in this directory.
pub(crate) fn protected_in(directory: &TempDirectory, lines: &str) -> TestHub {
    protected_with_in(directory, lines, &[])
}

/// As [`protected_with`], in this directory.
pub(crate) fn protected_with_in(
    directory: &TempDirectory,
    lines: &str,
    variables: &[(&str, &str)],
) -> TestHub {
    directory.write("tidings.toml", &format!("[auth]\n{lines}\n{}", key_lines()));
    TestHub::in_memory_in(directory, variables)
}

/// Reloads the settings, and waits until they are in force.
pub(crate) fn reload(hub: &mut TestHub) {
    hub.signal(rustix::process::Signal::HUP);
    hub.read_log_through("settings reloaded");
}
