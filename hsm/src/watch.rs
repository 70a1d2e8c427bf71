//! Watches the calls to the token. A C call cannot be cancelled, so one that does not return holds its thread for good: what
//! can be done is to tell those who wait, to refuse those who come, and to say when there is no more hope.
//!
//! A thread stamps the moment before each call; a watcher thread looks at the stamps. Nothing here calls the token.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use tokio::sync::Notify;
use tracing::{error, info};

use crate::error::Error;
use crate::session::{Settings, Status};

/// Time that never goes back, counted from any fixed moment: given to the crate, so that tests move it.
#[derive(Clone)]
pub struct Uptime(Arc<dyn Fn() -> Duration + Send + Sync>);

impl Uptime {
    /// Time as this function tells it. It is asked before each call to the token, so it should be quick.
    pub fn new(now: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    pub(crate) fn now(&self) -> Duration {
        (self.0)()
    }
}

impl Default for Uptime {
    /// The system's monotonic clock, from now on.
    #[expect(clippy::disallowed_methods, reason = "the clock for those who were given none")]
    fn default() -> Self {
        let start = Instant::now();
        Self::new(move || start.elapsed())
    }
}

impl fmt::Debug for Uptime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Uptime(..)")
    }
}

/// What one thread is doing. A moment is microseconds of [`Uptime`], or [`IDLE`].
#[derive(Debug)]
pub(crate) struct Call {
    uptime: Uptime,
    /// When its call to the token began.
    began: AtomicU64,
    /// When the oldest request that it has not answered was made.
    asked: AtomicU64,
}

impl Call {
    fn new(uptime: Uptime) -> Self {
        Self { uptime, began: AtomicU64::new(IDLE), asked: AtomicU64::new(IDLE) }
    }

    /// A call to the token is about to be made.
    pub(crate) fn begins(&self) -> Duration {
        let now = self.uptime.now();
        self.began.store(micros(now), Ordering::Relaxed);
        now
    }

    /// A request is taken in hand.
    pub(crate) fn takes(&self, asked: Duration) {
        self.asked.store(micros(asked), Ordering::Relaxed);
    }

    /// Nothing is being done, and everybody has an answer.
    pub(crate) fn rests(&self) {
        self.began.store(IDLE, Ordering::Relaxed);
        self.asked.store(IDLE, Ordering::Relaxed);
    }

    /// How long this has been so.
    fn since(moment: &AtomicU64, now: Duration) -> Duration {
        match moment.load(Ordering::Relaxed) {
            IDLE => Duration::ZERO,
            micros => now.saturating_sub(Duration::from_micros(micros)),
        }
    }
}

/// All threads of one token, as seen from outside.
#[derive(Debug)]
pub(crate) struct Watch {
    uptime: Uptime,
    call_timeout: Duration,
    stuck_limit: Duration,
    calls: Vec<Arc<Call>>,
    status: Arc<Mutex<Status>>,
    /// Every thread is in a call that is past its deadline.
    stuck: AtomicBool,
    /// A call is past the limit; it is not believed to return.
    hopeless: AtomicBool,
    /// Wakes those whose deadline may have come.
    late: Notify,
}

impl Watch {
    pub(crate) fn new(settings: &Settings, status: &Arc<Mutex<Status>>) -> Self {
        let calls = (0..settings.profile.profile().threads).map(|_| Arc::new(Call::new(settings.uptime.clone())));
        Self {
            uptime: settings.uptime.clone(),
            call_timeout: settings.call_timeout,
            stuck_limit: settings.stuck_limit,
            calls: calls.collect(),
            status: Arc::clone(status),
            stuck: AtomicBool::new(false),
            hopeless: AtomicBool::new(false),
            late: Notify::new(),
        }
    }

    pub(crate) fn calls(&self) -> impl Iterator<Item = &Arc<Call>> {
        self.calls.iter()
    }

    pub(crate) fn now(&self) -> Duration {
        self.uptime.now()
    }

    /// Whether a request would wait for a call that does not return.
    pub(crate) fn is_stuck(&self) -> bool {
        self.stuck.load(Ordering::Relaxed)
    }

    /// The error of those who do not get an answer.
    pub(crate) fn error(&self) -> Error {
        if self.is_stuck() { Error::Stuck } else { Error::TimedOut }
    }

    /// Resolves when one who asked at this moment has waited long enough: at the deadline if there is one, and in any case
    /// when no thread is expected to return soon.
    pub(crate) async fn given_up(&self, deadline: Option<Duration>) {
        loop {
            let woken = self.late.notified();
            if self.is_stuck() || deadline.is_some_and(|deadline| self.now() >= deadline) {
                return;
            }
            woken.await;
        }
    }

    /// The deadline of a request that is made now.
    pub(crate) fn deadline(&self, asked: Duration) -> Duration {
        asked.saturating_add(self.call_timeout)
    }

    /// Resolves when a call has lasted past the limit.
    pub(crate) async fn hopeless(&self) {
        loop {
            let woken = self.late.notified();
            if self.hopeless.load(Ordering::Relaxed) {
                return;
            }
            woken.await;
        }
    }

    /// Looks at the stamps once.
    fn look(&self) {
        let now = self.uptime.now();
        let lasting = |call: &Arc<Call>| Call::since(&call.began, now);
        let stuck = self.calls.iter().all(|call| lasting(call) >= self.call_timeout);
        if stuck != self.stuck.swap(stuck, Ordering::Relaxed) {
            self.status.lock().unwrap_or_else(PoisonError::into_inner).set_stuck(stuck);
            if stuck {
                error!(timeout.seconds = self.call_timeout.as_secs(), "a call to the HSM does not return");
            } else {
                info!("the HSM's call has returned, late");
            }
        }
        if self.calls.iter().any(|call| lasting(call) >= self.stuck_limit) {
            self.hopeless.store(true, Ordering::Relaxed);
        }
        if stuck || self.calls.iter().any(|call| Call::since(&call.asked, now) >= self.call_timeout) {
            self.late.notify_waiters();
        }
    }
}

/// Starts the watcher. It ends when the other end of `until` is dropped.
pub(crate) fn start(watch: &Arc<Watch>, until: Receiver<()>, name: String) -> Result<(), Error> {
    let watch = Arc::clone(watch);
    let run = move || {
        while until.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
            watch.look();
        }
    };
    thread::Builder::new().name(name).spawn(run).map(drop).map_err(Error::Thread)
}

fn micros(moment: Duration) -> u64 {
    u64::try_from(moment.as_micros()).unwrap_or(IDLE - 1)
}

const IDLE: u64 = u64::MAX;

/// How often the watcher looks: deadlines are kept to this much.
pub(crate) const EVERY: Duration = Duration::from_millis(50);
