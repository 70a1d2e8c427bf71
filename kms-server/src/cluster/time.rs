//! Cluster time: the wall time at the last counted moment plus what has elapsed on a clock that counts through suspend.
//! A jump of the wall clock in between moves nothing, and it never goes back.

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
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        let counted = Mutex::new((clock.now(), clock.boot()));
        Self { clock, counted, latest: AtomicI64::new(i64::MIN) }
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
