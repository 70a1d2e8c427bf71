//! Creating, loading, destroying: keys are exactly what they should be, and only the right key is used.

use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass};
use hsm::{Canary, Error, ObjectId};

use crate::harness::{new_id, new_nonce, raw_handle, run, secret};

#[test]
fn a_created_key_has_exactly_our_attributes() {
    run(async |token| {
        let id = new_id();
        token.hsm.create_key(id, "records v1").await.unwrap();

        let expected = [
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(KeyType::AES),
            Attribute::ValueLen(32.into()),
            Attribute::Label(b"records v1".to_vec()),
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::AlwaysSensitive(true),
            Attribute::Extractable(false),
            Attribute::NeverExtractable(true),
            Attribute::Local(true),
            Attribute::Modifiable(false),
            Attribute::Encrypt(true),
            Attribute::Decrypt(true),
            Attribute::Sign(false),
            Attribute::Verify(false),
            Attribute::Wrap(false),
            Attribute::Unwrap(false),
            Attribute::Derive(false),
            Attribute::AllowedMechanisms(vec![MechanismType::AES_GCM]),
        ];
        let session = token.raw();
        let types: Vec<_> = expected.iter().map(Attribute::attribute_type).collect();
        let found = session.get_attributes(raw_handle(&session, id), &types).unwrap();
        assert_eq!(found, expected);
    });
}

#[test]
fn a_key_cannot_leave_the_token() {
    run(async |token| {
        let (id, other) = (new_id(), new_id());
        token.hsm.create_key(id, "kept").await.unwrap();
        token.hsm.create_key(other, "other").await.unwrap();
        let session = token.raw();
        let (key, other) = (raw_handle(&session, id), raw_handle(&session, other));

        assert_eq!(session.get_attributes(key, &[AttributeType::Value]).unwrap(), []);
        // Neither under another of our keys nor under a key made to wrap.
        session.wrap_key(&Mechanism::AesKeyWrap, other, key).unwrap_err();
        let wrapping = [Attribute::Wrap(true), Attribute::ValueLen(32.into()), Attribute::Token(false)];
        let wrapping = session.generate_key(&Mechanism::AesKeyGen, &wrapping).unwrap();
        session.wrap_key(&Mechanism::AesKeyWrap, wrapping, key).unwrap_err();
        // Nor after a change of mind, nor as a copy.
        session.update_attributes(key, &[Attribute::Extractable(true)]).unwrap_err();
        session.update_attributes(key, &[Attribute::Label(b"mine".to_vec())]).unwrap_err();
        session.copy_object(key, &[Attribute::Token(false), Attribute::Extractable(true)]).unwrap_err();
        session.copy_object(key, &[Attribute::Token(false), Attribute::Sensitive(false)]).unwrap_err();
        // GCM's hash key is an encryption of zeros.
        session.encrypt(&Mechanism::AesEcb, key, &[0; 16]).unwrap_err();
    });
}

#[test]
fn an_id_that_exists_is_refused() {
    run(async |token| {
        let id = new_id();
        let canary = token.hsm.create_key(id, "first").await.unwrap();
        assert!(matches!(token.hsm.create_key(id, "second").await, Err(Error::KeyExists(exists)) if exists == id));
        assert!(matches!(token.hsm.create_signing_key(id, "third").await, Err(Error::KeyExists(_))));
        // The first is as it was.
        token.hsm.load_key(id, canary).await.unwrap();
    });
}

#[test]
fn a_key_is_used_only_when_it_was_loaded() {
    run(async |token| {
        let id = new_id();
        let canary = token.hsm.create_key(id, "key").await.unwrap();
        let nonce = new_nonce();
        let sealed = token.hsm.encrypt(id, nonce, vec![], secret(b"text")).await.unwrap();

        token.hsm.forget_key(id);
        let forgotten = token.hsm.decrypt(id, nonce, vec![], sealed.clone()).await;
        assert!(matches!(forgotten, Err(Error::KeyNotFound(missing)) if missing == id));

        token.hsm.load_key(id, canary).await.unwrap();
        let text = token.hsm.decrypt(id, nonce, vec![], sealed).await.unwrap();
        assert_eq!(text.as_bytes(), b"text");

        let unknown = new_id();
        let missing = token.hsm.load_key(unknown, Canary::from_bytes(&[0; 54])).await;
        assert!(matches!(missing, Err(Error::KeyNotFound(missing)) if missing == unknown));
    });
}

