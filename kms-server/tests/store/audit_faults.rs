//! The audit writer when the database fails it. On PostgreSQL a proxy between the two loses answers and requests.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use kms_server::{
    audit::{Draft, Error},
    model::{Clock as _, SystemClock},
    store::{AuditFilter, Database, Store},
};
use secrecy::ExposeSecret as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use super::{
    audit::leave_intent,
    database::TestDatabase,
    on_both,
    softhsm::{AuditKey, StillClock, draft},
};

on_both!(
    a_refused_write_fails_and_the_next_goes_on,
    one_record_that_the_database_refuses_fails_alone,
    an_intent_that_could_not_be_chained_is_chained_later,
    a_count_that_could_not_be_written_is_not_lost,
    a_chain_that_somebody_else_moved_is_never_continued,
);

async fn a_refused_write_fails_and_the_next_goes_on(database: &TestDatabase) {
    let key = AuditKey::create().await;
    let node = key.start(&database.store).await;
    node.audit.seal(vec![draft("unwrap")]).await.unwrap();
    refuse_records(database, "TRUE").await;
    let failed = join_all((0..20).map(|_| node.audit.seal(vec![draft("unwrap")]))).await;
    assert!(failed.iter().all(|sealed| matches!(sealed, Err(Error::Unavailable))), "{failed:?}");
    assert_eq!(node.audit.head().sequence, 1);
    take_records(database).await;
    assert_eq!(node.audit.seal(vec![draft("unwrap")]).await.unwrap()[0].sequence, 2);
    assert_eq!(key.assert_intact(&database.store).await.chains[0].records, 3);
    node.stop().await;
}

async fn one_record_that_the_database_refuses_fails_alone(database: &TestDatabase) {
    let key = AuditKey::create().await;
    let node = key.start(&database.store).await;
    refuse_records(database, "NEW.action = 'poison'").await;
    let sealed = join_all((0..30).map(|place| {
        let action = if place == 17 { "poison" } else { "unwrap" };
        node.audit.seal(vec![draft(action)])
    }));
    for (place, sealed) in sealed.await.into_iter().enumerate() {
        assert_eq!(sealed.is_ok(), place != 17, "{place}: {sealed:?}");
    }
    assert_eq!(key.assert_intact(&database.store).await.chains[0].records, 30);
    node.stop().await;
}

async fn an_intent_that_could_not_be_chained_is_chained_later(database: &TestDatabase) {
    let key = AuditKey::create().await;
    let node = key.start(&database.store).await;
    let (first, first_record) = leave_intent(database, 1).await;
    let (second, second_record) = leave_intent(database, 2).await;
    refuse_records(database, "TRUE").await;
    for (change, record) in [(first, &first_record), (second, &second_record)] {
        assert!(matches!(node.audit.seal_intent(change, record.clone()).await, Err(Error::Unavailable)));
    }
    take_records(database).await;
    // Asked again it is chained once; the other one the writer chains by itself.
    let asked_again = node.audit.seal_intent(first, first_record).await;
    assert!(matches!(asked_again, Ok(_) | Err(Error::NoIntent(_))), "{asked_again:?}");
    node.stop().await;
    let mut tx = database.store.read().await.unwrap();
    assert_eq!(tx.intents(9).await.unwrap(), []);
    drop(tx);
    let report = key.assert_intact(&database.store).await;
    assert_eq!(report.chains[0].records, 4, "start, two intents, stop");
}

async fn a_count_that_could_not_be_written_is_not_lost(database: &TestDatabase) {
    let key = AuditKey::create().await;
    let clock = Arc::new(StillClock(Duration::from_secs(1).into()));
    let node = key.try_start(&database.store, clock).await.unwrap();
    for _ in 0..100 {
        node.audit.note(draft("unwrap")).await.unwrap();
    }
    refuse_records(database, "TRUE").await;
    for _ in 0..7 {
        assert_eq!(node.audit.note(draft("unwrap")).await.unwrap(), None);
    }
    // Longer than counts wait to be written; these are what keeps the writer busy meanwhile.
    let until = SystemClock.boot() + Duration::from_millis(1_500);
    while SystemClock.boot() < until {
        assert!(node.audit.seal(vec![draft("wrap")]).await.is_err());
    }
    take_records(database).await;
    node.stop().await;
    let mut tx = database.store.read().await.unwrap();
    let unwraps = AuditFilter { action: Some("unwrap".to_owned()), ..AuditFilter::default() };
    let (records, _) = tx.search(&unwraps, 1_000, None).await.unwrap();
    assert_eq!(records.iter().map(|record| record.count).sum::<u32>(), 107);
}

