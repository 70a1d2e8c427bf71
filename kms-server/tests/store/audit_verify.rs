//! What is done to the log in the database is found.

use kms_server::audit::Problem;

use super::{
    audit::leave_intent,
    database::TestDatabase,
    on_both,
    softhsm::{AuditKey, draft},
};

on_both!(
    what_is_altered_is_found,
    what_is_deleted_is_found,
    what_is_reordered_is_found,
    a_chain_that_is_gone_is_missed,
    a_change_without_its_record_is_found,
    another_key_verifies_nothing,
);

/// Two chains of nine records, verified.
async fn two_chains(database: &TestDatabase) -> AuditKey {
    let key = AuditKey::create().await;
    for _ in 0..2 {
        let node = key.start(&database.store).await;
        for _ in 0..7 {
            node.audit.seal(vec![draft("unwrap")]).await.unwrap();
        }
        node.stop().await;
    }
    assert_eq!(
        key.assert_intact(&database.store).await.chains.iter().map(|chain| chain.records).collect::<Vec<_>>(),
        [9, 9]
    );
    key
}

/// What is wrong with the chain of this number after the statement, which is undone again by the other.
async fn problem(database: &TestDatabase, key: &AuditKey, chain: usize, sql: &str) -> String {
    assert!(database.meddle(sql).await > 0, "{sql}");
    let report = key.verify(&database.store).await;
    assert!(!report.is_intact(), "{sql}");
    for (place, other) in report.chains.iter().enumerate().filter(|(place, _)| *place != chain) {
        // A successor is measured against what the chain's row says, so it need not suffer.
        assert!(
            other.problem.is_none() || matches!(other.problem, Some(Problem::OtherPredecessor)),
            "{place}: {other:?}"
        );
    }
    report.chains[chain].problem.as_ref().map(ToString::to_string).unwrap_or_default()
}

async fn what_is_altered_is_found(database: &TestDatabase) {
    let key = two_chains(database).await;
    for (undo, sql, found) in [
        (
            "UPDATE audit_records SET outcome = 'allowed' WHERE chain = 1 AND sequence = 4",
            "UPDATE audit_records SET outcome = 'denied' WHERE chain = 1 AND sequence = 4",
            "record 4 is indexed as something else than it says",
        ),
        (
            "UPDATE audit_records SET at = at - 1 WHERE chain = 1 AND sequence = 8",
            "UPDATE audit_records SET at = at + 1 WHERE chain = 1 AND sequence = 8",
            "record 8 is indexed as something else than it says",
        ),
        (
            "UPDATE audit_chains SET closed = TRUE WHERE number = 1",
            "UPDATE audit_chains SET public_key = (SELECT public_key FROM audit_chains WHERE number = 2) WHERE number = 1",
            "the chain's row does not agree with its first record",
        ),
    ] {
        assert_eq!(problem(database, &key, 0, sql).await, found);
        database.meddle(undo).await;
    }
}

async fn what_is_deleted_is_found(database: &TestDatabase) {
    let key = two_chains(database).await;
    let tail = "DELETE FROM audit_records WHERE chain = 1 AND sequence = 8";
    assert_eq!(problem(database, &key, 0, tail).await, "the signed head 8 is beyond the last record");
    let middle = "DELETE FROM audit_records WHERE chain = 2 AND sequence = 3";
    assert!(database.meddle(middle).await == 1);
    let report = key.verify(&database.store).await;
    let found = report.chains[1].problem.as_ref().unwrap().to_string();
    assert_eq!(found, "record 3 is missing: 4 is in its place");
    database.meddle("DELETE FROM audit_records").await;
    let report = key.verify(&database.store).await;
    assert!(report.chains.iter().all(|chain| chain.problem.is_some() && chain.records == 0));
}

async fn what_is_reordered_is_found(database: &TestDatabase) {
    let key = two_chains(database).await;
    let swap = "UPDATE audit_records SET sequence = CASE sequence WHEN 3 THEN 1000004 ELSE 1000003 END \
                WHERE chain = 1 AND sequence IN (3, 4); \
                UPDATE audit_records SET sequence = sequence - 1000000 WHERE sequence > 1000000";
    let found = problem(database, &key, 0, swap).await;
    assert_eq!(found, "record 3 is missing: 4 is in its place");
    let relabel = "UPDATE audit_records SET leaf = (SELECT o.leaf FROM audit_records o WHERE o.chain = 2 AND o.sequence = 5) \
                   WHERE chain = 2 AND sequence = 6";
    database.meddle(relabel).await;
    let report = key.verify(&database.store).await;
    assert_eq!(report.chains[1].problem.as_ref().unwrap().to_string(), "record 6 is missing: 5 is in its place");
}

async fn a_chain_that_is_gone_is_missed(database: &TestDatabase) {
    let key = two_chains(database).await;
    database.meddle("DELETE FROM audit_records WHERE chain = 1").await;
    database.meddle("DELETE FROM audit_chains WHERE number = 1").await;
    let report = key.verify(&database.store).await;
    assert_eq!(report.chains.len(), 1);
    assert!(matches!(report.chains[0].problem, Some(Problem::OtherPredecessor)), "{report:?}");
}

async fn a_change_without_its_record_is_found(database: &TestDatabase) {
    let key = two_chains(database).await;
    leave_intent(database, 1).await;
    let insert = format!(
        "INSERT INTO control_changes (revision, change_id, digest, body, committed_at, previous, hash, state_digest, mac, rows) \
         SELECT 1, change_id, {b}, '{{}}', 0, {b}, {b}, {b}, {b}, '[]' FROM audit_intents",
        b = if database.is_postgres() { "decode(repeat('00', 32), 'hex')" } else { "zeroblob(32)" }
    );
    database.meddle(&insert).await;
    key.assert_intact(&database.store).await;
    database.meddle("DELETE FROM audit_intents").await;
    let report = key.verify(&database.store).await;
    assert!(!report.is_intact());
    assert_eq!(report.unrecorded_changes, [kms_server::model::Revision(1)]);
}

async fn another_key_verifies_nothing(database: &TestDatabase) {
    two_chains(database).await;
    let report = AuditKey::create().await.verify(&database.store).await;
    let found: Vec<_> = report.chains.iter().map(|chain| chain.problem.as_ref().unwrap().to_string()).collect();
    assert_eq!(found, ["the node's key is not signed by the audit key"; 2]);
}
