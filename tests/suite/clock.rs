//! A wall clock that somebody sets while a real server runs: nothing that depends on time ends early or lives longer. And
//! one that is wrong when a server starts: on SQLite, ahead, the server goes by it, and behind the newest change it does not
//! start; on PostgreSQL it goes by the database's.

use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};
use keyward_tests::{Backend, Clocks, Ended, FakeTime, Process, StoppedKms, TestKms, from, host_command, until};
use kms_client::{
    client::Client,
    wire::{
        data_key::GenerateDataKey,
        key::KeyState,
        lifecycle::ScheduleDeletion,
        name::{KeyName, Reason},
        problem::Code,
    },
};
use kms_server::model::{Clock as _, SystemClock};
use serde_json::json;
use tokio::sync::watch;

use crate::crash::whole;

const DAY: i64 = 86_400;

fn generate(key: &KeyName) -> GenerateDataKey {
    from(json!({ "key": key }))
}

fn named(alias: &str) -> KeyName {
    format!("alias/{alias}").parse().unwrap()
}

fn days(days: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * days)
}

async fn started(stopped: &StoppedKms, time: &FakeTime) -> Result<Process, Ended> {
    time.start(stopped, stopped.command()).await
}

/// A token of this subject, made by a clock so far ahead of the machine's.
fn token(stopped: &StoppedKms, name: &str, ahead: SignedDuration) -> String {
    stopped.identities.token(&stopped.identities.claims(name, SystemClock.now() + ahead))
}

/// Lets `stranger` use a key until this moment.
async fn lend(ada: &Client, alias: &str, until: Timestamp) {
    let scope = json!({ "key": named(alias) });
    let binding = json!({ "principal": "stranger", "role": "wrapper", "scope": scope, "until": until });
    ada.create_binding(&from(binding)).await.unwrap();
}

/// An installation with a key that is old in a week, one that is destroyed in a week, one that is rotated whenever it wraps,
/// and one that is lent for ten days.
async fn installation(backend: Backend) -> (StoppedKms, KeyName) {
    let kms = TestKms::start(backend).await;
    let key = kms.usable_key("records", "clinical").await;
    for alias in ["aged", "going", "lent", "spent"] {
        kms.usable_key(alias, "clinical").await;
    }
    let ada = kms.client("ada");
    let rotation = |rotation| from(json!({ "rotation": rotation }));
    ada.update_key(&named("aged"), &rotation(json!({ "period_days": 7 }))).await.unwrap();
    ada.update_key(&named("spent"), &rotation(json!({ "max_wraps": 1 }))).await.unwrap();
    let reason: Reason = "past its retention".parse().unwrap();
    ada.schedule_key_deletion(&named("going"), &ScheduleDeletion { reason, waiting_days: 7 }).await.unwrap();
    lend(&ada, "lent", SystemClock.now() + days(10)).await;
    (kms.stop().await, key)
}

/// Lets the job that rotates and destroys look at every key, twice.
async fn looked_at_keys(ada: &Client, storage: &Client) {
    let spent = named("spent");
    for _ in 0..2 {
        let used = until(async || storage.generate_data_key(&generate(&spent)).await.ok()).await;
        until(async || (ada.key(&spent).await.unwrap().key.primary_version > used.version).then_some(())).await;
    }
}

/// What holds while the wall clock is so far off and no time passes.
async fn nothing_jumps(stopped: &StoppedKms, server: &Process, key: &KeyName, off: SignedDuration) {
    let real = |name| server.client(&token(stopped, name, SignedDuration::ZERO));
    let (ada, storage, audrey, stranger) = (real("ada"), real("storage"), real("audrey"), real("stranger"));
    // The jump has arrived when records show it.
    let arrived = until(async || {
        let made = storage.generate_data_key(&generate(key)).await.unwrap();
        let time = audrey.audit_record(made.record).await.unwrap().found.time;
        let error = time.duration_since(SystemClock.now() + off).abs();
        (error < SignedDuration::from_mins(5)).then_some(())
    });
    arrived.await;

    looked_at_keys(&ada, &storage).await;
    assert_eq!(ada.key(&named("aged")).await.unwrap().key.primary_version.number(), 1, "rotated early");
    assert_eq!(ada.key(&named("going")).await.unwrap().key.state, KeyState::PendingDeletion, "destroyed early");
    stranger.generate_data_key(&generate(&named("lent"))).await.expect("the binding ended early");

    // A binding of a few seconds lasts as long as it says, by the time that passes.
    let end = SystemClock.now() + SignedDuration::from_secs(4);
    let alias = if off.is_positive() { "brief-ahead" } else { "brief-behind" };
    ada.create_key(&from(json!({ "alias": alias, "data_class": "clinical" }))).await.unwrap();
    lend(&ada, alias, end).await;
    stranger.generate_data_key(&generate(&named(alias))).await.expect("the binding ended early");
    let refused = until(async || stranger.generate_data_key(&generate(&named(alias))).await.err()).await;
    assert_eq!(refused.code(), Some(Code::NotPermitted));
    let late = SystemClock.now().duration_since(end);
    assert!(late >= SignedDuration::ZERO && late < SignedDuration::from_secs(10), "{late}");

    // Who shows a token by the wrong clock is refused; a certificate is judged by the time that passes, too.
    let wrong = server.client(&token(stopped, "ada", off)).whoami().await.unwrap_err();
    assert_eq!(wrong.code(), Some(Code::Unauthenticated));
    let leaf = stopped.identities.client_until("spiffe://clinic.example/ada", SystemClock.now() + days(10));
    let certified = server.builder().certificate(leaf.certificate, leaf.key).build().unwrap();
    certified.whoami().await.expect("a good certificate");
    let leaf = stopped.identities.client_until("spiffe://clinic.example/ada", SystemClock.now() - days(1));
    let expired = server.builder().certificate(leaf.certificate, leaf.key).build().unwrap();
    expired.whoami().await.expect_err("an expired certificate");
}

