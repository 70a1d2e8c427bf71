//! What the tests stand on: a server of their own with a token, a database, a clock that they move, and people who show
//! real certificates and tokens. Nothing of ours is replaced.

mod clock;
mod connection;
mod database;
mod faults;
mod identities;
mod kms;
mod people;
mod process;
mod sql;

pub use self::{
    clock::TestClock,
    connection::{Ask, Connection, Dial, Reply},
    database::Backend,
    faults::{Faults, rv},
    identities::{AUDIENCE, ISSUER, Identities, Leaf, TokenClaims},
    kms::{StoppedKms, TestKms, softhsm_module},
    people::{Founders, Newcomer, Trust},
    process::{Ended, Process, SIGKILL, host_command, program, run},
    sql::{Sql, copy_sqlite, put_back_sqlite, sqlite_files},
};

/// A request, or a part of one, by its JSON.
pub fn from<T: serde::de::DeserializeOwned>(json: serde_json::Value) -> T {
    serde_json::from_value(json).unwrap()
}
