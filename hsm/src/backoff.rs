//! When a lost token is looked for again: at once after a fault, then after pauses that double, with jitter so that many
//! servers do not come back to one HSM together.

use std::time::Duration;

use aws_lc_rs::rand;

/// The pauses since the token was last known to be good.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
    /// Not before this moment.
    until: Duration,
}

impl Backoff {
    /// Whether it is too early to try.
    pub(crate) fn holds(&self, now: Duration) -> bool {
        now < self.until
    }

    /// An attempt failed at this moment.
    pub(crate) fn failed(&mut self, now: Duration) {
        self.until = now.saturating_add(jittered(pause(self.failures)));
        self.failures = self.failures.saturating_add(1);
    }

    /// The token is good.
    pub(crate) fn reset(&mut self) {
        *self = Self::default();
    }
}

/// Doubles with each failure, up to the longest.
fn pause(failures: u32) -> Duration {
    FIRST.saturating_mul(2_u32.saturating_pow(failures)).min(LONGEST)
}

/// Between half of it and all of it.
fn jittered(pause: Duration) -> Duration {
    let mut random = [0; 2];
    // Without randomness the pause is whole, which does no harm.
    let part = rand::fill(&mut random).map_or(u32::from(u16::MAX), |()| u32::from(u16::from_be_bytes(random)));
    pause / 2 + pause / 2 * part / u32::from(u16::MAX)
}

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_are_jittered() {
        let pauses: Vec<_> = (0..12).map(|failures| pause(failures).as_millis()).collect();
        assert_eq!(pauses[..5], [100, 200, 400, 800, 1600]);
        assert_eq!(pauses[9..], [30_000, 30_000, 30_000]);
        assert_eq!(pause(u32::MAX), LONGEST);

        let drawn: Vec<_> = (0..200).map(|_| jittered(LONGEST)).collect();
        assert!(drawn.iter().all(|pause| (LONGEST / 2..=LONGEST).contains(pause)));
        assert!(drawn.iter().any(|pause| *pause != drawn[0]));
    }

    #[test]
    fn it_holds_after_a_failure_and_not_after_success() {
        let mut backoff = Backoff::default();
        assert!(!backoff.holds(Duration::ZERO));
        let now = Duration::from_secs(9);
        backoff.failed(now);
        assert!(backoff.holds(now) && backoff.holds(now + FIRST / 3));
        assert!(!backoff.holds(now + FIRST));
        backoff.reset();
        assert!(!backoff.holds(now));
    }
}