async fn a_wall_clock_that_is_set(backend: Backend) {
    let (stopped, key) = installation(backend).await;
    let time = FakeTime::new(stopped.folder(), Clocks::Wall);
    let mut server = started(&stopped, &time).await.unwrap();
    let over = watch::Sender::new(false);
    let clients: Vec<_> = (0..4).map(|_| server.client(&token(&stopped, "storage", SignedDuration::ZERO))).collect();
    let load = join_all(clients.iter().map(async |storage| {
        let over = over.subscribe();
        while !*over.borrow() {
            storage.generate_data_key(&generate(&key)).await.expect("nothing is refused for a clock that is set");
        }
    }));
    let jumps = async {
        for off in [30, -30] {
            time.ahead_of_real(off * DAY);
            nothing_jumps(&stopped, &server, &key, days(off)).await;
        }
        over.send_replace(true);
    };
    tokio::join!(load, jumps);
    whole(&stopped.config_file(), "while the clock is back").await;
    server.terminate().await;
    assert!(server.ended().await.success(), "{}", server.log());
    whole(&stopped.config_file(), "stopped").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wall_clock_that_is_set_moves_nothing_on_sqlite() {
    a_wall_clock_that_is_set(Backend::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wall_clock_that_is_set_moves_nothing_on_postgres() {
    a_wall_clock_that_is_set(Backend::Postgres).await;
}

/// SQLite has no clock but the host's, and is believed.
#[tokio::test(flavor = "multi_thread")]
async fn a_wall_clock_that_is_wrong_at_the_start_on_sqlite() {
    let (stopped, key) = installation(Backend::Sqlite).await;
    let time = FakeTime::new(stopped.folder(), Clocks::Wall);

    // Ahead: it is believed. What ends by the calendar has ended; what must really be waited for has not.
    time.ahead_of_real(30 * DAY);
    let mut server = started(&stopped, &time).await.unwrap();
    let then = |name| server.client(&token(&stopped, name, days(30)));
    let (ada, storage) = (then("ada"), then("storage"));
    storage.generate_data_key(&generate(&key)).await.unwrap();
    let ended = then("stranger").generate_data_key(&generate(&named("lent"))).await.unwrap_err();
    assert_eq!(ended.code(), Some(Code::NotPermitted));
    until(async || (ada.key(&named("aged")).await.unwrap().key.primary_version.number() == 2).then_some(())).await;
    looked_at_keys(&ada, &storage).await;
    assert_eq!(ada.key(&named("going")).await.unwrap().key.state, KeyState::PendingDeletion, "destroyed early");
    let early = server.client(&token(&stopped, "ada", SignedDuration::ZERO)).whoami().await.unwrap_err();
    assert_eq!(early.code(), Some(Code::Unauthenticated));
    server.terminate().await;
    assert!(server.ended().await.success());

    // Behind: what has ended would live again. It says so, and what to do.
    for behind in [0, -30 * DAY] {
        time.ahead_of_real(behind);
        let refused = started(&stopped, &time).await.expect_err("time must not go back");
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
        for words in ["the newest control change was made at", "time does not go back", "set the clock right"] {
            assert!(refused.err.contains(words), "{refused:?}");
        }
    }
    whole(&stopped.config_file(), "refused").await;

    // The clock was wrong then and is right now: the host says so, on record, and everything goes on.
    let accepted = host_command("accept-database", &stopped.config_file(), &["--reason", "clock was ahead"]).await;
    assert!(accepted.status.success(), "{accepted:?}");
    time.ahead_of_real(0);
    let mut server = started(&stopped, &time).await.unwrap();
    let storage = server.client(&token(&stopped, "storage", SignedDuration::ZERO));
    until(async || storage.generate_data_key(&generate(&key)).await.ok()).await;
    let ada = server.client(&token(&stopped, "ada", SignedDuration::ZERO));
    assert_eq!(ada.key(&named("going")).await.unwrap().key.state, KeyState::PendingDeletion);
    whole(&stopped.config_file(), "accepted").await;
    server.terminate().await;
    assert!(server.ended().await.success());
    let twice = host_command("accept-database", &stopped.config_file(), &["--reason", "again"]).await;
    assert!(!twice.status.success() && twice.err.contains("nothing to accept"), "{twice:?}");
}

/// On PostgreSQL the time is the database's: a node whose host has another changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_wall_clock_that_is_wrong_at_the_start_on_postgres() {
    let (stopped, key) = installation(Backend::Postgres).await;
    let time = FakeTime::new(stopped.folder(), Clocks::Wall);
    for off in [30, -30] {
        time.ahead_of_real(off * DAY);
        let mut server = started(&stopped, &time).await.unwrap();
        nothing_jumps(&stopped, &server, &key, days(off)).await;
        server.terminate().await;
        assert!(server.ended().await.success(), "{}", server.log());
        whole(&stopped.config_file(), "while the clock is wrong").await;
    }
}
