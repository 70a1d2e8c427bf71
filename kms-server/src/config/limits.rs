//! `[limits]`: of number, size and time.

use std::{num::NonZeroU32, time::Duration};

use kms_client::wire::batch::MOST_ITEMS;
use serde::Deserialize;

use super::ConfigError;
use crate::http::Limits;

/// Each has a default that fits a small machine.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsSection {
    pub connections: usize,
    pub requests: usize,
    pub control_requests: usize,
    pub principal_requests_per_second: NonZeroU32,
    pub principal_burst: NonZeroU32,
    pub handshake_seconds: u64,
    pub idle_seconds: u64,
    pub request_seconds: u64,
}

impl Default for LimitsSection {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            connections: limits.connections,
            requests: limits.requests,
            control_requests: limits.control_requests,
            principal_requests_per_second: limits.principal_requests_per_second,
            principal_burst: limits.principal_burst,
            handshake_seconds: limits.handshake.as_secs(),
            idle_seconds: limits.idle.as_secs(),
            request_seconds: limits.request.as_secs(),
        }
    }
}

impl LimitsSection {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let wrong = |detail| Err(ConfigError::Section { section: "limits", detail });
        if self.connections == 0 || self.requests == 0 || self.control_requests == 0 {
            return wrong("`connections`, `requests` and `control_requests` are at least 1".to_owned());
        }
        if usize::try_from(self.principal_burst.get()).is_ok_and(|burst| burst < MOST_ITEMS) {
            return wrong(format!("`principal_burst` is at least {MOST_ITEMS}, the items of one batch"));
        }
        Ok(())
    }

    /// The limits it names.
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits {
            connections: self.connections,
            requests: self.requests,
            control_requests: self.control_requests,
            principal_requests_per_second: self.principal_requests_per_second,
            principal_burst: self.principal_burst,
            handshake: Duration::from_secs(self.handshake_seconds),
            idle: Duration::from_secs(self.idle_seconds),
            request: Duration::from_secs(self.request_seconds),
            ..Limits::default()
        }
    }
}
