//! One file per subject. `on_both!` runs a case once on each database.

mod audit;
mod audit_faults;
mod audit_start;
mod audit_verify;
mod chains;
mod control;
mod database;
mod idempotency;
mod lifecycle;
mod members;
mod migrations;
mod objects;
mod opening;
mod operations;
mod rate;
mod records;
mod search;
mod softhsm;
mod transactions;

/// Makes of each `async fn case(database: &TestDatabase)` a test on SQLite and one on PostgreSQL.
macro_rules! on_both {
    ($($case:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $case() {
                let database = crate::cases::database::TestDatabase::sqlite().await;
                super::$case(&database).await;
                database.drop().await;
            })+
        }

        mod postgres {
            $(#[tokio::test]
            async fn $case() {
                let Some(database) = crate::cases::database::TestDatabase::postgres().await else { return };
                super::$case(&database).await;
                database.drop().await;
            })+
        }
    };
}
use on_both;
