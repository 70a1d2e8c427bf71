//! More refusals than are recorded singly: those beyond the rate become counts, and none is forgotten.

use futures_util::future::join_all;
use keyward_tests::{Ask, Backend, TestKms, until};
use kms_client::{format::record::Outcome, wire::audit::AuditSearch};

const CONNECTIONS: u32 = 8;
const EACH: u32 = 250;

async fn refusals(backend: Backend) {
    let kms = TestKms::start(backend).await;
    let flood = (0..CONNECTIONS).map(async |_| {
        let mut connection = kms.connect(None).await;
        for _ in 0..EACH {
            assert_eq!(connection.ask(&Ask::new("GET", "/v1/whoami")).await.status, 401);
        }
    });
    join_all(flood).await;
    let audrey = kms.client("audrey");
    let search = AuditSearch { outcome: Some(Outcome::Denied), limit: Some(1000), ..AuditSearch::default() };
    let records = until(async || {
        let found = audrey.search_audit(&search).await.unwrap();
        assert!(found.next_cursor.is_none(), "nearly all were recorded singly");
        let records: Vec<_> = found.records.into_iter().map(|view| view.record).collect();
        (records.iter().map(|record| record.count).sum::<u32>() == CONNECTIONS * EACH).then_some(records)
    });
    let records = records.await;
    assert!(records.iter().filter(|record| record.count == 1).count() >= 100, "{}", records.len());
    let counts: Vec<_> = records.iter().filter(|record| record.count > 1).collect();
    assert!(!counts.is_empty());
    // A count is of many: it names what was refused and why, and nobody.
    assert!(counts.iter().all(|record| record.reason == records[0].reason && record.principal.is_none()));
    kms.restart().await.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_refusals_become_counts_on_sqlite() {
    refusals(Backend::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_refusals_become_counts_on_postgres() {
    refusals(Backend::Postgres).await;
}
