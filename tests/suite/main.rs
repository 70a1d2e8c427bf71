//! The product's tests, through its own surfaces.

mod authorisation;
mod callers;
mod cli;
mod concurrency;
mod crash;
mod disk;
mod errors;
mod fairness;
mod gate;
mod limits;
mod line;
mod log;
mod no_record;
mod older_database;
mod once;
mod openapi;
mod operations;
mod retry;
mod revisions;
mod roles;
mod search;
mod structure;
mod tls;
