//! What the tests stand on: a server of their own with a token, a database, a clock that they move, and people who show
//! real certificates and tokens. Nothing of ours is replaced.

mod boundary;
mod chance;
mod clock;
mod connection;
mod database;
mod fake_time;
mod faults;
mod identities;
mod key_server;
mod kms;
mod people;
mod process;
mod proxy;
mod shell;
mod small_disk;
mod sql;

pub use self::{
    boundary::Boundary,
    chance::Chance,
    clock::TestClock,
    connection::{Ask, Connection, Dial, Reply},
    database::Backend,
    fake_time::{Clocks, FakeTime},
    faults::{Faults, rv},
    identities::{AUDIENCE, ISSUER, Identities, Leaf, TokenClaims},
    key_server::{KeyServer, SigningKey},
    kms::{StoppedKms, TestKms, softhsm_module},
    people::{Founders, Newcomer, Trust},
    process::{Ended, Process, SIGKILL, host_command, program, run},
    proxy::{Lost, Proxy, Transaction},
    shell::{Shell, files, kms},
    small_disk::SmallDisk,
    sql::{Sql, copy_database, copy_sqlite, put_back_database, put_back_sqlite, sqlite_files},
};

/// Asks again and again until there is an answer. What is waited for must come within half a minute of real time.
pub async fn until<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), asking).await.expect("what was waited for did not happen")
}

/// A request, or a part of one, by its JSON.
pub fn from<T: serde::de::DeserializeOwned>(json: serde_json::Value) -> T {
    serde_json::from_value(json).unwrap()
}
