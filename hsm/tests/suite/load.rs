//! Many callers, many keys, many processes.

use hsm::{Canary, Encrypt, Error, Hsm, Nonce, Settings};
use tokio::task::JoinSet;

use crate::harness::{assert_passed, new_id, new_nonce, run, secret, text, variable};

#[test]
fn sixty_four_callers_get_their_own_answers() {
    run(async |token| {
        let id = new_id();
        token.hsm.create_key(id, "key").await.unwrap();
        let mut callers = JoinSet::new();
        for caller in 0..64_u8 {
            let hsm = token.hsm.clone();
            callers.spawn(async move {
                for round in 0..50_u8 {
                    let (nonce, aad, text) = (new_nonce(), vec![caller, round], [caller; 32]);
                    let sealed = hsm.encrypt(id, nonce, aad.clone(), secret(&text)).await.unwrap();
                    let forged = hsm.decrypt(id, nonce, vec![round], sealed.clone()).await;
                    assert!(matches!(forged, Err(Error::Authentication)));
                    let opened = hsm.decrypt(id, nonce, aad, sealed).await.unwrap();
                    assert_eq!(opened.as_bytes(), text);
                }
            });
        }
        while let Some(ended) = callers.join_next().await {
            ended.unwrap();
        }
    });
}

#[test]
fn a_full_queue_refuses_at_once() {
    run(async |token| {
        let hsm = Hsm::open(Settings { queue: 1, ..token.settings.clone() }).unwrap();
        let id = new_id();
        hsm.create_key(id, "key").await.unwrap();
        let item = || Encrypt { key: id, nonce: new_nonce(), aad: vec![], plaintext: secret(&[0; 4096]) };

        // The first keeps the thread busy for far longer than it takes to ask 64 times.
        let mut callers = JoinSet::new();
        for _ in 0..64 {
            let (hsm, items) = (hsm.clone(), (0..500).map(|_| item()).collect());
            callers.spawn(async move { hsm.encrypt_batch(items).await });
        }
        let (mut done, mut busy) = (0, 0);
        while let Some(ended) = callers.join_next().await {
            match ended.unwrap() {
                Ok(results) => done += results.into_iter().flatten().count() / 500,
                Err(Error::Busy) => busy += 1,
                Err(error) => panic!("{error}"),
            }
        }
        assert!(done >= 1 && busy >= 1 && done + busy == 64, "{done} done, {busy} busy");
        hsm.encrypt(id, new_nonce(), vec![], secret(b"text")).await.unwrap();
    });
}

#[test]
fn a_caller_who_goes_away_harms_nobody() {
    run(async |token| {
        let id = new_id();
        token.hsm.create_key(id, "key").await.unwrap();
        let mut callers = JoinSet::new();
        for _ in 0..64 {
            let hsm = token.hsm.clone();
            callers.spawn(async move { hsm.encrypt(id, new_nonce(), vec![], secret(&[0; 32])).await });
        }
        callers.shutdown().await;
        token.hsm.encrypt(id, new_nonce(), vec![], secret(b"text")).await.unwrap();
    });
}

#[test]
fn many_keys_are_loaded_with_one_search() {
    run(async |token| {
        let mut keys = Vec::new();
        for index in 0..200 {
            let id = new_id();
            keys.push((id, token.hsm.create_key(id, &format!("key {index}")).await.unwrap()));
        }
        let missing = new_id();
        keys.insert(100, (missing, Canary::from_bytes(&[0; 54])));
        let wrong = keys[3].1.clone();
        keys[150].1 = wrong;

        let hsm = token.open_again();
        let loaded = hsm.load_keys(keys.clone()).await.unwrap();
        assert_eq!(loaded.len(), keys.len());
        for (index, ((id, result), (asked, _))) in loaded.into_iter().zip(&keys).enumerate() {
            assert_eq!(id, *asked);
            match index {
                100 => assert!(matches!(result, Err(Error::KeyNotFound(_)))),
                150 => assert!(matches!(result, Err(Error::Canary(_)))),
                _ => result.unwrap(),
            }
            let used = hsm.encrypt(id, new_nonce(), vec![], secret(b"text")).await;
            assert_eq!(used.is_ok(), ![100, 150].contains(&index));
        }
    });
}

#[test]
fn processes_that_start_at_once_share_a_token() {
    run(async |token| {
        if !token.own {
            return;
        }
        if variable("HSM_TEST_SHARED").is_some() {
            let id = text("KEY").parse().unwrap();
            token.hsm.load_key(id, Canary::from_bytes(&hex::decode(text("CANARY")).unwrap())).await.unwrap();
            let sealed = hex::decode(text("SEALED")).unwrap();
            token.hsm.decrypt(id, Nonce::new([1; 12]), vec![], sealed).await.unwrap();
            // A key of its own, while the others do the same.
            token.hsm.create_key(new_id(), "theirs").await.unwrap();
            return;
        }

        let id = new_id();
        let canary = token.hsm.create_key(id, "shared").await.unwrap();
        let sealed = token.hsm.encrypt(id, Nonce::new([1; 12]), vec![], secret(b"text")).await.unwrap();
        let variables =
            [("KEY", id.to_string()), ("CANARY", hex::encode(canary.as_bytes())), ("SEALED", hex::encode(sealed))];
        let start = |_| {
            let mut command = token.in_process(&variables);
            command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap()
        };
        let children: Vec<_> = (0..6).map(start).collect();
        for child in children {
            assert_passed(&child.wait_with_output().unwrap());
        }
        let theirs = token.hsm.objects().await.unwrap().into_iter().filter(|object| object.label == "theirs");
        assert_eq!(theirs.count(), 6);
    });
}
