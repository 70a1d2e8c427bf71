//! `[cluster]`: what the nodes of one database agree on. A node whose section differs from that of those who run is refused.

use serde::Deserialize;

use super::ConfigError;
use crate::cluster::{LONGEST_LEASE, LeaseTerms, SHORTEST_LEASE};

/// How the nodes wait for one another.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClusterSection {
    /// How long a change waits for a node that says nothing; without the database a node answers for seven tenths of it.
    pub lease_milliseconds: u64,
}

impl Default for ClusterSection {
    fn default() -> Self {
        Self { lease_milliseconds: LeaseTerms::default().lease_milliseconds }
    }
}

impl ClusterSection {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if (SHORTEST_LEASE..=LONGEST_LEASE).contains(&self.terms().lease()) {
            return Ok(());
        }
        let (shortest, longest) = (SHORTEST_LEASE.as_millis(), LONGEST_LEASE.as_millis());
        let detail = format!("`lease_milliseconds` is from {shortest} to {longest}");
        Err(ConfigError::Section { section: "cluster", detail })
    }

    /// The terms of every node's lease.
    #[must_use]
    pub const fn terms(&self) -> LeaseTerms {
        LeaseTerms { lease_milliseconds: self.lease_milliseconds }
    }
}
