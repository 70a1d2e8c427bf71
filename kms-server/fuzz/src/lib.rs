//! What must hold for whatever bytes come to a parser of the server's, a file for each. `tests/run.sh fuzz` looks for bytes
//! for which it does not; the tests below try some that nobody chose, and those that were once found.

pub mod body;
pub mod certificate;
pub mod config;
pub mod head;
pub mod jwks;
mod marked;
pub mod policy;
pub mod query;
pub mod stored;
pub mod token;
mod world;

#[cfg(test)]
mod tests;
