//! A clock that a test moves. It also runs, as the machine's does.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use kms_server::model::{Clock, SystemClock};

/// The machine's clocks, moved by what a test says.
#[derive(Debug, Default)]
pub struct TestClock {
    /// Milliseconds by which both faces are ahead.
    both: AtomicI64,
    /// Milliseconds by which only wall time is ahead.
    wall: AtomicI64,
}

impl TestClock {
    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        self.both.fetch_add(i64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }

    /// Sets the wall clock, forwards or back, while no time passes.
    pub fn jump(&self, milliseconds: i64) {
        self.wall.fetch_add(milliseconds, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        let ahead = self.both.load(Ordering::SeqCst) + self.wall.load(Ordering::SeqCst);
        SystemClock.now() + SignedDuration::from_millis(ahead)
    }

    fn by_database(&self, database: Timestamp) -> Timestamp {
        database + SignedDuration::from_millis(self.both.load(Ordering::SeqCst))
    }

    fn boot(&self) -> Duration {
        SystemClock.boot() + Duration::from_millis(self.both.load(Ordering::SeqCst).unsigned_abs())
    }
}
