//! The store's methods and the audit writer, on both databases. SQLite files are the tests' own; PostgreSQL is the server of
//! `KEYWARD_TEST_POSTGRES`, where each test makes a database and drops it.

#[cfg(test)]
#[path = "store/mod.rs"]
mod cases;
