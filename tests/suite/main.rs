//! The product's tests, through its own surfaces.

/// Makes of each `async fn case(backend: Backend)` a test on SQLite and one on PostgreSQL.
macro_rules! on_both {
    ($($case:ident: $sqlite:ident, $postgres:ident;)+) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $sqlite() {
            $case(keyward_tests::Backend::Sqlite).await;
        }

        #[tokio::test(flavor = "multi_thread")]
        async fn $postgres() {
            $case(keyward_tests::Backend::Postgres).await;
        }
    )+};
}

mod authorisation;
mod boundary;
mod callers;
mod cli;
mod clock;
mod concurrency;
mod crash;
mod crash_audit;
mod crash_host;
mod database_faults;
mod day;
mod deploy;
mod disk;
mod doctor;
mod errors;
mod fairness;
mod full_disk;
mod gate;
mod hsm_faults;
mod key_destruction;
mod key_lifecycle;
mod key_sets;
mod key_states;
mod limits;
mod line;
mod log;
mod no_record;
mod nodes;
mod older_database;
mod once;
mod openapi;
mod operations;
mod pages;
mod poison;
mod policies;
mod recover;
mod refusals;
mod reload;
mod retry;
mod revisions;
mod roles;
mod rotation_faults;
mod search;
mod sigterm;
mod start_errors;
mod storage_example;
mod structure;
mod tls;
mod traces;
mod upgrade;
