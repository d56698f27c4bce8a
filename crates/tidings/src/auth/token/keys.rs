//! Keys that verify tokens, each bound to its algorithms: a public key never verifies as a secret.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{hmac, signature};
use rustls::pki_types::pem::{self, SectionKind};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use spki::der::asn1::UintRef;
use spki::der::{Decode, Reader, SliceReader};
use spki::{ObjectIdentifier, SubjectPublicKeyInfoRef};

use crate::config::{Algorithm, Secret};

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// Smallest RSA key. RFC 7518, 3.3.
const RSA_BITS_MIN: usize = 2048;
const RSA_BITS_MAX: usize = 8192;

/// Key that verifies signatures.
#[derive(Clone)]
pub(crate) struct VerificationKey {
    material: Material,
    /// Key id in a JWKS.
    id: Option<String>,
    /// Algorithm that a JWKS binds the key to.
    algorithm: Option<Algorithm>,
    fingerprint: KeyFingerprint,
}

/// Hash that identifies a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct KeyFingerprint([u8; 16]);

#[derive(Clone)]
enum Material {
    Secret(Box<[hmac::Key; 3]>),
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

impl VerificationKey {
    /// Returns the key of HS256, HS384 and HS512.
    pub(super) fn of_secret(secret: &Secret) -> Self {
        let bytes = secret.reveal().as_bytes();
        let key = |algorithm| hmac::Key::new(algorithm, bytes);
        let keys = [key(hmac::HMAC_SHA256), key(hmac::HMAC_SHA384), key(hmac::HMAC_SHA512)];
        Self {
            material: Material::Secret(Box::new(keys)),
            id: None,
            algorithm: None,
            fingerprint: fingerprint(b"hmac", &[bytes]),
        }
    }

    fn public(material: Material) -> Self {
        let fingerprint = match &material {
            Material::Rsa { n, e } => fingerprint(b"rsa", &[n, e]),
            Material::P256(point) => fingerprint(b"p256", &[point]),
            Material::P384(point) => fingerprint(b"p384", &[point]),
            Material::Ed25519(point) => fingerprint(b"ed25519", &[point]),
            Material::Secret(_) => unreachable!("a secret is no public key"),
        };
        Self { material, id: None, algorithm: None, fingerprint }
    }

    /// Returns the hash that identifies the key.
    pub(crate) fn fingerprint(&self) -> KeyFingerprint {
        self.fingerprint
    }

    /// Returns the key id in its JWKS.
    pub(in crate::auth) fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Whether the key can verify this algorithm.
    pub(crate) fn can(&self, algorithm: Algorithm) -> bool {
        use Algorithm as A;
        let is_of_kind = match &self.material {
            Material::Secret(_) => algorithm.is_symmetric(),
            Material::Rsa { .. } => {
                matches!(algorithm, A::Rs256 | A::Rs384 | A::Rs512 | A::Ps256 | A::Ps384 | A::Ps512)
            }
            Material::P256(_) => algorithm == A::Es256,
            Material::P384(_) => algorithm == A::Es384,
            Material::Ed25519(_) => algorithm == A::EdDsa,
        };
        is_of_kind && self.algorithm.is_none_or(|bound| bound == algorithm)
    }

    /// Whether the signature of the message is valid under this key.
    pub(super) fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        if !self.can(algorithm) {
            return false;
        }
        let public = |algorithm: &'static dyn signature::VerificationAlgorithm, key: &[u8]| {
            signature::UnparsedPublicKey::new(algorithm, key).verify(message, signature).is_ok()
        };
        match &self.material {
            Material::Secret(keys) => {
                let key = &keys[algorithm as usize - Algorithm::Hs256 as usize];
                hmac::verify(key, message, signature).is_ok()
            }
            Material::Rsa { n, e } => {
                signature::RsaPublicKeyComponents { n, e }.verify(rsa(algorithm), message, signature).is_ok()
            }
            Material::P256(point) => public(&signature::ECDSA_P256_SHA256_FIXED, point),
            Material::P384(point) => public(&signature::ECDSA_P384_SHA384_FIXED, point),
            Material::Ed25519(point) => public(&signature::ED25519, point),
        }
    }
}

fn rsa(algorithm: Algorithm) -> &'static signature::RsaParameters {
    match algorithm {
        Algorithm::Rs384 => &signature::RSA_PKCS1_2048_8192_SHA384,
        Algorithm::Rs512 => &signature::RSA_PKCS1_2048_8192_SHA512,
        Algorithm::Ps256 => &signature::RSA_PSS_2048_8192_SHA256,
        Algorithm::Ps384 => &signature::RSA_PSS_2048_8192_SHA384,
        Algorithm::Ps512 => &signature::RSA_PSS_2048_8192_SHA512,
        _ => &signature::RSA_PKCS1_2048_8192_SHA256,
    }
}

