//! Searching the audit records.

use kms_client::{
    format::record::{ContextDigest, Outcome, Record},
    id::{ChangeId, DataKeyId, KeyId, PrincipalId, RequestId},
};
use kms_server::store::AuditFilter;

use super::{
    database::{TestDatabase, at},
    on_both,
    records::{append, record, row},
};

on_both!(every_filter_finds_what_it_says_and_nothing_else, pages_are_newest_first_and_whole);

type Alter = fn(&mut Record);

/// For each column: a filter, and what makes a record match it.
fn cases() -> Vec<(AuditFilter, Alter)> {
    let filter = AuditFilter::default;
    vec![
        (AuditFilter { principal: Some(PrincipalId::from_bytes([70; 16])), ..filter() }, |record| {
            record.principal = Some(PrincipalId::from_bytes([70; 16]));
        }),
        (AuditFilter { key: Some(KeyId::from_bytes([71; 16])), ..filter() }, |record| {
            record.key = Some(KeyId::from_bytes([71; 16]));
        }),
        (AuditFilter { data_key: Some(DataKeyId::from_bytes([72; 16])), ..filter() }, |record| {
            record.data_key = Some(DataKeyId::from_bytes([72; 16]));
        }),
        (AuditFilter { request: Some(RequestId::from_bytes([73; 16])), ..filter() }, |record| {
            record.request = RequestId::from_bytes([73; 16]);
        }),
        (AuditFilter { change: Some(ChangeId::from_bytes([74; 16])), ..filter() }, |record| {
            record.change = Some(ChangeId::from_bytes([74; 16]));
        }),
        (AuditFilter { action: Some("revoke_key".to_owned()), ..filter() }, |record| {
            "revoke_key".clone_into(&mut record.action);
        }),
        (AuditFilter { action: Some("wrap".to_owned()), ..filter() }, |record| {
            "wrap".clone_into(&mut record.action);
        }),
        (AuditFilter { outcome: Some(Outcome::Denied), ..filter() }, |record| record.outcome = Outcome::Denied),
        (
            AuditFilter {
                context_digests: vec![ContextDigest::from_bytes([75; 32]), ContextDigest::from_bytes([76; 32])],
                ..filter()
            },
            |record| record.context_digest = Some(ContextDigest::from_bytes([76; 32])),
        ),
        (AuditFilter { from: Some(at(2_000_000_000_000_000)), ..filter() }, |record| {
            record.time_micros = 2_000_000_000_000_000;
        }),
        (AuditFilter { until: Some(at(5)), ..filter() }, |record| record.time_micros = 4),
    ]
}

async fn every_filter_finds_what_it_says_and_nothing_else(database: &TestDatabase) {
    let cases = cases();
    let mut records: Vec<_> = (0..40).map(record).collect();
    for (place, (_, alter)) in cases.iter().enumerate() {
        alter(&mut records[2 * place + 1]);
    }
    let rows: Vec<_> = records.iter().cloned().map(row).collect();
    append(&database.store, &rows).await;

    let mut tx = database.store.read().await.unwrap();
    for (place, (filter, _)) in cases.iter().enumerate() {
        let (found, next) = tx.search(filter, 10, None).await.unwrap();
        assert_eq!((found, next), (vec![records[2 * place + 1].clone()], None), "{filter:?}");
    }
    let both = AuditFilter {
        outcome: Some(Outcome::Allowed),
        key: Some(KeyId::from_bytes([71; 16])),
        ..AuditFilter::default()
    };
    assert_eq!(tx.search(&both, 10, None).await.unwrap().0, [records[3].clone()]);
    let neither = AuditFilter { outcome: Some(Outcome::Failed), ..both };
    assert_eq!(tx.search(&neither, 10, None).await.unwrap().0, []);
}

async fn pages_are_newest_first_and_whole(database: &TestDatabase) {
    // Three records of each moment, so that pages end between equals.
    let records: Vec<_> =
        (0..20).map(|place| Record { time_micros: i64::try_from(place / 3).unwrap(), ..record(place) }).collect();
    append(&database.store, &records.iter().cloned().map(row).collect::<Vec<_>>()).await;

    let mut tx = database.store.read().await.unwrap();
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let (page, next) = tx.search(&AuditFilter::default(), 4, after).await.unwrap();
        assert!(page.len() <= 4);
        found.extend(page);
        after = next;
        if after.is_none() {
            break;
        }
    }
    let newest_first: Vec<_> = records.into_iter().rev().collect();
    assert_eq!(found, newest_first);
    assert_eq!(tx.search(&AuditFilter::default(), 20, None).await.unwrap().1, None, "a full last page is the last");
}
