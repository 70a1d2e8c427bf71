//! How many records a second the writer takes from 64 callers, and how many bytes each leaves. Nothing is judged here:
//! `cargo test --release --test store rate -- --ignored --nocapture --test-threads 1`.

use aws_lc_rs::rand;
use futures_util::future::join_all;
use kms_client::{
    format::record::{ContextDigest, PrincipalKind, Surface},
    id::{CredentialId, DataKeyId, KeyId, KeyVersion, PrincipalId, RequestId},
};
use kms_server::{
    audit::Draft,
    model::{Clock as _, Ids, SystemClock},
};

use super::{
    database::TestDatabase,
    softhsm::{AuditKey, draft},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn on_sqlite() {
    let database = TestDatabase::sqlite().await;
    measure(&database).await;
    database.meddle("PRAGMA wal_checkpoint(TRUNCATE)").await;
    let size =
        database.ask("SELECT CAST(page_count * page_size AS TEXT) FROM pragma_page_count(), pragma_page_size()").await;
    report_size(&database, &size).await;
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn on_postgres() {
    let Some(database) = TestDatabase::postgres().await else { return };
    measure(&database).await;
    let size = database.ask("SELECT pg_total_relation_size('audit_records')::TEXT").await;
    report_size(&database, &size).await;
    database.drop().await;
}

async fn measure(database: &TestDatabase) {
    let node = AuditKey::create().await.start(&database.store).await;
    for (callers, each, batch) in [(1, 300, 1), (16, 1_000, 1), (64, 2_000, 1), (64, 40, 100)] {
        let drafts: Vec<Vec<Vec<Draft>>> =
            (0..callers).map(|_| (0..each).map(|_| (0..batch).map(|_| unwrap()).collect()).collect()).collect();
        let started = SystemClock.boot();
        let tasks: Vec<_> = drafts
            .into_iter()
            .map(|drafts| {
                let audit = node.audit.clone();
                async move {
                    for drafts in drafts {
                        audit.seal(drafts).await.unwrap();
                    }
                }
            })
            .collect();
        join_all(tasks).await;
        let seconds = SystemClock.boot().saturating_sub(started).as_secs_f64();
        let records = f64::from(callers * each * batch);
        println!("{callers:>3} callers, {batch:>3} at once: {:>7.0} records/s", records / seconds);
    }
    node.stop().await;
}

async fn report_size(database: &TestDatabase, size: &str) {
    let records: f64 = database.ask("SELECT CAST(COUNT(*) AS TEXT) FROM audit_records").await.parse().unwrap();
    let leaves: f64 = database.ask("SELECT CAST(SUM(length(leaf)) AS TEXT) FROM audit_records").await.parse().unwrap();
    let size: f64 = size.parse().unwrap();
    println!("{records} records: {:.0} bytes each, {:.0} of them the leaf", size / records, leaves / records);
}

/// What an unwrap usually leaves: fifty services, twenty keys, its own data key and context.
fn unwrap() -> Draft {
    let random = random::<48>();
    let (who, key) = (random[0] % 50, random[1] % 20);
    Draft {
        request: RequestId::new(Ids.fresh(SystemClock.now())),
        principal: Some(PrincipalId::from_bytes([who; 16])),
        principal_kind: Some(PrincipalKind::Service),
        credential: Some(CredentialId::from_bytes([who; 16])),
        source: Some([10, 0, 0, who].into()),
        surface: Surface::Native,
        key: Some(KeyId::from_bytes([key; 16])),
        key_version: KeyVersion::new(3),
        key_class: Some("imaging".to_owned()),
        data_key: Some(DataKeyId::from_bytes(random[..16].try_into().unwrap())),
        policies: vec!["unwrapper".to_owned()],
        context_digest: Some(ContextDigest::from_bytes(random[16..].try_into().unwrap())),
        bytes_in: 172,
        bytes_out: 32,
        ..draft("unwrap")
    }
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).unwrap();
    bytes
}