fn fingerprint(kind: &[u8], parts: &[&[u8]]) -> KeyFingerprint {
    let mut hash = Sha256::new();
    for part in [kind].iter().chain(parts) {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    KeyFingerprint(hash.finalize()[..16].try_into().expect("a SHA-256 digest has 32 bytes"))
}

/// Reads the public keys of a PEM file.
///
/// # Errors
/// The problem, and a command that writes the right file.
pub(super) fn from_pem(text: &[u8]) -> Result<Vec<VerificationKey>, String> {
    let mut rest = text;
    let mut keys = Vec::new();
    loop {
        match pem::from_buf(&mut rest) {
            Ok(Some((SectionKind::PublicKey, der))) => keys.push(from_spki(&der)?),
            Ok(Some((kind, _))) => return Err(not_a_public_key(kind)),
            Ok(None) if keys.is_empty() => {
                return Err("it holds no `-----BEGIN PUBLIC KEY-----`; \
                            openssl pkey -in private.pem -pubout -out public.pem writes one"
                    .to_owned());
            }
            Ok(None) => return Ok(keys),
            Err(_) => return Err("it is not PEM; a file begins with `-----BEGIN PUBLIC KEY-----`".to_owned()),
        }
    }
}

fn not_a_public_key(kind: SectionKind) -> String {
    match kind {
        SectionKind::Certificate => "it holds a certificate; take its key out with \
                                     openssl x509 -in certificate.pem -pubkey -noout"
            .to_owned(),
        SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey => {
            "it holds a private key, which a hub must not have; write the public one with \
             openssl pkey -in private.pem -pubout"
                .to_owned()
        }
        _ => "it holds something other than public keys".to_owned(),
    }
}

fn from_spki(der: &[u8]) -> Result<VerificationKey, String> {
    let info = SubjectPublicKeyInfoRef::from_der(der).map_err(|_| "a key in it is damaged".to_owned())?;
    let bytes = info.subject_public_key.as_bytes().ok_or("a key in it is damaged")?;
    let material = match info.algorithm.oid {
        RSA => rsa_of_pkcs1(bytes)?,
        EC => {
            let curve = info.algorithm.parameters_oid().map_err(|_| "an EC key in it names no curve")?;
            match curve {
                P256 => point(bytes, 65).map(Material::P256)?,
                P384 => point(bytes, 97).map(Material::P384)?,
                other => return Err(format!("curve {other} is not taken; P-256 and P-384 are")),
            }
        }
        ED25519 => point(bytes, 32).map(Material::Ed25519)?,
        other => return Err(format!("a key of kind {other} is not taken; RSA, EC and Ed25519 are")),
    };
    Ok(VerificationKey::public(material))
}

fn rsa_of_pkcs1(der: &[u8]) -> Result<Material, String> {
    let read = || {
        SliceReader::new(der)?.sequence(|reader| {
            let n = UintRef::decode(reader)?.as_bytes().to_vec();
            let e = UintRef::decode(reader)?.as_bytes().to_vec();
            Ok::<_, spki::der::Error>((n, e))
        })
    };
    let (n, e) = read().map_err(|_| "an RSA key in it is damaged".to_owned())?;
    rsa_of(&n, e)
}

fn rsa_of(n: &[u8], e: Vec<u8>) -> Result<Material, String> {
    let n = n[n.iter().take_while(|byte| **byte == 0).count()..].to_vec();
    let bits = n.first().map_or(0, |first| n.len() * 8 - first.leading_zeros() as usize);
    if !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) {
        return Err(format!("an RSA key has {bits} bits; {RSA_BITS_MIN} to {RSA_BITS_MAX} are taken"));
    }
    Ok(Material::Rsa { n, e })
}

fn point(bytes: &[u8], length: usize) -> Result<Vec<u8>, String> {
    (bytes.len() == length).then(|| bytes.to_vec()).ok_or_else(|| "a key in it is damaged".to_owned())
}

/// Reads the keys of a JWKS that can verify tokens, and ignores others. RFC 7517, 5.
///
/// # Errors
/// For a text that is no JWKS.
pub(crate) fn from_jwks(text: &[u8]) -> Result<Vec<VerificationKey>, String> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<serde_json::Value>,
    }
    let set: Set = serde_json::from_slice(text).map_err(|error| format!("it is no JWKS: {error}"))?;
    Ok(set.keys.into_iter().filter_map(|key| serde_json::from_value(key).ok()).filter_map(from_jwk).collect())
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

fn from_jwk(jwk: Jwk) -> Option<VerificationKey> {
    let is_for_signatures = jwk.usage.as_deref().is_none_or(|usage| usage == "sig");
    let may_verify = jwk.key_ops.as_ref().is_none_or(|uses| uses.iter().any(|it| it == "verify"));
    if !is_for_signatures || !may_verify {
        return None;
    }
    let bytes = |text: &Option<String>| URL_SAFE_NO_PAD.decode(text.as_ref()?).ok();
    let curve_point = |half: usize| {
        let (x, y) = (bytes(&jwk.x)?, bytes(&jwk.y)?);
        (x.len() == half && y.len() == half).then(|| [&[4][..], &x, &y].concat())
    };
    // A symmetric key (`oct`) is ignored: its secret would be public.
    let material = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("RSA", _) => rsa_of(&bytes(&jwk.n)?, bytes(&jwk.e)?).ok()?,
        ("EC", Some("P-256")) => Material::P256(curve_point(32)?),
        ("EC", Some("P-384")) => Material::P384(curve_point(48)?),
        ("OKP", Some("Ed25519")) => Material::Ed25519(bytes(&jwk.x).filter(|x| x.len() == 32)?),
        _ => return None,
    };
    // A key that is bound to an unknown algorithm is ignored.
    let algorithm = jwk.alg.map(|alg| alg.parse()).transpose().ok()?;
    Some(VerificationKey { id: jwk.kid, algorithm, ..VerificationKey::public(material) })
}
