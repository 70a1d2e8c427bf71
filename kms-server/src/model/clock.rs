//! Time and fresh identifiers, injected so that tests can move the one and pin the other.

use std::{fmt::Debug, time::Duration};

use jiff::Timestamp;
use nix::time::{ClockId, clock_gettime};
use uuid::{NoContext, Uuid};

/// The two faces of time.
pub trait Clock: Debug + Send + Sync {
    /// Wall time, for display and records. It may jump; nothing that cuts access depends on it alone.
    fn now(&self) -> Timestamp;

    /// Time since some fixed moment that never goes back and counts through suspend (`CLOCK_BOOTTIME`).
    fn boot(&self) -> Duration;

    /// What the time of a database's server is to whoever uses this clock. Only a clock that a test moves is ahead of it.
    fn by_database(&self, database: Timestamp) -> Timestamp {
        database
    }
}

/// The operating system's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock that everything else is given")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn boot(&self) -> Duration {
        // CLOCK_BOOTTIME exists on every Linux this can run on; zero would only make leases look expired.
        clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from)
    }
}

/// Makes fresh identifiers: version 7 UUIDs (RFC 9562 section 5.7), ordered by the clock they are given.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ids;

impl Ids {
    /// A fresh identifier for something made at `now`.
    #[must_use]
    pub fn fresh(self, now: Timestamp) -> Uuid {
        let seconds = u64::try_from(now.as_second()).unwrap_or(0);
        let nanoseconds = u32::try_from(now.subsec_nanosecond()).unwrap_or(0);
        Uuid::new_v7(uuid::Timestamp::from_unix(NoContext, seconds, nanoseconds))
    }
}
