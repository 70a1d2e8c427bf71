//! The HTTP client: one method for each operation of the native API, and envelope encryption on top of them.
//!
//! It speaks HTTP/1.1 over TLS 1.3 only, keeps its connections, and follows no redirect. It asks again, later each time and
//! within a deadline, where that is safe: reads; operations on data keys that the server did not get, or did not carry out
//! because it is overloaded or something it needs is away; creations, each of which has an idempotency key. Other control
//! changes are never repeated, because an answer that got lost may have been a success.

mod body;
mod builder;
mod control;
mod data;
mod envelope;
mod error;
mod new_file;
mod retry;
mod rules;
mod terms;
mod token;
mod transport;
mod trust;

use std::sync::Arc;

pub(crate) use self::error::innermost;
pub use self::{
    builder::Builder,
    envelope::{Decrypted, Encrypted, Rewrapped},
    error::{Error, Result},
    new_file::{Existing, NewFile},
};

/// A client of one Keyward server. Clones share connections and are cheap.
#[derive(Clone, Debug)]
pub struct Client {
    transport: Arc<transport::Transport>,
    terms: terms::Terms,
}

impl Client {
    /// Begins to describe a client.
    ///
    /// ```
    /// # fn main() -> Result<(), kms_client::config::Error> {
    /// use kms_client::client::Client;
    ///
    /// let client = Client::builder().url("https://kms.example.org:8443").token("eyJhbGciOi...").build()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// A client as the environment or the user's profile describes it: see [`crate::config`].
    ///
    /// # Errors
    /// When neither says where the server is, or something they name cannot be read.
    pub fn from_env() -> std::result::Result<Self, crate::config::Error> {
        crate::config::Settings::load(&crate::config::Choice::default())?.client()
    }
}
