//! Places at which the tests kill the process, to show that what follows a crash is the state before or after. Built
//! only with the feature `crash-points`, which no release has.

#[cfg(feature = "crash-points")]
use std::sync::atomic::{AtomicU32, Ordering};

/// Ends the process on the spot if `KEYWARD_CRASH_AT` names this place.
#[macro_export]
macro_rules! crash_point {
    ($place:literal) => {
        #[cfg(feature = "crash-points")]
        $crate::crash::at($place);
    };
}

/// As [`crash_point!`](crate::crash_point). `PLACE:3` is the third time that the process comes by.
#[cfg(feature = "crash-points")]
#[expect(clippy::disallowed_methods, reason = "a test's switch, not configuration")]
pub fn at(place: &str) {
    static PASSED: AtomicU32 = AtomicU32::new(0);
    let Ok(wanted) = std::env::var("KEYWARD_CRASH_AT") else { return };
    let (wanted, time) = wanted.split_once(':').unwrap_or((&wanted, "1"));
    if wanted == place && time.parse() == Ok(PASSED.fetch_add(1, Ordering::Relaxed) + 1) {
        let _killed = nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL);
    }
}
