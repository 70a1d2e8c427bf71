//! How long this node may answer without hearing from the database again. The lease belongs to the protocol of the control
//! changes (`cluster/mod.rs`): whoever waits for a silent node waits for the whole of it, and then that node has stopped.
//!
//! Of the lease's length a node keeps a fifth for the drift of clocks: chrony slews by up to 8.3 per cent, on each of two
//! hosts. Of what is left it answers until a tenth before the end, and in that tenth its open sections drain. Only a process
//! that was not there to do so is ended by the kernel.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::snapshot::SECTION_GRACE;
use crate::model::Clock;

/// The shortest lease: its last tenth must let sections drain.
pub const SHORTEST_LEASE: Duration = Duration::from_secs(1);
/// The longest: so long may a cut wait for a node that died.
pub const LONGEST_LEASE: Duration = Duration::from_mins(1);

/// What all nodes must agree on, because one counts what the other keeps to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseTerms {
    /// How long a silent node is waited for.
    pub lease_milliseconds: u64,
}

impl Default for LeaseTerms {
    fn default() -> Self {
        Self { lease_milliseconds: 3_000 }
    }
}

impl LeaseTerms {
    /// The whole lease, as others wait for it.
    #[must_use]
    pub const fn lease(self) -> Duration {
        Duration::from_millis(self.lease_milliseconds)
    }

    /// From the sending of a renewal, how long the process may live without another one.
    pub(super) fn life(self) -> Duration {
        self.lease().saturating_sub(self.lease() / 5)
    }

    /// From the sending of a renewal, how long answers may leave without another one.
    pub(super) fn open(self) -> Duration {
        self.life().saturating_sub((self.lease() / 10).max(SECTION_GRACE * 2))
    }

    /// How often a lease is renewed.
    pub(super) fn renew_every(self) -> Duration {
        self.lease() / 6
    }

    /// How long one renewal may take before another connection is tried.
    pub(super) fn renewal_timeout(self) -> Duration {
        self.lease() / 3
    }
}

/// Whether this node may answer now.
pub(super) struct Lease {
    pub(super) terms: LeaseTerms,
    clock: Arc<dyn Clock>,
    /// In microseconds of [`Clock::boot`].
    shut_at: AtomicU64,
    /// Set for good when the node leaves.
    left: AtomicBool,
}

impl Lease {
    /// One that is yet to be given.
    pub(super) fn none(terms: LeaseTerms, clock: Arc<dyn Clock>) -> Self {
        Self { terms, clock, shut_at: AtomicU64::new(0), left: AtomicBool::new(false) }
    }

    /// That of the only member: nobody else makes changes, so it never ends.
    pub(super) fn sole(terms: LeaseTerms, clock: Arc<dyn Clock>) -> Self {
        Self { shut_at: AtomicU64::new(u64::MAX), ..Self::none(terms, clock) }
    }

    /// INVARIANT: the clock is read after the section is counted, so whoever finds the lease over and then no section open
    /// knows that none will open.
    pub(super) fn holds(&self) -> bool {
        !self.left.load(Ordering::SeqCst) && micros(self.clock.boot()) < self.shut_at.load(Ordering::SeqCst)
    }

    /// When it ends, by [`Clock::boot`].
    pub(super) fn shut_at(&self) -> Duration {
        Duration::from_micros(self.shut_at.load(Ordering::SeqCst))
    }

    /// Counts a renewal that was sent at this moment.
    pub(super) fn count(&self, sent: Duration) {
        self.shut_at.fetch_max(micros(sent.saturating_add(self.terms.open())), Ordering::SeqCst);
    }

    /// Gives it up.
    pub(super) fn leave(&self) {
        self.left.store(true, Ordering::SeqCst);
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("holds", &self.holds()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use jiff::Timestamp;

    use super::*;

    #[derive(Debug, Default)]
    struct Hand(Mutex<Duration>);

    impl Clock for Hand {
        fn now(&self) -> Timestamp {
            Timestamp::UNIX_EPOCH
        }

        fn boot(&self) -> Duration {
            *self.0.lock().unwrap()
        }
    }

    #[test]
    fn a_lease_counts_from_the_sending_and_ends_before_others_stop_waiting() {
        let clock = Arc::new(Hand::default());
        let lease = Lease::none(LeaseTerms::default(), clock.clone());
        assert!(!lease.holds(), "nothing was renewed yet");
        *clock.0.lock().unwrap() = Duration::from_millis(1_500);
        lease.count(Duration::from_secs(1));
        assert!(lease.holds());
        // A renewal that was sent earlier and counted later takes nothing away.
        lease.count(Duration::from_millis(500));
        *clock.0.lock().unwrap() = Duration::from_millis(1_000 + 2_099);
        assert!(lease.holds());
        *clock.0.lock().unwrap() = Duration::from_millis(1_000 + 2_100);
        assert!(!lease.holds(), "a fifth is for drift, a tenth for sections");
        lease.count(Duration::from_secs(3));
        assert!(lease.holds());
        lease.leave();
        assert!(!lease.holds());
    }

    #[test]
    fn every_lease_leaves_room_for_sections_to_drain() {
        for lease_milliseconds in [1_000, 3_000, 60_000] {
            let terms = LeaseTerms { lease_milliseconds };
            assert!(terms.life().saturating_sub(terms.open()) >= SECTION_GRACE * 2);
            assert!(terms.open() > terms.renew_every() * 3, "two renewals may fail");
            assert!(terms.life() <= terms.lease() * 4 / 5);
        }
    }
}
