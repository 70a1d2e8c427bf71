//! The product's tests, through its own surfaces.

mod authorisation;
mod callers;
mod cli;
mod concurrency;
mod crash;
mod database_faults;
mod disk;
mod doctor;
mod errors;
mod fairness;
mod gate;
mod hsm_faults;
mod key_lifecycle;
mod limits;
mod line;
mod no_record;
mod older_database;
mod once;
mod openapi;
mod retry;
mod revisions;
mod roles;
mod search;
mod start_errors;
mod structure;
mod tls;