async fn a_chain_that_somebody_else_moved_is_never_continued(database: &TestDatabase) {
    let key = AuditKey::create().await;
    let node = key.start(&database.store).await;
    node.audit.seal(vec![draft("unwrap")]).await.unwrap();
    database.meddle("UPDATE audit_chains SET head_sequence = head_sequence + 1").await;
    assert!(matches!(node.audit.seal(vec![draft("unwrap")]).await, Err(Error::Stopped)));
    assert_eq!(node.supervisor.failed().await, "audit writer");
    database.meddle("UPDATE audit_chains SET head_sequence = head_sequence - 1").await;
    assert!(matches!(node.audit.seal(vec![draft("unwrap")]).await, Err(Error::Stopped)), "for ever");
    node.stop().await;
}

#[tokio::test]
async fn a_commit_whose_answer_was_lost_is_not_written_twice() {
    let Some(behind) = BehindProxy::start().await else { return };
    for fault in [LOSE_ANSWER, LOSE_REQUEST] {
        behind.fault.store(fault, Ordering::SeqCst);
        let sealed = join_all((0..10).map(|_| behind.node.audit.seal(vec![draft("unwrap")]))).await;
        assert!(sealed.iter().all(Result::is_ok), "{sealed:?}");
        assert_eq!(behind.fault.load(Ordering::SeqCst), NONE, "the fault came to pass");
    }
    assert_eq!(behind.key.assert_intact(&behind.database.store).await.chains[0].records, 21);
    behind.stop().await;
}

#[tokio::test]
async fn an_intent_whose_commit_was_lost_is_chained_once() {
    let Some(behind) = BehindProxy::start().await else { return };
    for (revision, fault) in [(1, LOSE_ANSWER), (2, LOSE_REQUEST)] {
        let (change, record) = leave_intent(&behind.database, revision).await;
        behind.fault.store(fault, Ordering::SeqCst);
        behind.node.audit.seal_intent(change, record).await.unwrap();
    }
    assert_eq!(behind.key.assert_intact(&behind.database.store).await.chains[0].records, 3);
    behind.stop().await;
}

#[tokio::test]
async fn while_the_database_is_away_nothing_is_sealed_and_then_it_goes_on() {
    let Some(behind) = BehindProxy::start().await else { return };
    // The answer to a commit is lost and the database stays away: the batch is in doubt when it comes back.
    let (change, record) = leave_intent(&behind.database, 1).await;
    behind.fault.store(LOSE_ANSWER_AND_STAY_AWAY, Ordering::SeqCst);
    let unsure = behind.node.audit.seal_intent(change, record).await;
    assert!(matches!(unsure, Err(Error::Unavailable)), "{unsure:?}");
    for _ in 0..5 {
        let away = behind.node.audit.seal(vec![draft("unwrap")]).await;
        assert!(matches!(away, Err(Error::Unavailable)), "{away:?}");
    }
    behind.fault.store(NONE, Ordering::SeqCst);
    let ids = behind.node.audit.seal(vec![draft("whoami")]).await.unwrap();
    assert_eq!(ids[0].sequence, 2, "behind the commit that did happen");
    let mut tx = behind.database.store.read().await.unwrap();
    assert_eq!(Draft::from(tx.record(ids[0]).await.unwrap().unwrap()).action, "whoami");
    drop(tx);
    let BehindProxy { node, database, key, .. } = behind;
    node.stop().await;
    assert_eq!(key.assert_intact(&database.store).await.chains[0].records, 4, "the intent once");
}

