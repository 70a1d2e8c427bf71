//! Several nodes on one database: a change made on one is in force on all when its receipt is there, a node that says nothing
//! is waited for no longer than its lease and answers nothing meanwhile, and every node uses what the others made.

use std::{collections::BTreeSet, os::unix::process::ExitStatusExt as _, sync::Arc};

use futures_util::future::join_all;
use keyward_tests::{Backend, Process, Proxy, SIGKILL, Sql, TestClock, TestKms, from, host_command, program, until};
use kms_client::{
    client::{self, Client},
    wire::{
        bytes::Base64,
        change::ChangeQuery,
        data_key::{GenerateDataKey, UnwrapDataKey},
        name::KeyName,
        node::{LeaseState, NodeKind},
        operation::OperationState,
        problem::Code,
        receipt::{NodeOutcome, Receipt},
    },
};
use kms_server::{
    config::Config,
    serve::Unfit,
    store::{self, Claim, Store},
};
use serde_json::json;
use tokio::process::Command;

/// So that nobody waits long for a node that says nothing.
const SHORT: &str = "[cluster]\nlease_milliseconds = 1000\n";

async fn wrapped(storage: &Client, key: &KeyName) -> Base64 {
    let generate: GenerateDataKey = from(json!({ "key": key }));
    storage.generate_data_key(&generate).await.unwrap().wrapped
}

fn unwrap(wrapped: &Base64) -> UnwrapDataKey {
    UnwrapDataKey { wrapped: wrapped.clone(), context: from(json!({})) }
}

/// How each node came to serve a change, by its id.
fn outcomes(receipt: &Receipt) -> Vec<(String, NodeOutcome)> {
    receipt.nodes.iter().map(|node| (node.node.to_string(), node.outcome)).collect()
}

fn id(kms: &TestKms) -> String {
    kms.server.service.cluster().node().to_string()
}

/// Two nodes of one installation.
async fn two() -> (TestKms, TestKms, KeyName) {
    let one = TestKms::start(Backend::Postgres).await;
    let key = one.usable_key("records", "clinical").await;
    let other = one.another_node(Arc::clone(&one.clock), |_| ()).await;
    (one, other, key)
}

/// The configuration of another node, behind a network that the test can cut.
async fn proxied(one: &TestKms) -> (Config, Proxy) {
    let mut config = one.config.clone();
    let url = config.database.postgres_url_file.clone().unwrap();
    let own = one.folder().join("postgres-url-of-the-other");
    std::fs::copy(url, &own).unwrap();
    config.database.postgres_url_file = Some(own);
    let proxy = Proxy::between(&config).await;
    (config, proxy)
}

async fn behind_a_proxy(one: &TestKms) -> (TestKms, Proxy) {
    let (config, proxy) = proxied(one).await;
    let other = one.another_node(Arc::clone(&one.clock), |edited| edited.database = config.database).await;
    (other, proxy)
}

/// The command of a real server on the same installation, with an anchor of its own, and the database of this file.
fn command(one: &TestKms, url_file: &str) -> Command {
    let text = std::fs::read_to_string(one.folder().join("kms.toml")).unwrap();
    let text = text.replace("anchor/anchor.json", "anchor-of-the-process/anchor.json");
    let file = one.folder().join("kms-process.toml");
    std::fs::write(&file, text.replace("\"postgres-url\"", &format!("\"{url_file}\""))).unwrap();
    let mut command = program("kms-server");
    command.arg("serve").arg("--config").arg(&file);
    command
}

