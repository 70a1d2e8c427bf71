//! What a transaction promises, whatever it holds.

use kms_server::{
    model::Revision,
    store::{CommitError, Error, Head},
};

use super::{database::TestDatabase, on_both};

on_both!(
    nothing_happens_without_a_commit,
    nothing_happens_after_a_failed_statement,
    a_reader_sees_one_moment,
    a_reader_cannot_write,
    a_refused_commit_says_so,
    a_lost_answer_is_not_a_refusal,
    a_writer_connects_again_after_a_fault,
);

async fn nothing_happens_without_a_commit(database: &TestDatabase) {
    let mut tx = database.store.begin().await.unwrap();
    assert!(tx.advance_head(Revision(0), &HEAD).await.unwrap());
    drop(tx);
    let mut tx = database.store.begin().await.unwrap();
    assert!(tx.advance_head(Revision(0), &HEAD).await.unwrap());
    tx.rollback().await.unwrap();
    let mut tx = database.store.read().await.unwrap();
    assert_eq!(tx.head().await.unwrap(), None);
}

async fn nothing_happens_after_a_failed_statement(database: &TestDatabase) {
    let mut tx = database.store.begin().await.unwrap();
    assert!(tx.advance_head(Revision(0), &HEAD).await.unwrap());
    let beyond = Head { revision: Revision(u64::MAX), ..HEAD };
    assert!(matches!(tx.advance_head(Revision(1), &beyond).await, Err(Error::TooLarge(_))));
    assert!(tx.head().await.unwrap().is_some(), "what never reached the database breaks nothing");

    let nothing = Head { revision: Revision(0), ..HEAD };
    assert!(matches!(tx.advance_head(Revision(1), &nothing).await, Err(Error::Statement(_))), "the table's check");
    assert!(matches!(tx.head().await, Err(Error::Broken)));
    assert!(matches!(tx.commit().await, Err(CommitError::Refused(Error::Broken))));
    let mut tx = database.store.read().await.unwrap();
    assert_eq!(tx.head().await.unwrap(), None);
}

async fn a_reader_sees_one_moment(database: &TestDatabase) {
    let mut reader = database.store.read().await.unwrap();
    assert_eq!(reader.head().await.unwrap(), None);
    let mut tx = database.store.begin().await.unwrap();
    tx.advance_head(Revision(0), &HEAD).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(reader.head().await.unwrap(), None);
    drop(reader);
    let mut reader = database.store.read().await.unwrap();
    assert_eq!(reader.head().await.unwrap(), Some(HEAD));
}

async fn a_reader_cannot_write(database: &TestDatabase) {
    let mut reader = database.store.read().await.unwrap();
    assert!(reader.advance_head(Revision(0), &HEAD).await.is_err());
}

/// PostgreSQL can refuse at the commit; on SQLite only a full disk could.
async fn a_refused_commit_says_so(database: &TestDatabase) {
    if !database.is_postgres() {
        return;
    }
    database
        .meddle(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$;
             CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON control_head DEFERRABLE INITIALLY DEFERRED
             FOR EACH ROW EXECUTE FUNCTION refuse()",
        )
        .await;
    let mut tx = database.store.begin().await.unwrap();
    tx.advance_head(Revision(0), &HEAD).await.unwrap();
    assert!(matches!(tx.commit().await, Err(CommitError::Refused(_))));
}

async fn a_lost_answer_is_not_a_refusal(database: &TestDatabase) {
    if !database.is_postgres() {
        return;
    }
    let mut tx = database.store.begin().await.unwrap();
    tx.advance_head(Revision(0), &HEAD).await.unwrap();
    database.meddle(KILL_TRANSACTIONS).await;
    assert!(matches!(tx.commit().await, Err(CommitError::Unknown(_))));
    let mut tx = database.store.read().await.unwrap();
    assert_eq!(tx.head().await.unwrap(), None);
}

async fn a_writer_connects_again_after_a_fault(database: &TestDatabase) {
    let mut writer = database.store.writer();
    let mut tx = writer.begin().await.unwrap();
    tx.advance_head(Revision(0), &HEAD).await.unwrap();
    if database.is_postgres() {
        database.meddle(KILL_TRANSACTIONS).await;
        assert!(matches!(tx.head().await, Err(Error::Unavailable(_))));
    }
    drop(tx);
    writer.discard();
    let mut tx = writer.begin().await.unwrap();
    assert_eq!(tx.head().await.unwrap(), None);
    assert!(tx.advance_head(Revision(0), &HEAD).await.unwrap());
    tx.commit().await.unwrap();
    let mut tx = writer.begin().await.unwrap();
    assert_eq!(tx.head().await.unwrap(), Some(HEAD));
}

/// Ends every connection of this database that is in the middle of a transaction.
pub(crate) const KILL_TRANSACTIONS: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
     WHERE datname = current_database() AND pid <> pg_backend_pid() AND state LIKE 'idle in transaction%'";

const HEAD: Head = Head { revision: Revision(1), hash: [1; 32], state_digest: [2; 32], mac: [3; 32] };
