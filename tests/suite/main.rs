//! The product's tests, through its own surfaces.

mod authorisation;
mod callers;
mod cli;
mod concurrency;
mod crash;
mod errors;
mod gate;
mod limits;
mod line;
mod no_record;
mod older_database;
mod openapi;
mod policies;
mod recover;
mod roles;
mod search;
mod structure;
