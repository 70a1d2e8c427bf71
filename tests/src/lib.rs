//! What the tests stand on: a server of their own with a token, a database, a clock that they move, and people who show
//! real certificates and tokens. Nothing of ours is replaced.

mod clock;
mod database;
mod identities;
mod kms;

pub use self::{
    clock::TestClock,
    database::Backend,
    identities::{Identities, Leaf, TokenClaims},
    kms::{Founders, TestKms, softhsm_module},
};
