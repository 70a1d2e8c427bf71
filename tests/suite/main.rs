//! The product's tests, through its own surfaces.

mod authorisation;
mod callers;
mod errors;
mod limits;
mod line;
mod openapi;
mod roles;
mod structure;
