//! The HSM in trouble, through a PKCS#11 module that fails and hangs on command: what callers are told, what `/readyz` and the
//! metrics say, and that all of it passes without a restart, except for a PIN that was refused and a call that never returns.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

use futures_util::future::{join, join_all};
use hsm::ObjectClass;
use keyward_tests::{Backend, Faults, Sql, StoppedKms, TestKms, from, rv};
use kms_client::{
    client::Client,
    format::record::Outcome,
    wire::{
        audit::AuditSearch,
        batch::{Batch, Item},
        data_key::UnwrapDataKey,
        name::KeyName,
        problem::Code,
    },
};
use kms_server::serve::{ServeError, Unfit};
use serde_json::json;

use crate::gate::wrapped;

/// A little more than `[key_store] call_timeout_seconds`, `stuck_limit_seconds`, and the longest pause between attempts.
const TIMEOUT: Duration = Duration::from_secs(6);
const LIMIT: Duration = Duration::from_secs(31);
const LONGEST_PAUSE: Duration = Duration::from_secs(31);

async fn installation() -> (TestKms, Faults, Client, UnwrapDataKey) {
    let (kms, faults) = TestKms::start_with_faults(Backend::Sqlite).await;
    let key = kms.usable_key("records", "clinical").await;
    let storage = kms.client("storage");
    let unwrap = wrapped(&storage, &key, 32).await;
    (kms, faults, storage, unwrap)
}

/// Unwraps, or tells why not.
async fn unwrap(storage: &Client, unwrap: &UnwrapDataKey) -> Result<(), Code> {
    match storage.unwrap_data_key(unwrap).await {
        Ok(opened) => {
            assert_eq!(opened.plaintext.expose(), [7; 32], "somebody else's answer");
            Ok(())
        }
        Err(error) => Err(error.code().unwrap_or_else(|| panic!("{error:?}"))),
    }
}

pub(crate) async fn metric(kms: &TestKms, name: &str) -> f64 {
    let (_, text) = kms.operations("/metrics").await;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("no metric {name} in {text}")).parse().unwrap()
}

/// Waits until no object is being made any more.
async fn until_nothing_unmade(kms: &TestKms) {
    let mut sql = Sql::connect(&kms.config).await;
    while sql.number("SELECT COUNT(*) FROM hsm_objects WHERE state <> 'live'").await > 0 {
        tokio::task::yield_now().await;
    }
    sql.close().await;
}

