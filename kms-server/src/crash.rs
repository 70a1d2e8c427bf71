//! Places at which the tests kill the process, to show that what follows a crash is the state before or after. Built
//! only with the feature `crash-points`, which no release has.

/// Ends the process on the spot if `KEYWARD_CRASH_AT` names this place.
#[macro_export]
macro_rules! crash_point {
    ($place:literal) => {
        #[cfg(feature = "crash-points")]
        $crate::crash::at($place);
    };
}

/// As [`crash_point!`](crate::crash_point).
#[cfg(feature = "crash-points")]
#[expect(clippy::disallowed_methods, reason = "a test's switch, not configuration")]
pub fn at(place: &str) {
    if std::env::var("KEYWARD_CRASH_AT").is_ok_and(|wanted| wanted == place) {
        let _killed = nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL);
    }
}
