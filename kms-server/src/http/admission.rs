//! Who may have how much of this node: so many requests at once and so many operations a second, of all and of each
//! principal. Control changes, and callers who ask about themselves, go a way of their own, so that a cut gets through
//! while those who use keys are too many.

use std::{
    collections::HashMap,
    fmt,
    num::NonZeroU32,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use governor::{Quota, RateLimiter, clock, middleware::NoOpMiddleware, state::keyed::HashMapStateStore};
use kms_client::id::PrincipalId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Limits;
use crate::model::{Action, Clock};

/// The two ways into the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Using keys, and reading.
    Work,
    /// Control changes, looking one up, and asking about oneself.
    Control,
}

/// The limits that requests share.
#[derive(Debug)]
pub struct Admission {
    work: Lane,
    control: Lane,
}

/// Why a principal's request is not admitted now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TooMuch {
    /// As many of its requests are under way as one principal may have.
    AtOnce,
    /// It asked too often; after this long it may again.
    TooOften(Duration),
}

/// A request that is under way. It counts until this is dropped.
#[derive(Debug)]
pub struct Admitted {
    under_way: Arc<UnderWay>,
    principal: PrincipalId,
}

struct Lane {
    places: Arc<Semaphore>,
    /// How many of the places one principal may have.
    share: usize,
    under_way: Arc<UnderWay>,
    rate: Rate,
    admitted: AtomicU32,
}

type Rate = RateLimiter<PrincipalId, HashMapStateStore<PrincipalId>, Boot, NoOpMiddleware<Duration>>;

#[derive(Debug, Default)]
struct UnderWay(Mutex<HashMap<PrincipalId, usize>>);

/// The face of our clock that never goes back.
#[derive(Debug, Clone)]
struct Boot(Arc<dyn Clock>);

impl Way {
    /// The way of a request for this action.
    #[must_use]
    pub fn of(action: Option<Action>) -> Self {
        match action {
            Some(Action::WhoAmI | Action::DescribeChange) => Self::Control,
            Some(action) if action.is_control() => Self::Control,
            Some(_) | None => Self::Work,
        }
    }
}

impl Admission {
    /// Nobody is there yet.
    #[must_use]
    pub fn new(limits: &Limits, clock: &Arc<dyn Clock>) -> Self {
        let work = (limits.principal_requests_per_second, limits.principal_burst);
        Self {
            work: Lane::new(limits.requests, limits.requests / 2, work, clock),
            control: Lane::new(limits.control_requests, limits.control_requests / 4, CONTROL_RATE, clock),
        }
    }

    /// A place for one request of anybody, if one is free.
    #[must_use]
    pub fn place(&self, way: Way) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.lane(way).places).try_acquire_owned().ok()
    }

    /// Admits a request of this principal.
    ///
    /// # Errors
    ///
    /// [`TooMuch`].
    pub fn admit(&self, way: Way, principal: PrincipalId) -> Result<Admitted, TooMuch> {
        let lane = self.lane(way);
        let admitted = Admitted::begin(&lane.under_way, principal, lane.share)?;
        self.charge(way, principal, NonZeroU32::MIN)?;
        Ok(admitted)
    }

    /// Counts operations of a request that was admitted.
    ///
    /// # Errors
    ///
    /// [`TooMuch::TooOften`].
    pub fn charge(&self, way: Way, principal: PrincipalId, operations: NonZeroU32) -> Result<(), TooMuch> {
        let lane = self.lane(way);
        lane.sweep();
        match lane.rate.check_key_n(&principal, operations) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(not_yet)) => Err(TooMuch::TooOften(not_yet.wait_time_from(clock::Clock::now(lane.rate.clock())))),
            // The configuration does not let a batch be larger than the burst.
            Err(_never) => Err(TooMuch::TooOften(Duration::from_secs(1))),
        }
    }

    fn lane(&self, way: Way) -> &Lane {
        match way {
            Way::Work => &self.work,
            Way::Control => &self.control,
        }
    }
}

impl Lane {
    fn new(places: usize, share: usize, (rate, burst): (NonZeroU32, NonZeroU32), clock: &Arc<dyn Clock>) -> Self {
        let quota = Quota::per_second(rate).allow_burst(burst);
        Self {
            places: Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS))),
            share: share.max(1),
            under_way: Arc::default(),
            rate: RateLimiter::new(quota, HashMapStateStore::default(), Boot(Arc::clone(clock))),
            admitted: AtomicU32::new(0),
        }
    }

    /// Forgets, now and then, those who have their whole burst again: what is kept is bounded by who was there lately.
    fn sweep(&self) {
        if self.admitted.fetch_add(1, Ordering::Relaxed).is_multiple_of(SWEEP_EVERY) {
            self.rate.retain_recent();
            self.rate.shrink_to_fit();
        }
    }
}

