//! Asking again: only what is safe, later each time, at random within bounds, and never beyond the time that a call has.

use std::time::Duration;

use aws_lc_rs::rand;

use super::{error::Error, transport::Repeat};
use crate::wire::problem::Code;

/// The bound of the first pause; each further one is twice as long.
const FIRST: Duration = Duration::from_millis(100);
/// The bound of every pause.
const LONGEST: Duration = Duration::from_secs(5);

/// How often to ask again, and for how long in all.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retry {
    pub(super) most: u32,
    pub(super) deadline: Duration,
}

/// What a failure allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The failure stands.
    Final,
    /// The same request may be sent again.
    Again,
    /// The change may have been made: only whoever has looked may send the request again.
    LookFirst,
}

impl Retry {
    /// How long to wait before the next try; none if this one was the last. `asked` is what the server asked for.
    pub(super) fn pause(self, tries: u32, elapsed: Duration, asked: Option<Duration>) -> Option<Duration> {
        if tries >= self.most {
            return None;
        }
        let bound = FIRST.saturating_mul(1_u32.checked_shl(tries).unwrap_or(u32::MAX)).min(LONGEST);
        let pause = asked.unwrap_or_default().saturating_add(bound.mul_f64(portion()));
        (elapsed.saturating_add(pause) < self.deadline).then_some(pause)
    }
}

/// What may be done about a failure.
pub(super) fn verdict(error: &Error, repeat: Repeat) -> Verdict {
    let safe = match error {
        Error::Problem(problem) if problem.code == Code::OutcomeUnknown => {
            return if repeat == Repeat::Named { Verdict::LookFirst } else { Verdict::Final };
        }
        Error::Problem(problem) => {
            let passes = matches!(problem.status, 429 | 503) || problem.code == Code::IdempotencyInProgress;
            passes && repeat != Repeat::Never
        }
        // Whatever stands in front of the server and says so has not passed the request on.
        Error::Unexpected { status: 429 | 503, .. } => repeat != Repeat::Never,
        Error::Transport { source, .. } => match repeat {
            Repeat::Harmless | Repeat::Named => true,
            // It was never sent.
            Repeat::Unsent => source.is_connect(),
            Repeat::Never => false,
        },
        Error::Timeout { .. } => matches!(repeat, Repeat::Harmless | Repeat::Named),
        Error::Accepted(_)
        | Error::Unexpected { .. }
        | Error::TooLong { .. }
        | Error::Decode { .. }
        | Error::Encode(_)
        | Error::Configuration(_)
        | Error::Context(_)
        | Error::Envelope(_)
        | Error::NoPlaintext
        | Error::Exists(_)
        | Error::File { .. } => false,
    };
    if safe { Verdict::Again } else { Verdict::Final }
}

/// A random number from 0 to 1.
fn portion() -> f64 {
    let mut bytes = [0; 4];
    // Without randomness everybody waits for the longest time, which does no harm.
    if rand::fill(&mut bytes).is_err() {
        return 1.0;
    }
    f64::from(u32::from_ne_bytes(bytes)) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{id::RequestId, wire::problem::Problem};

    const RETRY: Retry = Retry { most: 4, deadline: Duration::from_mins(1) };

    fn problem(code: Code) -> Error {
        Error::Problem(Box::new(Problem::new(code, "x", RequestId::from_bytes([1; 16]))))
    }

    #[test]
    fn pauses_are_random_within_growing_bounds() {
        for tries in 0..4 {
            let bound = FIRST * 2_u32.pow(tries);
            let pauses: Vec<_> = (0..100).map(|_| RETRY.pause(tries, Duration::ZERO, None).unwrap()).collect();
            assert!(pauses.iter().all(|pause| *pause <= bound), "{pauses:?}");
            assert!(pauses.iter().any(|pause| *pause < bound / 2) && pauses.iter().any(|pause| *pause > bound / 2));
        }
        assert_eq!(RETRY.pause(4, Duration::ZERO, None), None);
    }

    #[test]
    fn what_the_server_asks_for_is_waited_within_the_deadline() {
        let asked = Some(Duration::from_secs(20));
        assert!(RETRY.pause(0, Duration::ZERO, asked).unwrap() >= Duration::from_secs(20));
        assert_eq!(RETRY.pause(0, Duration::from_secs(41), asked), None);
        assert_eq!(RETRY.pause(0, Duration::ZERO, Some(Duration::MAX)), None);
    }

    #[test]
    fn only_what_is_safe_is_asked_again() {
        use Repeat::{Harmless, Named, Never, Unsent};
        for repeat in [Harmless, Unsent, Named] {
            assert_eq!(verdict(&problem(Code::Overloaded), repeat), Verdict::Again);
            assert_eq!(verdict(&problem(Code::StoreUnavailable), repeat), Verdict::Again);
            assert_eq!(verdict(&problem(Code::NotPermitted), repeat), Verdict::Final);
        }
        assert_eq!(verdict(&problem(Code::Overloaded), Never), Verdict::Final);
        assert_eq!(verdict(&problem(Code::OutcomeUnknown), Never), Verdict::Final);
        assert_eq!(verdict(&problem(Code::OutcomeUnknown), Named), Verdict::LookFirst);
        assert_eq!(verdict(&problem(Code::IdempotencyInProgress), Named), Verdict::Again);
        let timeout = Error::Timeout { url: String::new() };
        let verdicts = [Harmless, Named, Unsent, Never].map(|repeat| verdict(&timeout, repeat));
        assert_eq!(verdicts, [Verdict::Again, Verdict::Again, Verdict::Final, Verdict::Final]);
    }
}