/// A node whose way to PostgreSQL leads through a proxy that can be told to fail.
struct BehindProxy {
    database: TestDatabase,
    key: AuditKey,
    node: super::softhsm::Node,
    fault: Arc<AtomicU8>,
    #[expect(dead_code, reason = "the proxy ends when it is dropped")]
    proxy: JoinSet<()>,
}

const NONE: u8 = 0;
/// The next COMMIT reaches the server, and its answer nobody.
const LOSE_ANSWER: u8 = 1;
/// The next COMMIT reaches nobody.
const LOSE_REQUEST: u8 = 2;
/// As the first, and no connection is taken after it.
const LOSE_ANSWER_AND_STAY_AWAY: u8 = 3;
const AWAY: u8 = 4;

impl BehindProxy {
    async fn start() -> Option<Self> {
        let database = TestDatabase::postgres().await?;
        let Database::Postgres { url, .. } = &database.database else { unreachable!() };
        let url = url.expose_secret().to_owned();
        let (before, after) = url.split_once("://").unwrap();
        let (user, rest) = after.split_once('@').unwrap();
        let (server, path) = rest.split_once('/').unwrap();
        let (server, fault) = (server.to_owned(), Arc::new(AtomicU8::new(NONE)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let through = format!("{before}://{user}@{}/{path}", listener.local_addr().unwrap());
        let mut proxy = JoinSet::new();
        proxy.spawn(accept(listener, server, Arc::clone(&fault)));
        let through = Database::Postgres { url: through.into(), connections: 2 };
        let key = AuditKey::create().await;
        let node = key.start(&Store::open(&through).await.unwrap()).await;
        Some(Self { database, key, node, fault, proxy })
    }

    async fn stop(self) {
        self.node.stop().await;
        self.database.drop().await;
    }
}

async fn accept(listener: TcpListener, server: String, fault: Arc<AtomicU8>) {
    let mut connections = JoinSet::new();
    loop {
        let (client, _) = listener.accept().await.unwrap();
        if fault.load(Ordering::SeqCst) != AWAY {
            connections.spawn(carry(client, TcpStream::connect(&server).await.unwrap(), Arc::clone(&fault)));
        }
    }
}

/// Carries bytes both ways until the fault strikes or one side ends.
async fn carry(mut client: TcpStream, mut server: TcpStream, fault: Arc<AtomicU8>) {
    let (mut request, mut answer) = (vec![0; 65_536], vec![0; 65_536]);
    loop {
        tokio::select! {
            read = client.read(&mut request) => {
                let Ok(length @ 1..) = read else { return };
                let commits = request[..length].windows(6).any(|word| word == b"COMMIT");
                let strikes = if commits { fault.load(Ordering::SeqCst) } else { NONE };
                match strikes {
                    LOSE_REQUEST => return fault.store(NONE, Ordering::SeqCst),
                    LOSE_ANSWER | LOSE_ANSWER_AND_STAY_AWAY => {
                        server.write_all(&request[..length]).await.unwrap();
                        // The answer comes once the commit is done.
                        let _lost = server.read(&mut answer).await.unwrap();
                        let after = if strikes == LOSE_ANSWER { NONE } else { AWAY };
                        return fault.store(after, Ordering::SeqCst);
                    }
                    _ => server.write_all(&request[..length]).await.unwrap(),
                }
            }
            read = server.read(&mut answer) => {
                let Ok(length @ 1..) = read else { return };
                if client.write_all(&answer[..length]).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Makes the database refuse records to which the condition applies.
async fn refuse_records(database: &TestDatabase, condition: &str) {
    let sql = if database.is_postgres() {
        format!(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$;
             CREATE TRIGGER refuse BEFORE INSERT ON audit_records FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION refuse()"
        )
    } else {
        format!(
            "CREATE TRIGGER refuse BEFORE INSERT ON audit_records WHEN {condition} BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
    };
    database.meddle(&sql).await;
}

async fn take_records(database: &TestDatabase) {
    let sql = if database.is_postgres() { "DROP TRIGGER refuse ON audit_records" } else { "DROP TRIGGER refuse" };
    database.meddle(sql).await;
}