impl Admitted {
    fn begin(under_way: &Arc<UnderWay>, principal: PrincipalId, share: usize) -> Result<Self, TooMuch> {
        let mut counts = under_way.counts();
        let count = counts.entry(principal).or_default();
        if *count >= share {
            return Err(TooMuch::AtOnce);
        }
        *count += 1;
        Ok(Self { under_way: Arc::clone(under_way), principal })
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut counts = self.under_way.counts();
        if let Some(count) = counts.get_mut(&self.principal) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(&self.principal);
            }
        }
    }
}

impl UnderWay {
    fn counts(&self) -> MutexGuard<'_, HashMap<PrincipalId, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl clock::Clock for Boot {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.boot()
    }
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane")
            .field("free", &self.places.available_permits())
            .field("share", &self.share)
            .finish_non_exhaustive()
    }
}

/// Control changes a second of one principal, and at once after a quiet while: far more than people make, and so few that
/// nobody keeps others from making theirs.
const CONTROL_RATE: (NonZeroU32, NonZeroU32) =
    (NonZeroU32::MIN.saturating_add(99), NonZeroU32::MIN.saturating_add(399));
/// After how many operations those who need not be remembered are forgotten.
const SWEEP_EVERY: u32 = 4_096;

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    #[derive(Debug, Default)]
    struct Moved(AtomicU64);

    impl Clock for Moved {
        fn now(&self) -> jiff::Timestamp {
            jiff::Timestamp::UNIX_EPOCH
        }

        fn boot(&self) -> Duration {
            Duration::from_millis(self.0.load(Ordering::Relaxed))
        }
    }

    fn number(number: u32) -> NonZeroU32 {
        NonZeroU32::new(number).unwrap()
    }

    fn admission(clock: &Arc<Moved>) -> Admission {
        let limits = Limits {
            requests: 4,
            principal_requests_per_second: number(10),
            principal_burst: number(20),
            ..Limits::default()
        };
        let clock: Arc<dyn Clock> = clock.clone();
        Admission::new(&limits, &clock)
    }

    const GREEDY: PrincipalId = PrincipalId::from_bytes([1; 16]);
    const MODEST: PrincipalId = PrincipalId::from_bytes([2; 16]);

    #[test]
    fn nobody_has_more_than_half_of_the_places() {
        let admission = admission(&Arc::default());
        let held: Vec<_> = (0..2).map(|_| admission.admit(Way::Work, GREEDY).unwrap()).collect();
        assert_eq!(admission.admit(Way::Work, GREEDY).unwrap_err(), TooMuch::AtOnce);
        assert!(admission.admit(Way::Work, MODEST).is_ok());
        assert!(admission.admit(Way::Control, GREEDY).is_ok());
        drop(held);
        assert!(admission.admit(Way::Work, GREEDY).is_ok());
        assert!(admission.work.under_way.counts().is_empty(), "nobody is remembered who is not there");
    }

    #[test]
    fn a_principal_has_its_burst_and_then_its_rate() {
        let clock = Arc::new(Moved::default());
        let admission = admission(&clock);
        admission.charge(Way::Work, GREEDY, number(20)).unwrap();
        let TooMuch::TooOften(wait) = admission.charge(Way::Work, GREEDY, number(5)).unwrap_err() else { panic!() };
        assert!(wait > Duration::from_millis(400) && wait <= Duration::from_millis(500), "{wait:?}");
        admission.charge(Way::Work, MODEST, number(20)).unwrap();
        admission.charge(Way::Control, GREEDY, number(20)).unwrap();
        clock.0.store(500, Ordering::Relaxed);
        admission.charge(Way::Work, GREEDY, number(5)).unwrap();
        assert!(admission.charge(Way::Work, GREEDY, number(1)).is_err());
    }

    #[test]
    fn who_is_gone_is_forgotten() {
        let clock = Arc::new(Moved::default());
        let admission = admission(&clock);
        for byte in 0..=255 {
            admission.charge(Way::Work, PrincipalId::from_bytes([byte; 16]), number(1)).unwrap();
        }
        assert_eq!(admission.work.rate.len(), 256);
        clock.0.store(10_000, Ordering::Relaxed);
        admission.work.admitted.store(0, Ordering::Relaxed);
        admission.charge(Way::Work, MODEST, number(1)).unwrap();
        assert_eq!(admission.work.rate.len(), 1);
    }

    #[test]
    fn a_cut_goes_its_own_way() {
        for action in [Action::SuspendPrincipal, Action::RevokeKey, Action::EndBinding, Action::WhoAmI] {
            assert_eq!(Way::of(Some(action)), Way::Control);
        }
        for action in [Action::Unwrap, Action::Generate, Action::SearchAudit, Action::ListKeys] {
            assert_eq!(Way::of(Some(action)), Way::Work);
        }
        assert_eq!(Way::of(None), Way::Work);
    }
}