#[test]
fn another_key_of_the_same_id_is_refused() {
    run(async |token| {
        let id = new_id();
        let canary = token.hsm.create_key(id, "first").await.unwrap();
        assert!(token.hsm.destroy_key(id).await.unwrap());
        token.hsm.create_key(id, "second").await.unwrap();

        let loaded = token.hsm.load_key(id, canary.clone()).await;
        assert!(matches!(loaded, Err(Error::Canary(wrong)) if wrong == id), "{loaded:?}");
        let loaded = token.hsm.load_keys(vec![(id, canary)]).await.unwrap();
        assert!(matches!(loaded[0].1, Err(Error::Canary(_))));
        // It was usable before; now it is not.
        let used = token.hsm.encrypt(id, new_nonce(), vec![], secret(b"text")).await;
        assert!(matches!(used, Err(Error::KeyNotFound(_))));
        assert!(token.hsm.status().usable);

        for malformed in [vec![], vec![0; 11], vec![0; 500]] {
            let loaded = token.hsm.load_key(id, Canary::from_bytes(&malformed)).await;
            assert!(matches!(loaded, Err(Error::Canary(_))));
        }
    });
}

#[test]
fn a_canary_belongs_to_one_id() {
    run(async |token| {
        let (first, second) = (new_id(), new_id());
        let canary = token.hsm.create_key(first, "first").await.unwrap();
        token.hsm.create_key(second, "second").await.unwrap();
        let loaded = token.hsm.load_key(second, canary).await;
        assert!(matches!(loaded, Err(Error::Canary(wrong)) if wrong == second));
    });
}

#[test]
fn a_key_made_otherwise_is_refused() {
    run(async |token| {
        let session = token.raw();
        for wrong in [Attribute::Extractable(true), Attribute::Sensitive(false), Attribute::Unwrap(true)] {
            let id = new_id();
            let mut template = lax(id);
            template.retain(|attribute| attribute.attribute_type() != wrong.attribute_type());
            template.push(wrong.clone());
            session.generate_key(&Mechanism::AesKeyGen, &template).unwrap();
            let loaded = token.hsm.load_key(id, Canary::from_bytes(&[0; 54])).await;
            let name = wrong.attribute_type().to_string();
            assert!(matches!(&loaded, Err(Error::Attribute { attribute, .. }) if *attribute == name), "{loaded:?}");
            assert!(token.hsm.destroy_key(id).await.unwrap());
        }
    });
}

#[test]
fn of_two_keys_with_one_id_neither_is_touched() {
    run(async |token| {
        let id = new_id();
        let session = token.raw();
        session.generate_key(&Mechanism::AesKeyGen, &lax(id)).unwrap();
        session.generate_key(&Mechanism::AesKeyGen, &lax(id)).unwrap();

        let canary = Canary::from_bytes(&[0; 54]);
        assert!(matches!(token.hsm.load_key(id, canary.clone()).await, Err(Error::AmbiguousKey(_))));
        let loaded = token.hsm.load_keys(vec![(id, canary)]).await.unwrap();
        assert!(matches!(loaded[0].1, Err(Error::AmbiguousKey(_))));
        assert!(matches!(token.hsm.destroy_key(id).await, Err(Error::AmbiguousKey(_))));

        let found = session.find_objects(&[Attribute::Id(id.as_bytes().to_vec())]).unwrap();
        assert_eq!(found.len(), 2);
        for handle in found {
            session.destroy_object(handle).unwrap();
        }
    });
}

#[test]
fn a_destroyed_key_is_gone() {
    run(async |token| {
        let id = new_id();
        let canary = token.hsm.create_key(id, "short-lived").await.unwrap();
        assert!(token.hsm.destroy_key(id).await.unwrap());
        assert!(!token.hsm.destroy_key(id).await.unwrap());
        let used = token.hsm.encrypt(id, new_nonce(), vec![], secret(b"text")).await;
        assert!(matches!(used, Err(Error::KeyNotFound(_))));
        assert!(matches!(token.hsm.load_key(id, canary).await, Err(Error::KeyNotFound(_))));
    });
}

#[test]
fn a_key_destroyed_behind_our_back_is_not_found() {
    run(async |token| {
        let id = new_id();
        token.hsm.create_key(id, "short-lived").await.unwrap();
        let session = token.raw();
        session.destroy_object(raw_handle(&session, id)).unwrap();
        for _ in 0..2 {
            let used = token.hsm.encrypt(id, new_nonce(), vec![], secret(b"text")).await;
            assert!(matches!(used, Err(Error::KeyNotFound(_))), "{used:?}");
        }
        assert!(token.hsm.status().usable);
    });
}

/// Ours but for what a test changes; without `CKA_ALLOWED_MECHANISMS` it is refused in any case.
fn lax(id: ObjectId) -> Vec<Attribute> {
    vec![
        Attribute::Id(id.as_bytes().to_vec()),
        Attribute::ValueLen(32.into()),
        Attribute::Token(true),
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
    ]
}
