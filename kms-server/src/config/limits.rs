//! `[limits]`: of number, size and time.

use std::time::Duration;

use serde::Deserialize;

use crate::http::Limits;

/// Each has a default that fits a small machine.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsSection {
    pub connections: usize,
    pub requests: usize,
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
            handshake_seconds: limits.handshake.as_secs(),
            idle_seconds: limits.idle.as_secs(),
            request_seconds: limits.request.as_secs(),
        }
    }
}

impl LimitsSection {
    /// The limits it names.
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits {
            connections: self.connections,
            requests: self.requests,
            handshake: Duration::from_secs(self.handshake_seconds),
            idle: Duration::from_secs(self.idle_seconds),
            request: Duration::from_secs(self.request_seconds),
            ..Limits::default()
        }
    }
}
