//! A database that is not what this installation last wrote: an older copy of it, one that was edited, one that belongs to
//! another token. Nothing of it is served until somebody on the host accepts it, on record.

use std::{collections::BTreeSet, path::PathBuf};

use hsm::{ObjectClass, ObjectId};
use keyward_tests::{Backend, Sql, StoppedKms, TestKms, copy_sqlite, from, host_command, put_back_sqlite, until};
use kms_client::{
    format::record::{Outcome, Surface},
    wire::{
        audit::AuditSearch,
        change::ChangeQuery,
        data_key::GenerateDataKey,
        key::{KeyChanged, KeyState},
        name::KeyName,
        problem::Code,
    },
};
use kms_server::host;
use serde_json::json;

const COMMAND: &str = "kms-server accept-database --config FILE --reason TEXT";

fn generate(key: &KeyName) -> GenerateDataKey {
    from(json!({ "key": key }))
}

async fn create(kms: &TestKms, alias: &str) -> KeyChanged {
    kms.client("ada").create_key(&from(json!({ "alias": alias, "data_class": "clinical" }))).await.unwrap()
}

/// The keys that the token holds.
async fn held(stopped: &StoppedKms) -> BTreeSet<ObjectId> {
    let objects = stopped.hsm().await.objects().await.unwrap();
    let keys = objects.iter().filter(|object| object.class == ObjectClass::SecretKey);
    keys.map(|object| object.id.unwrap()).collect()
}

/// An installation whose database was put back to before a key was revoked and another created.
struct Older {
    stopped: StoppedKms,
    revoked: KeyName,
    /// The newest revision of the copy that was lost.
    newest: u64,
    /// The anchor's file as it was when the copy was made.
    anchor: Vec<u8>,
    /// The object of the key that only the lost copy knows.
    unknown: ObjectId,
}

