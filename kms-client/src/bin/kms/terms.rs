//! The terms on which a change is asked for.

use clap::Args;
use kms_client::{client::Client, wire::receipt::Revision};

/// Of a change of what is there.
#[derive(Debug, Default, Args)]
pub(crate) struct IfRevision {
    /// Only if it is still at this revision, as `show` prints it
    #[arg(long, global = true, value_name = "NUMBER")]
    if_revision: Option<Revision>,
}

/// Of a creation.
#[derive(Debug, Default, Args)]
pub(crate) struct Once {
    /// A name for this request: for a day it is carried out once, however often it is repeated under the name
    #[arg(long, global = true, value_name = "KEY")]
    idempotency_key: Option<String>,
}

impl IfRevision {
    pub(crate) fn bind(&self, client: &Client) -> Client {
        self.if_revision.map_or_else(|| client.clone(), |revision| client.if_revision(revision))
    }

    /// The same, with `seen` where nothing was given.
    pub(crate) fn or(&self, seen: Revision) -> Self {
        Self { if_revision: self.if_revision.or(Some(seen)) }
    }
}

impl Once {
    pub(crate) fn bind(&self, client: &Client) -> Client {
        self.idempotency_key.as_ref().map_or_else(|| client.clone(), |key| client.idempotency_key(key))
    }
}
