//! Encryption: what was encrypted comes back, and nothing else does. A forgery costs the token nothing but its answer.

use hsm::{Decrypt, Encrypt, Error, Nonce, TAG_LEN};

use crate::harness::{new_id, new_nonce, random, run, secret};

#[test]
fn every_length_comes_back() {
    run(async |token| {
        let id = new_id();
        token.hsm.create_key(id, "key").await.unwrap();
        for len in [0, 1, 15, 16, 17, 32, 4096] {
            for aad in [vec![], b"context".to_vec(), vec![7; 9000]] {
                let (nonce, text) = (new_nonce(), vec![0x5a; len]);
                let sealed = token.hsm.encrypt(id, nonce, aad.clone(), secret(&text)).await.unwrap();
                assert_eq!(sealed.len(), len + TAG_LEN);
                let opened = token.hsm.decrypt(id, nonce, aad, sealed).await.unwrap();
                assert_eq!(opened.as_bytes(), text);
            }
        }
    });
}

#[test]
fn whatever_is_altered_does_not_authenticate() {
    run(async |token| {
        let (id, other) = (new_id(), new_id());
        token.hsm.create_key(id, "key").await.unwrap();
        token.hsm.create_key(other, "other").await.unwrap();
        let (nonce, aad) = (new_nonce(), b"context".to_vec());
        let sealed = token.hsm.encrypt(id, nonce, aad.clone(), secret(&random::<32>())).await.unwrap();

        let mut forgeries = vec![
            (other, nonce, aad.clone(), sealed.clone()),
            (id, nonce, vec![], sealed.clone()),
            (id, nonce, b"contexu".to_vec(), sealed.clone()),
            (id, Nonce::new([0; Nonce::LEN]), aad.clone(), sealed.clone()),
            (id, nonce, aad.clone(), [sealed.as_slice(), &[0]].concat()),
        ];
        for index in 0..sealed.len() {
            let mut flipped = sealed.clone();
            flipped[index] ^= 1 << (index % 8);
            forgeries.push((id, nonce, aad.clone(), flipped));
            forgeries.push((id, nonce, aad.clone(), sealed[..index].to_vec()));
        }
        for (id, nonce, aad, sealed) in forgeries {
            let opened = token.hsm.decrypt(id, nonce, aad, sealed).await;
            assert!(matches!(opened, Err(Error::Authentication)), "{opened:?}");
        }

        assert!(token.hsm.status().usable);
        assert_eq!(token.hsm.status().last_error, None);
        token.hsm.decrypt(id, nonce, aad, sealed).await.unwrap();
    });
}

#[test]
fn a_batch_keeps_its_order_and_its_good_items() {
    run(async |token| {
        let (id, missing) = (new_id(), new_id());
        token.hsm.create_key(id, "key").await.unwrap();
        let nonces: Vec<_> = (0..1000).map(|_| new_nonce()).collect();

        let items = nonces.iter().enumerate().map(|(index, nonce)| Encrypt {
            key: if index == 500 { missing } else { id },
            nonce: *nonce,
            aad: index.to_be_bytes().to_vec(),
            plaintext: secret(&index.to_be_bytes()),
        });
        let sealed = token.hsm.encrypt_batch(items.collect()).await.unwrap();
        assert_eq!(sealed.len(), nonces.len());

        let items = sealed.into_iter().zip(&nonces).enumerate().map(|(index, (sealed, nonce))| Decrypt {
            key: id,
            nonce: *nonce,
            aad: if index == 700 { vec![] } else { index.to_be_bytes().to_vec() },
            ciphertext: match sealed {
                Ok(sealed) => sealed,
                Err(error) => {
                    assert!(index == 500 && matches!(error, Error::KeyNotFound(_)), "{index}: {error}");
                    vec![]
                }
            },
        });
        let opened = token.hsm.decrypt_batch(items.collect()).await.unwrap();
        assert_eq!(opened.len(), nonces.len());
        for (index, opened) in opened.into_iter().enumerate() {
            match opened {
                Ok(text) => assert_eq!(text.as_bytes(), index.to_be_bytes()),
                Err(error) => assert!([500, 700].contains(&index) && matches!(error, Error::Authentication)),
            }
        }

        assert!(token.hsm.encrypt_batch(vec![]).await.unwrap().is_empty());
    });
}

#[test]
fn random_bytes_are_as_many_as_asked_and_never_the_same() {
    run(async |token| {
        assert!(token.hsm.random(0).await.unwrap().is_empty());
        for len in [1, 32, 1024] {
            assert_eq!(token.hsm.random(len).await.unwrap().len(), len);
        }
        let (first, second) = (token.hsm.random(32).await.unwrap(), token.hsm.random(32).await.unwrap());
        assert_ne!(first.as_bytes(), second.as_bytes());
    });
}