async fn older() -> Older {
    let kms = TestKms::start(Backend::Sqlite).await;
    let revoked = kms.usable_key("records", "clinical").await;
    let stopped = kms.stop().await;
    let copy = stopped.folder().join("copy");
    copy_sqlite(&stopped.config, &copy);
    let anchor = std::fs::read(&stopped.config.anchor.file).unwrap();
    let known = held(&stopped).await;

    let kms = stopped.start_again().await.unwrap();
    kms.client("ada").revoke_key(&revoked, "stolen".parse().unwrap()).await.unwrap();
    let newest = create(&kms, "later").await.receipt.revision.number();
    let stopped = kms.stop().await;
    let unknown = *held(&stopped).await.difference(&known).next().unwrap();
    put_back_sqlite(&stopped.config, &copy);
    Older { stopped, revoked, newest, anchor, unknown }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_copy_is_refused_until_it_is_accepted() {
    let Older { stopped, revoked, newest, unknown, .. } = older().await;
    let before = held(&stopped).await;
    let refusal = stopped.refusal().await.to_string();
    assert!(refusal.contains("it is an older copy") && refusal.contains(COMMAND), "{refusal}");
    assert!(refusal.contains(&format!("the anchor file remembers {newest}")), "{refusal}");
    let server = stopped.process(None).await.unwrap_err();
    assert_eq!(server.status.code(), Some(1), "{server:?}");
    assert!(server.err.contains(COMMAND), "{server:?}");

    let reason = ["--reason", "the disk was lost"];
    let accepted = host_command("accept-database", &stopped.config_file(), &reason).await;
    assert!(accepted.status.success(), "{accepted:?}");
    let jumped = newest + 1;
    assert_eq!(accepted.out, format!("the database is accepted; the newest revision is {jumped}\n"));
    let nothing = host_command("accept-database", &stopped.config_file(), &reason).await;
    assert_eq!(nothing.status.code(), Some(1), "{nothing:?}");
    assert!(nothing.err.contains("there is nothing to accept"), "{nothing:?}");

    let kms = stopped.start_again().await.unwrap();
    let audrey = kms.client("audrey");
    let changes = audrey.list_changes(&ChangeQuery::default()).await.unwrap().changes;
    // The server rotates by itself what nobody knows the wraps of any more; that may be done already.
    let place = changes.iter().position(|change| change.kind == "accept_database").unwrap();
    let (accepted, before_it) = (&changes[place], &changes[place + 1]);
    assert_eq!(accepted.revision.number(), jumped);
    assert!(before_it.revision.number() + 1 < newest, "{changes:?}");
    let search = AuditSearch { action: Some("accept_database".parse().unwrap()), ..AuditSearch::default() };
    let records = audrey.search_audit(&search).await.unwrap().records;
    let [record] = records.as_slice() else { panic!("{records:?}") };
    assert_eq!((record.record.surface, record.record.outcome), (Surface::Host, Outcome::Allowed));
    assert_eq!(record.record.change, Some(accepted.change_id));
    assert!(record.record.detail.as_deref().unwrap().contains("the disk was lost"));

    // It is the old state, knowingly; and everything goes on from there.
    let ada = kms.client("ada");
    assert_eq!(ada.key(&revoked).await.unwrap().key.state, KeyState::Enabled);
    let missing = ada.key(&"alias/later".parse().unwrap()).await.unwrap_err();
    assert_eq!(missing.code(), Some(Code::NotFound));
    let storage = kms.client("storage");
    until(async || storage.generate_data_key(&generate(&revoked)).await.ok()).await;
    assert_eq!(create(&kms, "much-later").await.receipt.revision.number(), jumped + 2);
    let stopped = kms.stop().await.start_again().await.unwrap().stop().await;
    let after = held(&stopped).await;
    assert!(after.contains(&unknown) && after.is_superset(&before), "{before:?}\n{after:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_file_the_token_remembers() {
    let Older { stopped, anchor, newest, .. } = older().await;
    let file = &stopped.config.anchor.file;
    // Put back together with the database, as from a copy of the whole host; then gone; then edited.
    std::fs::write(file, &anchor).unwrap();
    let refusal = stopped.refusal().await.to_string();
    assert!(refusal.contains(&format!("the token remembers {newest}")) && refusal.contains(COMMAND), "{refusal}");
    std::fs::remove_file(file).unwrap();
    let refusal = stopped.refusal().await.to_string();
    assert!(refusal.contains(&format!("the token remembers {newest}")) && refusal.contains(COMMAND), "{refusal}");
    let text = String::from_utf8(anchor).unwrap();
    let edited = text.replacen("\"revision\":", "\"revision\":1", 1);
    assert_ne!(edited, text);
    std::fs::write(file, edited).unwrap();
    let refusal = stopped.refusal().await.to_string();
    assert!(refusal.contains("the anchor file is not what a node of this installation wrote"), "{refusal}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_in_the_middle_of_a_creation_destroys_nothing() {
    let Older { stopped, unknown, .. } = older().await;
    // The copy was made when `later` was being made: its row was committed, the change not yet.
    let (object, maker) = (hex::encode(unknown.as_bytes()), "00".repeat(16));
    let mut sql = Sql::connect(&stopped.config).await;
    let creating = format!(
        "INSERT INTO hsm_objects (object, key_id, version, state, maker, created_at) \
         VALUES (x'{object}', x'{object}', 1, 'creating', x'{maker}', 0)"
    );
    assert_eq!(sql.execute(&creating).await, 1);
    sql.close().await;
    stopped.refusal().await;
    assert!(held(&stopped).await.contains(&unknown), "destroyed by a start that was refused");
    host::accept_database(&stopped.config, stopped.clock.clone(), "restored".parse().unwrap()).await.unwrap();
    let stopped = stopped.start_again().await.unwrap().stop().await;
    assert!(held(&stopped).await.contains(&unknown), "destroyed after the copy was accepted");
    let mut sql = Sql::connect(&stopped.config).await;
    let abandoned = format!("SELECT count(*) FROM hsm_objects WHERE object = x'{object}' AND state = 'abandoned'");
    assert_eq!(sql.number(&abandoned).await, 1);
}

/// Whoever can write to the database must not be able to have keys destroyed in the token.
async fn an_edit_destroys_nothing(backend: Backend) {
    const FOREIGN: ObjectId = ObjectId::new([0xf0; ObjectId::LEN]);
    let kms = TestKms::start(backend).await;
    let key = kms.usable_key("records", "clinical").await;
    let stopped = kms.stop().await;
    stopped.hsm().await.create_key(FOREIGN, "somebody else's").await.unwrap();
    let before = held(&stopped).await;
    let mut sql = Sql::connect(&stopped.config).await;
    let (foreign, text) = (hex::encode(FOREIGN.as_bytes()), matches!(sql, Sql::Postgres(_)));
    let uuid = |hex: &str| if text { format!("'{hex}'::uuid") } else { format!("x'{hex}'") };
    let (foreign, maker) = (uuid(&foreign), uuid(&"00".repeat(16)));
    assert_eq!(sql.execute(&format!("UPDATE hsm_objects SET state = 'creating', maker = {maker}")).await, 1);
    sql.execute(&format!(
        "INSERT INTO hsm_objects (object, key_id, version, state, maker, created_at) \
         VALUES ({foreign}, {foreign}, 1, 'creating', {maker}, 0)"
    ))
    .await;
    sql.close().await;
    if let Ok(kms) = stopped.start_again().await {
        let made = kms.client("storage").generate_data_key(&generate(&key)).await;
        let stopped = kms.stop().await;
        assert_eq!(held(&stopped).await, before, "objects were destroyed because of edited rows");
        made.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edited_list_of_objects_destroys_none_on_sqlite() {
    an_edit_destroys_nothing(Backend::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edited_list_of_objects_destroys_none_on_postgres() {
    an_edit_destroys_nothing(Backend::Postgres).await;
}

/// What somebody with the database's password might do to control state, and a word of the refusal.
const EDITS: [(&str, &str, &str); 13] = [
    (
        "a state is edited",
        "UPDATE control_rows SET body = replace(body, '\"revoked\"', '\"enabled\"') WHERE kind = 'key'",
        "a row is not authentic",
    ),
    ("a row is deleted", "DELETE FROM control_rows WHERE kind = 'binding' AND revision < 4", "a row is missing"),
    (
        "a row is rolled back",
        "UPDATE control_rows SET body = (SELECT body FROM older WHERE older.id = control_rows.id), \
         mac = (SELECT mac FROM older WHERE older.id = control_rows.id), \
         revision = (SELECT revision FROM older WHERE older.id = control_rows.id) \
         WHERE id IN (SELECT id FROM older WHERE revision <> control_rows.revision)",
        "an older copy of itself",
    ),
    (
        "a row is copied under another id",
        "INSERT INTO control_rows (kind, id, revision, body, mac) \
         SELECT 'principal', (SELECT installation FROM hsm_roots), revision, body, mac FROM control_rows \
         WHERE kind = 'principal' LIMIT 1",
        "a row is not authentic",
    ),
    ("a row says another revision", "UPDATE control_rows SET revision = revision + 1", "a row is not authentic"),
    (
        "the newest change is deleted",
        "DELETE FROM control_changes WHERE revision = (SELECT revision FROM control_head)",
        "does not end at its head",
    ),
    ("a change is deleted", "DELETE FROM control_changes WHERE revision = 2", "an entry of the history is missing"),
    (
        "a change is edited",
        "UPDATE control_changes SET body = replace(body, 'stolen', 'tested')",
        "not the change it says it is",
    ),
    (
        "what a change did is edited",
        "UPDATE control_changes SET rows = replace(rows, 'stolen', 'tested')",
        "an entry of the history is not authentic",
    ),
    (
        "who made a change is edited",
        "UPDATE control_changes SET principal = NULL",
        "an entry of the history is not authentic",
    ),
    (
        "when a change was made is edited",
        "UPDATE control_changes SET committed_at = committed_at + 1",
        "an entry of the history is not authentic",
    ),
    ("the head is edited", "UPDATE control_head SET revision = revision - 1", "its head is not authentic"),
    ("the head is deleted", "DELETE FROM control_head", "its head is missing"),
];

async fn every_edit_is_noticed(backend: Backend) {
    const TABLES: [&str; 3] = ["control_head", "control_rows", "control_changes"];
    let kms = TestKms::start(backend).await;
    let key = kms.usable_key("records", "clinical").await;
    let stopped = kms.stop().await;
    let mut sql = Sql::connect(&stopped.config).await;
    sql.execute("CREATE TABLE older AS SELECT * FROM control_rows WHERE kind = 'key'").await;
    sql.close().await;
    let kms = stopped.start_again().await.unwrap();
    kms.client("ada").revoke_key(&key, "stolen".parse().unwrap()).await.unwrap();
    let stopped = kms.stop().await;

    let mut sql = Sql::connect(&stopped.config).await;
    for table in TABLES {
        sql.execute(&format!("CREATE TABLE saved_{table} AS SELECT * FROM {table}")).await;
    }
    for (what, edit, word) in EDITS {
        assert!(sql.execute(edit).await > 0, "{what}: nothing was edited");
        let refusal = stopped.refusal().await.to_string();
        assert!(refusal.starts_with("the control state in the database was altered: "), "{what}: {refusal}");
        assert!(refusal.contains(word), "{what}: {refusal}");
        for table in TABLES {
            sql.execute(&format!("DELETE FROM {table}")).await;
            sql.execute(&format!("INSERT INTO {table} SELECT * FROM saved_{table}")).await;
        }
    }
    sql.close().await;
    let kms = stopped.start_again().await.unwrap();
    assert_eq!(kms.client("ada").key(&key).await.unwrap().key.state, KeyState::Revoked);
    kms.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_edit_of_control_state_is_noticed_on_sqlite() {
    every_edit_is_noticed(Backend::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_edit_of_control_state_is_noticed_on_postgres() {
    every_edit_is_noticed(Backend::Postgres).await;
}

/// The end of the log cut off: with its head, which the anchors notice; and without, which the verifier does.
async fn a_shorter_log_is_noticed(backend: Backend) {
    let kms = TestKms::start(backend).await;
    let key = kms.usable_key("records", "clinical").await;
    for _ in 0..3 {
        kms.client("storage").generate_data_key(&generate(&key)).await.unwrap();
    }
    let stopped = kms.stop().await;
    let mut sql = Sql::connect(&stopped.config).await;
    for table in ["audit_records", "audit_chains"] {
        sql.execute(&format!("CREATE TABLE saved_{table} AS SELECT * FROM {table}")).await;
    }
    let newest = "chain = (SELECT max(number) FROM audit_chains)";
    let cut = format!("DELETE FROM audit_records WHERE {newest} AND sequence > 5");
    assert!(sql.execute(&cut).await > 0);
    let altered = host_command("verify-audit", &stopped.config_file(), &[]).await;
    assert!(!altered.status.success() && altered.out.contains("ALTERED"), "{altered:?}");
    assert!(altered.err.contains("the audit log was altered"), "{altered:?}");

    // With the chain's row as it was at that record: a shorter log that is whole in itself, but for the hash's anchor.
    let head = "SELECT head_signature FROM audit_records WHERE sequence = 5 AND head_signature IS NOT NULL";
    let rolled = format!(
        "UPDATE audit_chains SET head_sequence = 5, head_signature = ({head} AND {newest}), closed = {} WHERE number = \
         (SELECT max(number) FROM saved_audit_chains)",
        if backend == Backend::Sqlite { "0" } else { "false" }
    );
    assert_eq!(sql.execute(&rolled).await, 1);
    sql.close().await;
    let refusal = stopped.refusal().await.to_string();
    assert!(refusal.contains("the audit log in the database ends before what the"), "{refusal}");
    assert!(refusal.contains(COMMAND), "{refusal}");

    let mut sql = Sql::connect(&stopped.config).await;
    for table in ["audit_records", "audit_chains"] {
        sql.execute(&format!("DELETE FROM {table}")).await;
        sql.execute(&format!("INSERT INTO {table} SELECT * FROM saved_{table}")).await;
    }
    sql.close().await;
    let whole = host_command("verify-audit", &stopped.config_file(), &[]).await;
    assert!(whole.status.success(), "{whole:?}");
    stopped.start_again().await.unwrap().stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shorter_log_is_noticed_on_sqlite() {
    a_shorter_log_is_noticed(Backend::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shorter_log_is_noticed_on_postgres() {
    a_shorter_log_is_noticed(Backend::Postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edited_record_is_noticed() {
    let kms = TestKms::start(Backend::Sqlite).await;
    let key = kms.usable_key("records", "clinical").await;
    kms.client("storage").generate_data_key(&generate(&key)).await.unwrap();
    let stopped = kms.stop().await;
    let mut sql = Sql::connect(&stopped.config).await;
    sql.execute("CREATE TABLE saved AS SELECT * FROM audit_records").await;
    for edit in [
        "UPDATE audit_records SET outcome = 'denied' WHERE action = 'generate'",
        "UPDATE audit_records SET principal = NULL WHERE action = 'generate'",
        "UPDATE audit_records SET at = at + 1 WHERE action = 'generate'",
        "UPDATE audit_records SET leaf = zeroblob(length(leaf)) WHERE action = 'generate'",
        "DELETE FROM audit_records WHERE action = 'generate'",
        "DELETE FROM audit_records WHERE action = 'create_key'",
        "UPDATE audit_records SET head_signature = NULL",
    ] {
        assert!(sql.execute(edit).await > 0, "{edit}");
        let altered = host_command("verify-audit", &stopped.config_file(), &[]).await;
        assert_eq!(altered.status.code(), Some(1), "{edit}: {altered:?}");
        assert!(altered.out.contains("ALTERED"), "{edit}: {altered:?}");
        sql.execute("DELETE FROM audit_records").await;
        sql.execute("INSERT INTO audit_records SELECT * FROM saved").await;
    }
    let whole = host_command("verify-audit", &stopped.config_file(), &[]).await;
    assert!(whole.status.success(), "{whole:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_the_same_database_is_refused() {
    let kms = TestKms::start(Backend::Sqlite).await;
    let config: PathBuf = kms.folder().join("kms.toml");
    for (command, more) in [("serve", &[][..]), ("accept-database", &["--reason", "why not"]), ("migrate", &[])] {
        let refused = host_command(command, &config, more).await;
        assert_eq!(refused.status.code(), Some(1), "{command}: {refused:?}");
        assert!(refused.err.contains("is in use by another process; stop that server first"), "{command}: {refused:?}");
    }
    // Reading is no harm, and the server has noticed nothing.
    assert!(host_command("verify-audit", &config, &[]).await.status.success());
    kms.client("ada").whoami().await.unwrap();
    kms.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_token_is_refused() {
    let (one, other) = (TestKms::start(Backend::Sqlite).await, TestKms::start(Backend::Sqlite).await);
    let (mut one, other) = (one.stop().await, other.stop().await);
    let right = std::mem::replace(&mut one.config.key_store.token_label, other.config.key_store.token_label.clone());
    let refusal = one.refusal().await.to_string();
    assert!(refusal.contains("this is another token than the installation's"), "{refusal}");
    one.config.key_store.token_label = "nothing-of-this-name".to_owned();
    let refusal = one.refusal().await.to_string();
    assert!(refusal.contains("no token labelled `nothing-of-this-name`"), "{refusal}");
    one.config.key_store.token_label = right;
    one.start_again().await.unwrap().stop().await;
}
