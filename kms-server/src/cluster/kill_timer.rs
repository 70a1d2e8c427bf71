//! The kernel's hand on this process. Between the last look at the lease and the socket a process can be stopped, by SIGSTOP
//! or with its machine, and go on when others no longer wait for it. So a kernel timer ends it: it runs on `CLOCK_BOOTTIME`,
//! which counts while the machine is suspended, and SIGKILL reaches a process that is stopped.
//!
//! It is armed up to the end of the lease and armed anew by each counted renewal. A node that is there when its lease ends
//! shuts its gate, drains and disarms it, so an outage of the database kills nobody.

use std::time::Duration;

use nix::{
    sys::{
        signal::{SigEvent, SigevNotify, Signal},
        time::TimeSpec,
        timer::{Expiration, Timer, TimerSetTimeFlags},
    },
    time::ClockId,
};

/// Whether this process has itself ended when it outlives its lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arming {
    /// The process is one node's alone: `main.rs` says so.
    Kill,
    /// It holds more than one node, as the tests' does.
    Never,
}

/// A timer of this process, or nothing where none is armed. It belongs to the thread that made it.
#[derive(Debug)]
pub(super) struct KillTimer(Option<Timer>);

impl KillTimer {
    pub(super) fn new(arming: Arming) -> nix::Result<Self> {
        match arming {
            Arming::Never => Ok(Self(None)),
            Arming::Kill => {
                let kill = SigevNotify::SigevSignal { signal: Signal::SIGKILL, si_value: 0 };
                Timer::new(ClockId::CLOCK_BOOTTIME, SigEvent::new(kill)).map(|timer| Self(Some(timer)))
            }
        }
    }

    /// Ends the process at this moment of `CLOCK_BOOTTIME`, unless it is armed anew or disarmed before.
    pub(super) fn arm(&mut self, at: Duration) -> nix::Result<()> {
        let Some(timer) = &mut self.0 else { return Ok(()) };
        timer.set(Expiration::OneShot(TimeSpec::from(at)), TimerSetTimeFlags::TFD_TIMER_ABSTIME)
    }

    pub(super) fn disarm(&mut self) -> nix::Result<()> {
        let Some(timer) = &mut self.0 else { return Ok(()) };
        timer.set(Expiration::OneShot(TimeSpec::from(Duration::ZERO)), TimerSetTimeFlags::empty())
    }
}
