//! The audit writer at work.

use std::{sync::Arc, time::Duration};

use futures_util::{FutureExt as _, future::join_all};
use kms_client::{
    format::record::Outcome,
    id::{ChangeId, RecordId},
};
use kms_server::{
    audit::{Draft, Error},
    model::Revision,
    store::{AuditFilter, AuditIntent},
};

use super::{
    database::TestDatabase,
    on_both,
    softhsm::{AuditKey, StillClock, draft, fresh_bytes},
};

on_both!(
    many_at_once_form_one_chain,
    a_record_says_what_its_draft_said,
    a_record_that_is_too_long_fails_alone,
    what_does_not_fit_is_refused_at_once,
    an_intent_is_chained_and_gone,
    refusals_are_recorded_up_to_a_rate_then_counted,
    a_stop_writes_what_is_queued_and_closes,
    a_caller_that_goes_away_does_no_harm,
    a_change_does_not_wait_for_those_who_use_keys,
);

async fn a_change_does_not_wait_for_those_who_use_keys(database: &TestDatabase) {
    let key = AuditKey::create().await;
    let node = key.start(&database.store).await;
    let (change, record) = leave_intent(database, 1).await;
    // All of it is queued before the writer, which is on the same thread, has its turn.
    let load = join_all((0..12).map(|_| node.audit.seal(vec![draft("unwrap"); 1_000])));
    let (load, cut) = futures_util::future::join(load, node.audit.seal_intent(change, record)).await;
    assert!(load.iter().all(Result::is_ok));
    assert_eq!(cut.unwrap().sequence, 1, "right behind the record of the node's start");
    node.stop().await;
}

async fn many_at_once_form_one_chain(database: &TestDatabase) {
    let key = AuditKey::create().await;
    let node = key.start(&database.store).await;
    let sealed = join_all((0..64_usize).map(|caller| {
        let audit = node.audit.clone();
        async move {
            let mut sealed = Vec::new();
            for round in 0..20 {
                let drafts = vec![draft("unwrap"); 1 + (caller + round) % 3];
                let ids = audit.seal(drafts.clone()).await.unwrap();
                assert_eq!(ids.len(), drafts.len());
                assert!(ids.windows(2).all(|pair| pair[0].sequence + 1 == pair[1].sequence), "{ids:?}");
                sealed.extend(ids.into_iter().zip(drafts));
            }
            sealed
        }
    }));
    let sealed: Vec<_> = sealed.await.into_iter().flatten().collect();

    let head = node.audit.head();
    let report = key.assert_intact(&database.store).await;
    assert_eq!(report.chains[0].records, u64::try_from(sealed.len()).unwrap() + 1);
    assert_eq!((head.node, head.sequence), (node.id, report.chains[0].records - 1));
    assert_eq!(Some(head.hash), report.chains[0].head);
    let mut places: Vec<_> = sealed.iter().map(|(id, _)| id.sequence).collect();
    places.sort_unstable();
    assert!(places.into_iter().eq(1..report.chains[0].records), "each place once");
    let mut tx = database.store.read().await.unwrap();
    for (id, draft) in sealed.iter().step_by(97) {
        assert_eq!(&Draft::from(tx.record(*id).await.unwrap().unwrap()), draft);
    }
    drop(tx);
    node.stop().await;
}

async fn a_record_says_what_its_draft_said(database: &TestDatabase) {
    let key = AuditKey::create().await;
    let node = key.start(&database.store).await;
    let full = Draft::from(super::records::record(1));
    let ids = node.audit.seal(vec![full.clone(), draft("whoami")]).await.unwrap();
    assert_eq!(ids, [1, 2].map(|sequence| RecordId { node: node.id, sequence }));
    assert_eq!(node.audit.seal(Vec::new()).await.unwrap(), []);
    let mut tx = database.store.read().await.unwrap();
    let record = tx.record(ids[0]).await.unwrap().unwrap();
    assert_eq!(record.id(), ids[0]);
    assert!(record.time_micros > 1_600_000_000_000_000);
    assert_eq!(Draft::from(record), full);
    drop(tx);
    node.stop().await;
}

async fn a_record_that_is_too_long_fails_alone(database: &TestDatabase) {
    let key = AuditKey::create().await;
    let node = key.start(&database.store).await;
    let too_long = Draft { person: Some("x".repeat(70_000)), ..draft("wrap") };
    let (first, bad, mixed, last) = tokio::join!(
        node.audit.seal(vec![draft("unwrap")]),
        node.audit.seal(vec![too_long.clone()]),
        node.audit.seal(vec![draft("unwrap"), too_long]),
        node.audit.seal(vec![draft("unwrap")]),
    );
    assert!(matches!((bad, mixed), (Err(Error::TooLong(_)), Err(Error::TooLong(_)))));
    assert_eq!([first.unwrap(), last.unwrap()].map(|ids| ids[0].sequence), [1, 2], "no place is left empty");
    assert_eq!(key.assert_intact(&database.store).await.chains[0].records, 3);
    node.stop().await;
}

