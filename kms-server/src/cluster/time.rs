//! Cluster time: the database's time when it was last read, plus what has elapsed since on a clock that counts through
//! suspend. It never goes back. Where the database has no clock of its own, it is this host's at the start; a jump of that
//! clock afterwards moves nothing.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;

use crate::model::Clock;

pub(super) struct ClusterTime {
    clock: Arc<dyn Clock>,
    counted: Mutex<(Timestamp, Duration)>,
    latest: AtomicI64,
}

impl ClusterTime {
    /// From what the database says; from this host's clock, if it says nothing.
    pub(super) fn new(clock: Arc<dyn Clock>, database: Option<Timestamp>) -> Self {
        let now = database.map_or_else(|| clock.now(), |database| clock.by_database(database));
        let counted = Mutex::new((now, clock.boot()));
        Self { clock, counted, latest: AtomicI64::new(i64::MIN) }
    }

    /// Takes in what the database said just now.
    pub(super) fn count(&self, database: Timestamp) {
        let counted = (self.clock.by_database(database), self.clock.boot());
        *self.counted.lock().unwrap_or_else(PoisonError::into_inner) = counted;
    }

    pub(super) fn boot(&self) -> Duration {
        self.clock.boot()
    }

    pub(super) fn now(&self) -> Timestamp {
        let (wall, boot) = *self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let elapsed = self.clock.boot().saturating_sub(boot);
        let now = wall.checked_add(elapsed).unwrap_or(Timestamp::MAX).as_microsecond();
        let latest = self.latest.fetch_max(now, Ordering::Relaxed).max(now);
        Timestamp::from_microsecond(latest).unwrap_or(Timestamp::MAX)
    }
}

impl fmt::Debug for ClusterTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterTime").field("now", &self.now()).finish_non_exhaustive()
    }
}