async fn process(one: &TestKms) -> Process {
    Process::start(command(one, "postgres-url"), &one.identities.ca_pem).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_on_one_node_is_in_force_on_the_other_when_its_receipt_is_there() {
    let (one, other, key) = two().await;
    let (ada, storage) = (one.client("ada"), other.client("storage"));
    let wrapped = wrapped(&storage, &key).await;
    for _ in 0..20 {
        storage.unwrap_data_key(&unwrap(&wrapped)).await.unwrap();
        let cut = ada.disable_key(&key, from(json!("a test"))).await.unwrap();
        let refused = storage.unwrap_data_key(&unwrap(&wrapped)).await.unwrap_err();
        assert_eq!(refused.code(), Some(Code::KeyDisabled));
        let mut both = vec![(id(&one), NodeOutcome::Acknowledged), (id(&other), NodeOutcome::Acknowledged)];
        both.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!(outcomes(&cut.receipt), both);
        // The other node says of the change what its maker was told.
        let seen = other.client("ada").change(cut.receipt.change_id).await.unwrap();
        assert_eq!(seen.change.receipt, cut.receipt);
        ada.enable_key(&key).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_uses_what_the_other_made_at_once() {
    let (one, other, _) = two().await;
    let (ada, here, there) = (one.client("ada"), one.client("storage"), other.client("storage"));
    for round in 0..5 {
        let key = one.usable_key(&format!("k{round}"), "clinical").await;
        let first = wrapped(&there, &key).await;
        let rotated = ada.rotate_key(&key).await.unwrap();
        assert_eq!(outcomes(&rotated.receipt).len(), 2);
        let second: GenerateDataKey = from(json!({ "key": key }));
        let second = there.generate_data_key(&second).await.unwrap();
        assert_eq!(second.version, rotated.key.primary_version);
        for wrapped in [&first, &second.wrapped] {
            here.unwrap_data_key(&unwrap(wrapped)).await.unwrap();
            there.unwrap_data_key(&unwrap(wrapped)).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_on_both_nodes_at_once_follow_one_another() {
    let (one, other, _) = two().await;
    let makers = (0..40).map(|number| {
        let ada = if number % 2 == 0 { one.client("ada") } else { other.client("ada") };
        async move {
            let request = json!({ "alias": format!("made-{number}"), "data_class": "clinical" });
            // Two nodes of one process share one SoftHSM, which sometimes fails a call when both make objects.
            let create = async || match ada.create_key(&from(request.clone())).await {
                Err(error) if error.code() == Some(Code::HsmUnavailable) => None,
                made => Some(made.unwrap()),
            };
            let created = until(create).await;
            assert_eq!(created.receipt.nodes.len(), 2);
            created.receipt.revision.number()
        }
    });
    let revisions: BTreeSet<_> = join_all(makers).await.into_iter().collect();
    assert_eq!(revisions.len(), 40);
    let newest = *revisions.last().unwrap();
    for node in [&one, &other] {
        assert_eq!(node.server.service.cluster().snapshot().revision.0, newest);
    }
    let changes = one.client("audrey").list_changes(&ChangeQuery { limit: Some(1000), cursor: None }).await.unwrap();
    let all: Vec<_> = changes.changes.iter().rev().map(|change| change.revision.number()).collect();
    assert_eq!(all, (1..=newest).collect::<Vec<_>>());
    let folder = one.folder().to_owned();
    let other = other.stop().await;
    let verified = host_command("verify-audit", &folder.join("kms.toml"), &[]).await;
    assert!(verified.status.success(), "{verified:?}");
    assert_eq!(verified.out.lines().count(), 3, "the installation's own chain, and one of each node: {verified:?}");
    drop((one, other));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_cut_off_answers_nothing_and_is_waited_for_no_longer_than_its_lease() {
    let one = TestKms::start_with(Backend::Postgres, false, SHORT).await;
    let key = one.usable_key("records", "clinical").await;
    let (other, proxy) = behind_a_proxy(&one).await;
    let (ada, storage) = (one.client("ada"), other.client("storage"));
    let wrapped = wrapped(&storage, &key).await;
    proxy.cut();
    let cut = ada.disable_key(&key, from(json!("a test"))).await.unwrap();
    let silent = cut.receipt.nodes.iter().find(|node| node.node.to_string() == id(&other)).unwrap();
    assert_eq!(silent.outcome, NodeOutcome::Expired);
    assert!((990..2_000).contains(&silent.milliseconds), "{silent:?}");
    let refused = storage.unwrap_data_key(&unwrap(&wrapped)).await.unwrap_err();
    assert!(crate::database_faults::is_outage(&refused), "{refused}");
    // Whoever comes later is not kept waiting for it again, once it was seen silent for a whole lease.
    until(async || (one.server.service.cluster().members().await.unwrap().len() == 1).then_some(())).await;
    let again = ada.enable_key(&key).await.unwrap();
    assert_eq!(outcomes(&again.receipt), [(id(&one), NodeOutcome::Acknowledged)]);
    ada.disable_key(&key, from(json!("a test"))).await.unwrap();
    // It comes back by itself, and knows what was changed meanwhile.
    proxy.mend();
    other.until_ready(true).await;
    let refused = storage.unwrap_data_key(&unwrap(&wrapped)).await.unwrap_err();
    assert_eq!(refused.code(), Some(Code::KeyDisabled));
    let last = ada.enable_key(&key).await.unwrap();
    assert_eq!(last.receipt.nodes.len(), 2, "it is a member again");
    storage.unwrap_data_key(&unwrap(&wrapped)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stops_in_order_is_waited_for_no_more() {
    let (one, other, key) = two().await;
    let before = id(&other);
    let other = other.stop().await;
    let ada = one.client("ada");
    let cut = ada.disable_key(&key, from(json!("a test"))).await.unwrap();
    assert_eq!(outcomes(&cut.receipt), [(id(&one), NodeOutcome::Acknowledged)]);
    let other = other.start_again().await.unwrap();
    assert_ne!(id(&other), before, "a node id is new at every start");
    assert_eq!(ada.enable_key(&key).await.unwrap().receipt.nodes.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_other_terms_is_refused_while_others_run() {
    let (one, other, _) = two().await;
    let clock = || Arc::new(TestClock::default());
    let longer = |config: &mut Config| config.cluster.lease_milliseconds = 5_000;
    let refused = one.try_another_node(clock(), longer).await.map(drop).unwrap_err();
    assert!(refused.to_string().contains("3000") && refused.to_string().contains("5000"), "{refused}");
    assert!(refused.advice().unwrap().contains("[cluster]"));
    assert_eq!(one.server.service.cluster().members().await.unwrap().len(), 2, "nobody waits for it");
    // Once nobody runs, terms may change.
    let mut stopped = other.stop().await;
    drop(one.stop().await);
    stopped.config.cluster.lease_milliseconds = 5_000;
    stopped.start_again().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_takes_another_course_is_not_served() {
    let (one, other, key) = two().await;
    let storage = one.client("storage");
    let wrapped = wrapped(&storage, &key).await;
    let mut sql = Sql::connect(&one.config).await;
    sql.execute("UPDATE control_head SET revision = revision - 1").await;
    sql.close().await;
    for node in [&one, &other] {
        assert_eq!(node.server.failed().await, Unfit::Diverged);
        let refused = node.client("storage").unwrap_data_key(&unwrap(&wrapped)).await.unwrap_err();
        assert_eq!(refused.code(), Some(Code::LeaseLost));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_killed_is_waited_for_once() {
    let one = TestKms::start_with(Backend::Postgres, false, SHORT).await;
    let key = one.usable_key("records", "clinical").await;
    let other = process(&one).await;
    let ada = one.client("ada");
    let wrapped = wrapped(&other.client(&one.token("storage")), &key).await;
    other.kill().await;
    let cut = ada.disable_key(&key, from(json!("a test"))).await.unwrap();
    let mut ends: Vec<_> = cut.receipt.nodes.iter().map(|node| node.outcome).collect();
    ends.sort_by_key(|outcome| *outcome == NodeOutcome::Expired);
    assert_eq!(ends, [NodeOutcome::Acknowledged, NodeOutcome::Expired]);
    until(async || (one.server.service.cluster().members().await.unwrap().len() == 1).then_some(())).await;
    assert_eq!(ada.enable_key(&key).await.unwrap().receipt.nodes.len(), 1);
    one.client("storage").unwrap_data_key(&unwrap(&wrapped)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_stopped_past_its_lease_never_wakes_up() {
    let one = TestKms::start_with(Backend::Postgres, false, SHORT).await;
    let key = one.usable_key("records", "clinical").await;
    let mut other = process(&one).await;
    assert_eq!(one.client("ada").disable_key(&key, from(json!("a test"))).await.unwrap().receipt.nodes.len(), 2);
    other.signal("STOP").await;
    // Nobody sends SIGCONT: the kernel ends it as it stands.
    assert_eq!(other.ended().await.signal(), Some(SIGKILL));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_the_database_kills_no_process() {
    let one = TestKms::start_with(Backend::Postgres, false, SHORT).await;
    let key = one.usable_key("records", "clinical").await;
    let (config, proxy) = proxied(&one).await;
    let url = config.database.postgres_url_file.unwrap();
    let mut other = Process::start(command(&one, url.to_str().unwrap()), &one.identities.ca_pem).await.unwrap();
    let storage = other.client(&one.token("storage"));
    let wrapped = wrapped(&storage, &key).await;
    proxy.cut();
    // Once the other node has seen it silent for a whole lease, the time until which the kernel lets it live is long over.
    until(async || (one.server.service.cluster().members().await.unwrap().len() == 1).then_some(())).await;
    assert!(other.log().contains("the lease has ended"));
    let refused = storage.unwrap_data_key(&unwrap(&wrapped)).await.unwrap_err();
    assert!(crate::database_faults::is_outage(&refused), "{refused}");
    proxy.mend();
    until(async || storage.unwrap_data_key(&unwrap(&wrapped)).await.ok()).await;
    other.terminate().await;
    assert!(other.ended().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_node_left_is_ended_by_the_others() {
    let one = TestKms::start_with(Backend::Postgres, false, SHORT).await;
    let (folder, config) = (one.folder().to_owned(), one.config.clone());
    let mut command = command(&one, "postgres-url");
    command.env("KEYWARD_CRASH_AT", "change.committed");
    let mut other = Process::start(command, &one.identities.ca_pem).await.unwrap();
    let create = from(json!({ "alias": "left", "data_class": "clinical" }));
    let _lost = other.client(&one.token("ada")).create_key(&create).await.unwrap_err();
    other.ended().await;
    // Its change is committed, so it is in force here; its record is chained by this node, and its receipt completed.
    let ada = one.client("ada");
    let key = until(async || ada.key(&KeyName::Alias("left".parse().unwrap())).await.ok()).await;
    let mut sql = Sql::connect(&config).await;
    until(async || (sql.number("SELECT COUNT(*) FROM audit_intents").await == 0).then_some(())).await;
    sql.close().await;
    let changes = ada.list_changes(&ChangeQuery { limit: Some(1), cursor: None }).await.unwrap().changes;
    let completed = ada.change(changes[0].change_id).await.unwrap();
    assert!(!completed.change.receipt.nodes.is_empty());
    assert_eq!(ada.change(changes[0].change_id).await.unwrap().change.receipt, completed.change.receipt);
    let generate: GenerateDataKey = from(json!({ "key": key.key.id }));
    assert_eq!(one.client("storage").generate_data_key(&generate).await.unwrap_err().code(), Some(Code::NotPermitted));
    let verified = host_command("verify-audit", &folder.join("kms.toml"), &[]).await;
    assert!(verified.status.success(), "{verified:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_command_joins_and_leaves() {
    let one = TestKms::start_with(Backend::Postgres, false, SHORT).await;
    let refused = host_command("accept-database", &one.folder().join("kms.toml"), &["--reason", "a test"]).await;
    assert!(!refused.status.success());
    assert!(refused.err.contains("other nodes run"), "{refused:?}");
    assert_eq!(one.server.service.cluster().members().await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_are_shown_with_revision_lease_version_and_region() {
    let (one, other, key) = two().await;
    let changed = one.client("ada").disable_key(&key, from(json!("a test"))).await.unwrap();
    for node in [&one, &other] {
        let list = node.client("audrey").list_nodes().await.unwrap();
        assert_eq!(list.lease_milliseconds, 3_000);
        let mut both = vec![id(&one), id(&other)];
        both.sort();
        assert_eq!(list.nodes.iter().map(|node| node.id.to_string()).collect::<Vec<_>>(), both);
        for node in &list.nodes {
            assert_eq!((node.kind, node.lease), (NodeKind::Server, LeaseState::Held), "{node:?}");
            assert_eq!((node.region.to_string().as_str(), node.version.as_str()), ("eu-test-1", "0.1.0"));
            assert!(node.silent_milliseconds < 3_000, "{node:?}");
        }
        // The one that did not make the change has told the others that it applied it; the maker does at its next renewal.
        let told = list.nodes.iter().find(|node| node.id.to_string() == id(&other)).unwrap();
        assert_eq!(told.revision, changed.receipt.revision);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_was_not_waited_for_is_asked_about_on_another_node() {
    let (one, other, _) = two().await;
    let create = from(json!({ "alias": "later", "data_class": "clinical" }));
    let told = one.client("ada").without_waiting().create_key(&create).await.unwrap_err();
    let client::Error::Accepted(accepted) = told else { panic!("it was waited for: {told}") };
    let ada = other.client("ada");
    let done = until(async || {
        let operation = ada.operation(accepted.change_id).await.unwrap().operation;
        (operation.state == OperationState::Succeeded).then_some(operation)
    });
    let receipt = done.await.change.unwrap().receipt;
    assert_eq!(receipt.nodes.len(), 2);
    assert_eq!(ada.change(accepted.change_id).await.unwrap().change.receipt, receipt);
}

/// The program of before there were several nodes takes the database for itself: neither starts beside the other.
#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_knows_no_other_nodes_is_not_beside_one_that_does() {
    let stopped = TestKms::start(Backend::Postgres).await.stop().await;
    let store = Store::open(&stopped.config.database.database().unwrap()).await.unwrap();
    store.claim(Claim::Alone).await.unwrap();
    let refusal = stopped.refusal().await.to_string();
    assert!(refusal.contains("in use by another process"), "{refusal}");
    store.close().await;
    let kms = stopped.start_again().await.unwrap();
    let store = Store::open(&kms.config.database.database().unwrap()).await.unwrap();
    assert!(matches!(store.claim(Claim::Alone).await, Err(store::Error::Claimed)));
    store.claim(Claim::Together).await.unwrap();
    store.close().await;
    kms.stop().await;
}
