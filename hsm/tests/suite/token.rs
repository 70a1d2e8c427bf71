//! Opening, losing and regaining a token.

use cryptoki::session::{Session, UserType};
use hsm::{Error, Hsm, Settings};

use crate::harness::{Fixture, SO_PIN, new_id, new_nonce, run, secret};

#[test]
fn a_wrong_pin_is_refused_and_never_tried_again() {
    run(async |token| {
        let Fixture { hsm, settings, own, .. } = token;
        if !own {
            return;
        }
        let wrong = Settings { pin: "wrong-pin".into(), ..settings.clone() };
        // Also while somebody in the process is logged in, when the token does not look at the PIN.
        assert!(matches!(Hsm::open(wrong.clone()), Err(Error::PinIncorrect)));
        drop(hsm);
        assert!(matches!(Hsm::open(wrong), Err(Error::PinIncorrect)));
        Hsm::open(settings).unwrap();
    });
}

#[test]
fn a_missing_token_or_module_is_named() {
    run(async |token| {
        let settings = Settings { token_label: "no such token".to_owned(), ..token.settings.clone() };
        let error = Hsm::open(settings).unwrap_err();
        assert!(matches!(&error, Error::TokenNotFound { label } if label == "no such token"));
        let settings = Settings { module: "/nowhere/module.so".into(), ..token.settings.clone() };
        let error = Hsm::open(settings).unwrap_err();
        assert!(matches!(&error, Error::Module { .. }) && error.to_string().contains("/nowhere/module.so"));
        let settings = Settings { module: "/dev/null".into(), ..token.settings };
        assert!(matches!(Hsm::open(settings), Err(Error::Module { .. })));
    });
}

#[test]
fn a_token_is_initialised_once() {
    run(async |token| {
        let Settings { module, token_label, pin, .. } = &token.settings;
        if !token.own {
            return;
        }
        let again = hsm::initialise_token(module, token_label, &SO_PIN.into(), pin);
        assert!(matches!(again, Err(Error::TokenExists { label }) if label == *token_label));
        for label in ["", "trailing space ", "a label of more than thirty-two bytes"] {
            let refused = hsm::initialise_token(module, label, &SO_PIN.into(), pin);
            assert!(matches!(refused, Err(Error::InvalidLabel { .. })));
        }
        let second = format!("{token_label} 2");
        let refused = hsm::initialise_token(module, &second, &SO_PIN.into(), &"1".into());
        assert!(matches!(refused, Err(Error::PinUnacceptable { .. })), "{refused:?}");
        // What that left behind is completed, by whoever has the SO PIN.
        let refused = hsm::initialise_token(module, &second, &"another".into(), pin);
        assert!(matches!(refused, Err(Error::PinIncorrect)), "{refused:?}");
        hsm::initialise_token(module, &second, &SO_PIN.into(), pin).unwrap();
        Hsm::open(Settings { token_label: second, ..token.settings.clone() }).unwrap();
    });
}

#[test]
fn a_lost_login_is_a_fault_and_then_regained() {
    run(async |token| {
        let (id, signing) = (new_id(), new_id());
        token.hsm.create_key(id, "key").await.unwrap();
        let public = token.hsm.create_signing_key(signing, "audit").await.unwrap();
        let nonce = new_nonce();
        let sealed = token.hsm.encrypt(id, nonce, vec![], secret(b"text")).await.unwrap();
        let session = token.raw();

        // A key that the token hides is not one that does not exist.
        session.logout().unwrap();
        let lost = token.hsm.decrypt(id, nonce, vec![], sealed.clone()).await;
        assert!(matches!(lost, Err(Error::Unavailable { .. })), "{lost:?}");
        let status = token.hsm.status();
        assert!(!status.usable && status.last_error.is_some());
        assert_eq!(token.hsm.decrypt(id, nonce, vec![], sealed).await.unwrap().as_bytes(), b"text");
        assert!(token.hsm.status().usable);
        let signature = token.hsm.sign(signing, vec![1]).await.unwrap();
        assert!(public.verifies(&[1], &signature));

        session.logout().unwrap();
        assert!(matches!(token.hsm.destroy_key(id).await, Err(Error::Unavailable { .. })));
        assert!(token.hsm.destroy_key(id).await.unwrap());
        session.logout().unwrap();
        assert!(matches!(token.hsm.objects().await, Err(Error::Unavailable { .. })));
        assert!(token.hsm.objects().await.unwrap().iter().any(|object| object.id == Some(signing)));
    });
}

#[test]
fn many_keys_are_found_again_after_a_lost_login() {
    run(async |token| {
        let ids: Vec<_> = (0..20).map(|_| new_id()).collect();
        for id in &ids {
            token.hsm.create_key(*id, "key").await.unwrap();
        }
        let session = token.raw();
        let gone = crate::harness::raw_handle(&session, ids[7]);
        session.destroy_object(gone).unwrap();
        session.logout().unwrap();
        token.hsm.random(1).await.unwrap();
        token.hsm.encrypt(ids[0], new_nonce(), vec![], secret(b"text")).await.unwrap_err();
        for id in &ids {
            let used = token.hsm.encrypt(*id, new_nonce(), vec![], secret(b"text")).await;
            assert_eq!(used.is_ok(), *id != ids[7], "{used:?}");
        }
    });
}

#[test]
fn a_changed_pin_is_not_offered_twice() {
    run(async |token| {
        if !token.own {
            return;
        }
        let session: Session = token.raw();
        session.set_pin(&token.settings.pin, &"another-pin".into()).unwrap();
        session.logout().unwrap();
        assert!(matches!(token.hsm.objects().await, Err(Error::Unavailable { .. })));
        assert!(matches!(token.hsm.objects().await, Err(Error::PinIncorrect)));
        // Even though it would be right again.
        session.login(UserType::User, Some(&"another-pin".into())).unwrap();
        session.set_pin(&"another-pin".into(), &token.settings.pin).unwrap();
        session.logout().unwrap();
        assert!(matches!(token.hsm.objects().await, Err(Error::PinIncorrect)));
        assert!(!token.hsm.status().usable);
    });
}
