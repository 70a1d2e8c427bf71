//! The rules of the protocol, each of which a search can leave out to see what it is for.

use std::fmt;

/// One rule of DESIGN 3 and 4. What a rule's absence does is said beside it, because that is what the model then does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Rule {
    /// A renewal counts only once the revision that it returned is applied. Without it, at its answer.
    ApplyBeforeCounting,
    /// ... and drained. Without it, a renewal counts beside open sections of older snapshots.
    DrainBeforeCounting,
    /// A lease lasts from before its renewal was sent. Without it, from the moment at which the answer counts.
    CountFromTheSend,
    /// A lease is shorter than what a waiter waits, by the drift of clocks. Without it, as long.
    Margin,
    /// The lease is read at the gate. Without it, once, when the operation is authorised.
    LeaseAtTheGate,
    /// A member acknowledges what it has applied and drained. Without it, what it has applied.
    DrainBeforeAcknowledging,
    /// The section is entered before lease and snapshot are read. Without it, after.
    EnterBeforeReading,
    /// An operation whose permit is of another revision is authorised anew. Without it, its permit is good.
    AuthoriseAnew,
    /// A node's row is committed before it loads its snapshot and takes its first lease. Without it, after both: so would a
    /// single statement that inserts the row and reads the newest revision, which it reads before its row is committed.
    RegisterBeforeLoading,
    /// A waiter counts the lease on its own clock, from when it has the commit's answer. Without it, from a time that it did
    /// not read so: one stored with the change, of another clock or a wall clock, or the time at which the commit was sent.
    WaitersOwnClock,
    /// Revisions are one counter row, set in the change's transaction. Without it they come from a sequence, and the change
    /// that took its number first commits last.
    CounterRow,
    /// A kernel timer ends a process that holds a section past its lease. Without it, nothing does.
    KillTimer,
    /// A node disarms that timer only when it is drained. Without it, whenever the gate is shut.
    DrainBeforeDisarming,
    /// A node that leaves deletes its row only when it is drained. Without it, at once.
    DrainBeforeLeaving,
    /// The members of a change are listed after its commit. Without it, before.
    ListAfterTheCommit,
    /// A member is expelled a full lease, on the expeller's clock, after its row was read. Without it, at once; a lease that
    /// is counted from before the row was read can be over at once too.
    ExpelAfterALease,
    /// ... if its count of renewals is still the one that was read. Without it, whatever the count.
    ExpelUnchanged,
    /// A row that is inserted anew has a count that no row of that node ever had: a number and something new and random, say.
    /// Without it the count begins at nought again, and comes to one that somebody read and is about to delete by.
    CountsNeverRepeat,
}

impl Rule {
    pub const EACH: [Self; 18] = [
        Self::ApplyBeforeCounting,
        Self::DrainBeforeCounting,
        Self::CountFromTheSend,
        Self::Margin,
        Self::LeaseAtTheGate,
        Self::DrainBeforeAcknowledging,
        Self::EnterBeforeReading,
        Self::AuthoriseAnew,
        Self::RegisterBeforeLoading,
        Self::WaitersOwnClock,
        Self::CounterRow,
        Self::KillTimer,
        Self::DrainBeforeDisarming,
        Self::DrainBeforeLeaving,
        Self::ListAfterTheCommit,
        Self::ExpelAfterALease,
        Self::ExpelUnchanged,
        Self::CountsNeverRepeat,
    ];
}

/// The rules that hold in a search: all of them, or all but one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    left_out: Option<Rule>,
}

impl Rules {
    #[must_use]
    pub const fn all() -> Self {
        Self { left_out: None }
    }

    #[must_use]
    pub const fn without(rule: Rule) -> Self {
        Self { left_out: Some(rule) }
    }

    #[must_use]
    pub fn hold(self, rule: Rule) -> bool {
        self.left_out != Some(rule)
    }
}

impl fmt::Display for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.left_out {
            None => f.write_str("all rules"),
            Some(rule) => write!(f, "without {rule:?}"),
        }
    }
}
