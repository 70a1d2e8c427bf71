//! The product's tests, through its own surfaces.

mod authorisation;
mod callers;
mod cli;
mod concurrency;
mod crash;
mod database_faults;
mod doctor;
mod errors;
mod gate;
mod hsm_faults;
mod key_lifecycle;
mod limits;
mod line;
mod no_record;
mod older_database;
mod openapi;
mod roles;
mod search;
mod start_errors;
mod structure;