async fn what_does_not_fit_is_refused_at_once(database: &TestDatabase) {
    let key = AuditKey::create().await;
    let node = key.start(&database.store).await;
    assert!(matches!(node.audit.seal(vec![draft("unwrap"); 16_385]).await, Err(Error::Overloaded)));

    // While nothing can be committed the queue fills, and what is beyond it is refused without waiting.
    let blocker = database.store.begin().await.unwrap();
    let lock = if database.is_postgres() { Some(lock_chains(database).await) } else { None };
    let mut waiting = Vec::new();
    let refused = loop {
        let mut sealing = Box::pin(node.audit.seal(vec![draft("unwrap"); 1_000]));
        match (&mut sealing).now_or_never() {
            Some(result) => break result,
            None => waiting.push(sealing),
        }
    };
    assert!(matches!(refused, Err(Error::Overloaded)));
    assert_eq!(waiting.len(), 16);
    drop((blocker, lock));
    for sealed in join_all(waiting).await {
        sealed.unwrap();
    }
    assert_eq!(key.assert_intact(&database.store).await.chains[0].records, 16_001);
    node.stop().await;
}

/// Holds the chains' rows until dropped.
async fn lock_chains(database: &TestDatabase) -> kms_server::store::Tx<'static> {
    let mut tx = database.store.begin().await.unwrap();
    let chain = tx.newest_chain().await.unwrap().unwrap().chain;
    assert!(tx.advance_chain(chain.node, (chain.head.sequence, chain.head.hash), &chain.head).await.unwrap());
    tx
}

async fn an_intent_is_chained_and_gone(database: &TestDatabase) {
    let key = AuditKey::create().await;
    let node = key.start(&database.store).await;
    let (change, record) = leave_intent(database, 1).await;
    let id = node.audit.seal_intent(change, record.clone()).await.unwrap();
    let mut tx = database.store.read().await.unwrap();
    assert_eq!(tx.intents(9).await.unwrap(), []);
    assert_eq!(Draft::from(tx.record(id).await.unwrap().unwrap()), record);
    drop(tx);

    let (twice, beside) = tokio::join!(node.audit.seal_intent(change, record), node.audit.seal(vec![draft("unwrap")]));
    assert!(matches!(twice, Err(Error::NoIntent(gone)) if gone == change));
    beside.unwrap();
    assert_eq!(key.assert_intact(&database.store).await.chains[0].records, 3);
    node.stop().await;
}

async fn refusals_are_recorded_up_to_a_rate_then_counted(database: &TestDatabase) {
    let key = AuditKey::create().await;
    let clock = Arc::new(StillClock(Duration::from_secs(1).into()));
    let node = key.try_start(&database.store, clock.clone()).await.unwrap();
    let refusal = || Draft { outcome: Outcome::Denied, reason: "unauthenticated".to_owned(), ..draft("unwrap") };
    let mut singly = 0;
    for _ in 0..150 {
        singly += u32::from(node.audit.note(refusal()).await.unwrap().is_some());
    }
    assert_eq!(singly, 100);
    *clock.0.lock().unwrap() = Duration::from_millis(1_500);
    for _ in 0..70 {
        singly += u32::from(node.audit.note(refusal()).await.unwrap().is_some());
    }
    assert_eq!(singly, 150);
    let audit = node.audit.clone();
    node.stop().await;
    assert!(matches!(audit.note(refusal()).await, Err(Error::Stopped)));

    let mut tx = database.store.read().await.unwrap();
    let filter = AuditFilter { outcome: Some(Outcome::Denied), ..AuditFilter::default() };
    let (records, _) = tx.search(&filter, 1_000, None).await.unwrap();
    let counted: u32 = records.iter().filter(|record| record.count > 1).map(|record| record.count).sum();
    let alone = records.iter().filter(|record| record.count == 1).count();
    assert_eq!(records.iter().map(|record| record.count).sum::<u32>(), 220, "{alone} + {counted}");
    assert!(alone >= 150 && records.len() < 170, "{alone} of {}", records.len());
}

async fn a_stop_writes_what_is_queued_and_closes(database: &TestDatabase) {
    let key = AuditKey::create().await;
    let node = key.start(&database.store).await;
    let audit = node.audit.clone();
    let sealing = join_all((0..50).map(|_| audit.seal(vec![draft("unwrap")])));
    let (sealed, ()) = tokio::join!(sealing, node.stop());
    assert!(sealed.into_iter().all(|sealed| sealed.is_ok()));
    assert!(matches!(audit.seal(vec![draft("unwrap")]).await, Err(Error::Stopped)));

    let report = key.assert_intact(&database.store).await;
    assert!(report.chains[0].closed);
    assert_eq!(report.chains[0].records, 52);
    let mut tx = database.store.read().await.unwrap();
    let last = tx.record(RecordId { node: audit.head().node, sequence: 51 }).await.unwrap().unwrap();
    assert_eq!(last.action, "node_stop");
}

async fn a_caller_that_goes_away_does_no_harm(database: &TestDatabase) {
    let key = AuditKey::create().await;
    let node = key.start(&database.store).await;
    for _ in 0..20 {
        let mut sealing = Box::pin(node.audit.seal(vec![draft("unwrap")]));
        assert!((&mut sealing).now_or_never().is_none());
    }
    node.audit.seal(vec![draft("unwrap")]).await.unwrap();
    assert_eq!(key.assert_intact(&database.store).await.chains[0].records, 22);
    node.stop().await;
}

/// Commits an intent as a control change does.
pub(crate) async fn leave_intent(database: &TestDatabase, revision: u64) -> (ChangeId, Draft) {
    let change = ChangeId::from_bytes(fresh_bytes());
    let record = Draft { change: Some(change), ..draft("revoke_key") };
    let intent = AuditIntent {
        change,
        node: kms_client::id::NodeId::from_bytes([1; 16]),
        revision: Revision(revision),
        record: record.to_intent().unwrap(),
    };
    let mut tx = database.store.begin().await.unwrap();
    tx.insert_intent(&intent).await.unwrap();
    tx.commit().await.unwrap();
    (change, record)
}