/// How many keys the token holds, the installation's own two included.
async fn keys_in_token(stopped: &StoppedKms) -> usize {
    let objects = stopped.hsm().await.objects().await.unwrap();
    objects.iter().filter(|object| object.class != ObjectClass::Data).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_call_is_told_at_its_deadline_and_holds_nobody_up() {
    let (kms, mut faults, storage, wrapped) = installation().await;
    faults.block("C_Decrypt");
    let waiting = join_all((0..16).map(|_| unwrap(&storage, &wrapped)));
    let time_passes = async {
        assert_eq!(faults.blocked().await, "C_Decrypt");
        kms.advance(TIMEOUT).await;
    };
    let (answers, ()) = join(waiting, time_passes).await;
    assert_eq!(answers, [Err(Code::HsmUnavailable); 16]);

    // The call still hangs, and nobody waits for it.
    assert_eq!(unwrap(&storage, &wrapped).await, Err(Code::HsmUnavailable));
    let created = kms.client("ada").create_key(&from(json!({ "alias": "late", "data_class": "clinical" }))).await;
    assert_eq!(created.unwrap_err().code(), Some(Code::HsmUnavailable));
    let red = kms.until_ready(false).await;
    assert!(red.contains("\"hsm\":false") && red.contains("does not return"), "{red}");
    assert!((metric(&kms, "keyward_hsm_stuck").await - 1.0).abs() < 0.1);
    assert!(metric(&kms, "keyward_hsm_up").await.abs() < 0.1);

    // It returns after all: what it brings is nobody's, and everybody is served again.
    faults.clear();
    faults.release();
    kms.until_ready(true).await;
    for _ in 0..16 {
        assert_eq!(unwrap(&storage, &wrapped).await, Ok(()));
    }
    assert!((metric(&kms, "keyward_hsm_up").await - 1.0).abs() < 0.1);
    until_nothing_unmade(&kms).await;
    let search = AuditSearch { action: Some("unwrap".parse().unwrap()), limit: Some(100), ..AuditSearch::default() };
    let records = kms.client("audrey").search_audit(&search).await.unwrap().records;
    let failed = records.iter().filter(|view| view.record.outcome == Outcome::Failed).count();
    assert_eq!((failed, records.len()), (17, 33));
    kms.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_never_returns_makes_the_server_unfit() {
    let (kms, mut faults, storage, wrapped) = installation().await;
    faults.block("C_Decrypt");
    let leaves = async {
        faults.blocked().await;
        kms.advance(LIMIT).await;
        kms.server.failed().await
    };
    let (answer, unfit) = join(unwrap(&storage, &wrapped), leaves).await;
    assert_eq!((answer, unfit), (Err(Code::HsmUnavailable), Unfit::HsmStuck));
    // It stops all the same, without the thread that hangs.
    kms.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_process_leaves_with_one_clear_line_and_a_code_of_its_own() {
    let (kms, mut faults, _, wrapped) = installation().await;
    let stopped = kms.stop().await;
    let file = stopped.config_file();
    let quick = "[key_store]\ncall_timeout_seconds = 1\nstuck_limit_seconds = 1";
    let text = std::fs::read_to_string(&file).unwrap().replace("[key_store]", quick);
    std::fs::write(&file, text).unwrap();
    let mut server = stopped.process(None).await.unwrap();
    faults.block("C_Decrypt");
    let storage = server.client(&stopped.token("storage"));
    assert_eq!(unwrap(&storage, &wrapped).await, Err(Code::HsmUnavailable));
    let status = server.ended().await;
    assert_eq!(status.code(), Some(75), "{}", server.log());
    let lines: Vec<_> = server.log().lines().filter(|line| line.contains("kms-server: ")).map(str::to_owned).collect();
    assert!(lines.len() == 1 && lines[0].contains("stuck_limit_seconds"), "{lines:?}");
    assert!(!server.log().contains("panicked"), "{}", server.log());

    // The next process finds everything as it was.
    faults.clear();
    let server = stopped.process(None).await.unwrap();
    assert_eq!(unwrap(&server.client(&stopped.token("storage")), &wrapped).await, Ok(()));
    server.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_start_is_refused_in_time() {
    let (kms, mut faults, ..) = installation().await;
    let stopped = kms.stop().await;
    faults.block("C_Login");
    let time_passes = async {
        assert_eq!(faults.blocked().await, "C_Login");
        stopped.clock.advance(TIMEOUT);
    };
    let (refused, ()) = join(stopped.refusal(), time_passes).await;
    assert!(matches!(refused, ServeError::Hsm(hsm::Error::Stuck)), "{refused:?}");
    assert!(refused.to_string().contains("does not return"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_fails_under_load_comes_back_without_a_restart() {
    let (kms, mut faults, storage, wrapped) = installation().await;
    let (over, done) = (AtomicBool::new(false), AtomicUsize::new(0));
    let load = join_all((0..8).map(|_| async {
        while !over.load(Ordering::SeqCst) {
            match unwrap(&storage, &wrapped).await {
                Ok(()) => drop(done.fetch_add(1, Ordering::SeqCst)),
                // Whatever the token answers, it is not the caller's data that is blamed.
                Err(code) => assert_eq!(code, Code::HsmUnavailable),
            }
        }
    }));
    let trouble = async {
        for code in [
            rv::DEVICE_ERROR,
            rv::DEVICE_REMOVED,
            rv::TOKEN_NOT_PRESENT,
            rv::SESSION_HANDLE_INVALID,
            rv::SESSION_CLOSED,
            rv::USER_NOT_LOGGED_IN,
            rv::CRYPTOKI_NOT_INITIALIZED,
            rv::HOST_MEMORY,
            rv::DEVICE_MEMORY,
            rv::GENERAL_ERROR,
        ] {
            faults.fail("*", code);
            let red = kms.until_ready(false).await;
            assert!(red.contains("\"hsm_error\":\"C_") && red.contains("CKR_"), "{code:#x}: {red}");
            assert!(metric(&kms, "keyward_hsm_up").await.abs() < 0.1);
            faults.clear();
            kms.advance(LONGEST_PAUSE).await;
            kms.until_ready(true).await;
            let before = done.load(Ordering::SeqCst);
            while done.load(Ordering::SeqCst) < before + 8 {
                tokio::task::yield_now().await;
            }
        }
        over.store(true, Ordering::SeqCst);
    };
    join(load, trouble).await;
    kms.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_token_is_found_again_while_nobody_asks() {
    let (kms, mut faults, storage, wrapped) = installation().await;
    faults.fail("*", rv::DEVICE_REMOVED);
    assert_eq!(unwrap(&storage, &wrapped).await, Err(Code::HsmUnavailable));
    kms.until_ready(false).await;
    faults.clear();
    kms.advance(LONGEST_PAUSE).await;
    kms.until_ready(true).await;
    assert_eq!(unwrap(&storage, &wrapped).await, Ok(()));
    kms.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_needs_no_hsm() {
    let (kms, mut faults, storage, wrapped) = installation().await;
    let ada = kms.client("ada");
    let key = KeyName::Alias("records".parse().unwrap());
    // More changes than the token's own memory of them is ever behind, while it fails and while it hangs.
    faults.fail("*", rv::DEVICE_REMOVED);
    assert_eq!(unwrap(&storage, &wrapped).await, Err(Code::HsmUnavailable));
    for _ in 0..35 {
        ada.disable_key(&key, "cut".parse().unwrap()).await.unwrap();
        ada.enable_key(&key).await.unwrap();
    }
    faults.clear();
    kms.advance(LONGEST_PAUSE).await;
    kms.until_ready(true).await;
    faults.block("*");
    ada.disable_key(&key, "cut".parse().unwrap()).await.unwrap();
    faults.blocked().await;
    faults.clear();
    faults.release();
    assert_eq!(unwrap(&storage, &wrapped).await, Err(Code::KeyDisabled));
    ada.enable_key(&key).await.unwrap();
    kms.restart().await.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_tag_and_a_fault_are_told_apart() {
    let (kms, mut faults, storage, wrapped) = installation().await;
    let forged = UnwrapDataKey { context: from(json!({ "object": "another" })), ..wrapped.clone() };
    faults.count("C_OpenSession");
    for _ in 0..10 {
        assert_eq!(unwrap(&storage, &forged).await, Err(Code::InvalidWrappedKey));
    }
    assert_eq!(faults.calls("C_OpenSession"), 0, "a wrong tag cost a session");

    // SoftHSM's answer to a wrong tag, to what is right: once, and then for good.
    faults.clear();
    faults.fail_some("C_Decrypt", rv::GENERAL_ERROR, 1, 0);
    assert_eq!(unwrap(&storage, &wrapped).await, Ok(()));
    faults.clear();
    faults.fail("C_Decrypt", rv::GENERAL_ERROR);
    for item in [&wrapped, &forged] {
        assert_eq!(unwrap(&storage, item).await, Err(Code::HsmUnavailable));
    }
    faults.clear();
    kms.advance(LONGEST_PAUSE).await;
    kms.until_ready(true).await;
    assert_eq!(unwrap(&storage, &wrapped).await, Ok(()));
    assert_eq!(unwrap(&storage, &forged).await, Err(Code::InvalidWrappedKey));
    kms.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_item_that_fails_does_not_fail_its_batch() {
    let (kms, mut faults, storage, wrapped) = installation().await;
    for code in [rv::DEVICE_ERROR, rv::SESSION_HANDLE_INVALID, rv::HOST_MEMORY] {
        faults.clear();
        faults.fail_some("C_Decrypt", code, 1, 2);
        let batch = Batch { items: vec![wrapped.clone(); 5] };
        let answers = storage.unwrap_data_keys(&batch).await.unwrap().items;
        let codes: Vec<_> = answers
            .into_iter()
            .map(|item| match item {
                Item::Result(opened) => {
                    assert_eq!(opened.plaintext.expose(), [7; 32]);
                    None
                }
                Item::Error(problem) => Some(problem.code),
            })
            .collect();
        assert_eq!(codes, [None, None, Some(Code::HsmUnavailable), None, None], "{code:#x}");
    }
    kms.until_ready(true).await;
    kms.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_pin_is_offered_once() {
    let (mut kms, mut faults, _, wrapped) = installation().await;
    for (code, words) in [
        (rv::PIN_INCORRECT, "refused the PIN"),
        (rv::PIN_LOCKED, "locked the PIN"),
        (rv::PIN_EXPIRED, "CKR_PIN_EXPIRED"),
    ] {
        let (storage, before) = (kms.client("storage"), faults.calls("C_Login"));
        // The login is lost, and the token does not want the PIN any more.
        faults.fail_some("C_Decrypt", rv::USER_NOT_LOGGED_IN, 1, 0);
        faults.fail_some("C_GetSessionInfo", rv::SESSION_HANDLE_INVALID, 1, 0);
        faults.fail("C_Login", code);
        for _ in 0..4 {
            assert_eq!(unwrap(&storage, &wrapped).await, Err(Code::HsmUnavailable));
            kms.advance(LONGEST_PAUSE).await;
        }
        let red = kms.until_ready(false).await;
        assert!(red.contains(words), "{red}");
        // Not even once it would be right again: only a restart tries it.
        faults.clear();
        faults.count("C_Login");
        for _ in 0..4 {
            kms.advance(LONGEST_PAUSE).await;
            assert_eq!(unwrap(&storage, &wrapped).await, Err(Code::HsmUnavailable));
        }
        assert_eq!(faults.calls("C_Login") - before, 1, "{words}");
        faults.clear();
        kms = kms.restart().await;
        assert_eq!(unwrap(&kms.client("storage"), &wrapped).await, Ok(()));
    }
    kms.stop().await;
}

async fn a_key_that_cannot_be_made(backend: Backend) {
    let (kms, mut faults) = TestKms::start_with_faults(backend).await;
    let ada = kms.client("ada");
    let create = from(json!({ "alias": "records", "data_class": "clinical" }));
    let refused = async |when: &str| {
        let refused = ada.create_key(&create).await.unwrap_err();
        assert_eq!(refused.code(), Some(Code::HsmUnavailable), "{when}: {refused:?}");
    };

    // Between row and object.
    faults.fail_some("C_GenerateKey", rv::DEVICE_ERROR, 1, 0);
    refused("C_GenerateKey").await;
    until_nothing_unmade(&kms).await;
    // The object is there, it cannot be read back, and at first it cannot be destroyed either.
    faults.clear();
    faults.fail_some("C_GetAttributeValue", rv::DEVICE_ERROR, 1, 0);
    faults.fail_some("C_DestroyObject", rv::DEVICE_ERROR, 2, 0);
    refused("C_GetAttributeValue").await;
    kms.advance(LONGEST_PAUSE).await;
    until_nothing_unmade(&kms).await;
    // The object is made after its maker was told that it failed.
    faults.clear();
    faults.block("C_GenerateKey");
    let time_passes = async {
        assert_eq!(faults.blocked().await, "C_GenerateKey");
        kms.advance(TIMEOUT).await;
    };
    join(refused("too late"), time_passes).await;
    faults.clear();
    faults.release();
    kms.until_ready(true).await;
    until_nothing_unmade(&kms).await;

    let created = ada.create_key(&create).await.unwrap();
    assert_eq!(created.key.versions.len(), 1);
    let stopped = kms.stop().await;
    assert_eq!(keys_in_token(&stopped).await, 3, "an object was left over or destroyed");
    let kms = stopped.start_again().await.unwrap();
    assert!(kms.client("ada").key(&KeyName::Id(created.key.id)).await.is_ok());
    kms.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_cannot_be_made_leaves_nothing_on_sqlite() {
    a_key_that_cannot_be_made(Backend::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_cannot_be_made_leaves_nothing_on_postgres() {
    a_key_that_cannot_be_made(Backend::Postgres).await;
}
