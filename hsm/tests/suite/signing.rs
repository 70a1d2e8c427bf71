//! Signing keys: what they sign verifies without the token, and only the right key is used.

use hsm::{Error, PublicKey, SignatureAlgorithm};

use crate::harness::{new_id, new_nonce, run, secret};

#[test]
fn signatures_verify_without_the_token() {
    run(async |token| {
        for algorithm in [SignatureAlgorithm::Ed25519, SignatureAlgorithm::P256] {
            let id = new_id();
            let public = token.hsm.create_signing_key_with(id, "audit", algorithm).await.unwrap();
            assert_eq!(public.algorithm, algorithm);
            for message in [&b""[..], b"checkpoint", &[7; 5000]] {
                let signature = token.hsm.sign(id, message.to_vec()).await.unwrap();
                assert_eq!(signature.len(), 64);
                assert!(public.verifies(message, &signature));
                assert!(!public.verifies(b"another", &signature));
            }
            let stored = serde_json::to_string(&public).unwrap();
            assert_eq!(serde_json::from_str::<PublicKey>(&stored).unwrap(), public);
        }
    });
}

#[test]
fn a_signing_key_is_loaded_only_with_its_public_key() {
    run(async |token| {
        let (id, other) = (new_id(), new_id());
        let public = token.hsm.create_signing_key(id, "audit").await.unwrap();
        let another = token.hsm.create_signing_key(other, "another").await.unwrap();

        token.hsm.forget_key(id);
        assert!(matches!(token.hsm.sign(id, vec![1]).await, Err(Error::KeyNotFound(_))));
        assert!(matches!(token.hsm.load_signing_key(id, another).await, Err(Error::Canary(wrong)) if wrong == id));
        assert!(matches!(token.hsm.sign(id, vec![1]).await, Err(Error::KeyNotFound(_))));
        token.hsm.load_signing_key(id, public.clone()).await.unwrap();
        let signature = token.hsm.sign(id, vec![1]).await.unwrap();
        assert!(public.verifies(&[1], &signature));

        assert!(token.hsm.destroy_key(id).await.unwrap());
        assert!(matches!(token.hsm.load_signing_key(id, public).await, Err(Error::KeyNotFound(_))));
    });
}

#[test]
fn a_key_does_what_it_is_for_and_nothing_else() {
    run(async |token| {
        let (signing, wrapping) = (new_id(), new_id());
        token.hsm.create_signing_key(signing, "audit").await.unwrap();
        token.hsm.create_key(wrapping, "records").await.unwrap();
        assert!(matches!(token.hsm.sign(wrapping, vec![1]).await, Err(Error::KeyNotFound(_))));
        token.hsm.encrypt(signing, new_nonce(), vec![], secret(b"text")).await.unwrap_err();
        token.hsm.decrypt(signing, new_nonce(), vec![], vec![0; 48]).await.unwrap_err();
        assert!(token.hsm.status().usable);
    });
}
