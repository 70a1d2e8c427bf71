//! The attributes our keys are made with and read back with. Usages are set explicitly, the unwanted ones to false, since
//! tokens' defaults differ (SoftHSM's allow unwrap); a key that reads back otherwise is refused. It never asks for
//! `CKA_CHECK_VALUE`, the start of an encryption of zeros, which is GCM's hash key.

use cryptoki::mechanism::MechanismType;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass};

use crate::error::Error;
use crate::object::ObjectId;
use crate::profile::Profile;
use crate::signing::SignatureAlgorithm;

/// Whether an object outlives its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lifetime {
    Token,
    Session,
}

/// What an AES-256 key is made with.
pub(crate) fn secret_key(profile: &Profile, id: ObjectId, label: &str, lifetime: Lifetime) -> Vec<Attribute> {
    let mut template = secret_key_usage(profile);
    template.extend(identity(id, lifetime));
    template.push(Attribute::Label(label.as_bytes().to_vec()));
    template
}

/// What an AES-256 key of ours reads back as.
pub(crate) fn expected_secret_key(profile: &Profile, id: ObjectId, lifetime: Lifetime) -> Vec<Attribute> {
    let mut expected = secret_key_usage(profile);
    expected.extend(identity(id, lifetime));
    expected.extend(history());
    expected
}

/// What the private half of a signing key is made with.
pub(crate) fn private_key(
    profile: &Profile,
    algorithm: SignatureAlgorithm,
    id: ObjectId,
    label: &str,
) -> Vec<Attribute> {
    let mut template = private_key_usage(profile, algorithm);
    template.extend(identity(id, Lifetime::Token));
    template.push(Attribute::Label(label.as_bytes().to_vec()));
    template
}

/// What the private half of a signing key of ours reads back as.
pub(crate) fn expected_private_key(profile: &Profile, algorithm: SignatureAlgorithm, id: ObjectId) -> Vec<Attribute> {
    let mut expected = private_key_usage(profile, algorithm);
    expected.extend(identity(id, Lifetime::Token));
    expected.extend(history());
    expected
}

/// What the public half is made with. It lives for the session only: its bytes are kept elsewhere, and an object that we
/// do not need could only be mistaken.
pub(crate) fn public_key(algorithm: SignatureAlgorithm) -> Vec<Attribute> {
    vec![
        Attribute::Class(ObjectClass::PUBLIC_KEY),
        Attribute::KeyType(key_type(algorithm)),
        Attribute::EcParams(algorithm.curve().to_vec()),
        Attribute::Token(false),
        Attribute::Private(false),
        Attribute::Verify(true),
        Attribute::Encrypt(false),
        Attribute::Wrap(false),
    ]
}

/// The types of these attributes, to read them back.
pub(crate) fn types(attributes: &[Attribute]) -> Vec<AttributeType> {
    attributes.iter().map(Attribute::attribute_type).collect()
}

/// Compares what the token says with what it has to say. An attribute the token does not tell is a mismatch.
pub(crate) fn compare(id: ObjectId, expected: &[Attribute], found: &[Attribute]) -> Result<(), Error> {
    for expected in expected {
        let attribute = expected.attribute_type();
        let found = found.iter().find(|found| found.attribute_type() == attribute);
        if found == Some(expected) {
            continue;
        }
        return Err(Error::Attribute {
            id,
            attribute: attribute.to_string(),
            expected: format!("{expected:?}"),
            found: found.map_or_else(|| "missing".to_owned(), |found| format!("{found:?}")),
        });
    }
    Ok(())
}

fn secret_key_usage(profile: &Profile) -> Vec<Attribute> {
    let mut usage = vec![
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::AES),
        Attribute::ValueLen(AES_256_LEN.into()),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Modifiable(false),
        Attribute::Encrypt(true),
        Attribute::Decrypt(true),
        Attribute::Sign(false),
        Attribute::Verify(false),
        Attribute::Wrap(false),
        Attribute::Unwrap(false),
        Attribute::Derive(false),
    ];
    if profile.allowed_mechanisms {
        usage.push(Attribute::AllowedMechanisms(vec![MechanismType::AES_GCM]));
    }
    usage
}

fn private_key_usage(profile: &Profile, algorithm: SignatureAlgorithm) -> Vec<Attribute> {
    let mut usage = vec![
        Attribute::Class(ObjectClass::PRIVATE_KEY),
        Attribute::KeyType(key_type(algorithm)),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Modifiable(false),
        Attribute::Sign(true),
        Attribute::SignRecover(false),
        Attribute::Decrypt(false),
        Attribute::Unwrap(false),
        Attribute::Derive(false),
    ];
    if profile.allowed_mechanisms {
        let mechanism = match algorithm {
            SignatureAlgorithm::Ed25519 => MechanismType::EDDSA,
            SignatureAlgorithm::P256 => MechanismType::ECDSA,
        };
        usage.push(Attribute::AllowedMechanisms(vec![mechanism]));
    }
    usage
}

fn identity(id: ObjectId, lifetime: Lifetime) -> [Attribute; 2] {
    [Attribute::Id(id.as_bytes().to_vec()), Attribute::Token(lifetime == Lifetime::Token)]
}

/// What the token says of a key's past: it was born here and could never leave.
fn history() -> [Attribute; 3] {
    [Attribute::AlwaysSensitive(true), Attribute::NeverExtractable(true), Attribute::Local(true)]
}

const fn key_type(algorithm: SignatureAlgorithm) -> KeyType {
    match algorithm {
        SignatureAlgorithm::Ed25519 => KeyType::EC_EDWARDS,
        SignatureAlgorithm::P256 => KeyType::EC,
    }
}

const AES_256_LEN: u64 = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::ProfileName;

    const ID: ObjectId = ObjectId::new([7; 16]);

    #[test]
    fn a_key_that_differs_or_hides_an_attribute_is_refused() {
        let expected = expected_secret_key(ProfileName::Softhsm.profile(), ID, Lifetime::Token);
        assert!(compare(ID, &expected, &expected).is_ok());

        for (index, attribute) in expected.iter().enumerate() {
            let mut hidden = expected.clone();
            hidden.remove(index);
            let error = compare(ID, &expected, &hidden).unwrap_err();
            assert!(error.to_string().contains(&attribute.attribute_type().to_string()), "{error}");
        }

        let mut extractable = expected.clone();
        for attribute in &mut extractable {
            if matches!(attribute, Attribute::Extractable(_)) {
                *attribute = Attribute::Extractable(true);
            }
        }
        let error = compare(ID, &expected, &extractable).unwrap_err();
        assert!(matches!(error, Error::Attribute { attribute, .. } if attribute == "CKA_EXTRACTABLE"));
    }
}
