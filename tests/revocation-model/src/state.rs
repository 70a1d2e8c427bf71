//! What a state of the model is made of. Nothing here knows the time: a state holds only how long something has lasted or
//! has left on the clock of the node that counts it, so that a search has no last tick.

use std::fmt;
use std::ops::{Index, IndexMut};

use crate::configuration::MOST;

/// How many changes came before: the revision that a snapshot is at, or that a change makes.
pub(crate) type Revision = u8;

/// Ticks of some node's own clock.
pub(crate) type Ticks = u8;

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Id(pub u8);

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", char::from(b'A' + self.0))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub(crate) database: Database,
    pub(crate) nodes: PerNode<Node>,
    pub(crate) wait: Wait,
    /// Ticks until a clock may fall behind again.
    pub(crate) steady: Ticks,
}

/// One serial thing: every step of the model that touches it is one transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Database {
    pub(crate) head: Revision,
    pub(crate) members: PerNode<Option<Member>>,
    /// The acknowledgement in a renewal that its node has given up, and that may arrive yet.
    pub(crate) late: PerNode<Option<Revision>>,
}

/// A row of `members`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Member {
    pub(crate) acknowledged: Revision,
    /// Counted only where the counts may repeat: see `Protocol::renewed`.
    pub(crate) renewals: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Node {
    pub(crate) phase: Phase,
    pub(crate) snapshot: Revision,
    /// What is left of the lease, which is when the kernel's timer kills; nought when the timer is not armed.
    pub(crate) lease: Ticks,
    pub(crate) renewal: Renewal,
    pub(crate) operation: Operation,
    pub(crate) watch: Option<Watch>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Phase {
    /// Not started.
    Absent,
    /// Its row is committed, its snapshot not loaded.
    Registered,
    /// Only without `RegisterBeforeLoading`: its snapshot is loaded, its row not committed.
    Unregistered,
    Serving,
    /// It found its row gone and inserted it anew; no renewal has counted since.
    Rejoined,
    /// Its gate is shut for good.
    Leaving,
    Left,
    Killed,
}

/// The one renewal for whose answer a node waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Renewal {
    None,
    Sent {
        acknowledges: Revision,
        age: Ticks,
    },
    /// The statement's snapshot is taken, so what it returns is fixed; its row is not written.
    Executing {
        newest: Revision,
        acknowledges: Revision,
        age: Ticks,
    },
    /// The database has executed it, and the answer is on its way.
    Answered {
        newest: Revision,
        age: Ticks,
    },
    /// The answer is that no row was there.
    Expelled,
}

/// An operation from its permit to the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Operation {
    None,
    /// Authorised, perhaps long ago: HSM and audit lie between this and the gate.
    Permitted {
        permit: Revision,
    },
    /// In a section of the snapshot that was current when it entered.
    Entered {
        section: Revision,
        permit: Revision,
    },
    /// Only without `EnterBeforeReading`: past the gate, and not in a section yet.
    Read {
        rule: Revision,
        anew: bool,
    },
    /// Past the gate, authorised under `rule`; its bytes are not in the socket.
    Passed {
        section: Revision,
        rule: Revision,
        anew: bool,
    },
    /// Its bytes are in the socket. `old`: under a rule older than a change whose receipt was held by then.
    Released {
        anew: bool,
        old: bool,
    },
}

/// That a node read another's row, and how long ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Watch {
    pub(crate) member: Id,
    pub(crate) renewals: u8,
    pub(crate) elapsed: Ticks,
}

/// The receipt that is sought. A receipt changes nothing on any node, so a run in which several are sought is, for each of
/// them, a run in which only that one is: one is enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Wait {
    None,
    For {
        revision: Revision,
        by: Id,
        elapsed: Ticks,
        /// Members that have not acknowledged, once they are listed.
        listed: Option<PerNode<bool>>,
    },
    /// The admin holds it.
    Receipt {
        revision: Revision,
        how: How,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum How {
    Acknowledged,
    Expired,
}

impl Node {
    pub(crate) const ABSENT: Self = Self::stopped(Phase::Absent);

    /// A process that is not there holds nothing.
    pub(crate) const fn stopped(phase: Phase) -> Self {
        Self { phase, snapshot: 0, lease: 0, renewal: Renewal::None, operation: Operation::None, watch: None }
    }

    pub(crate) fn runs(&self) -> bool {
        matches!(self.phase, Phase::Unregistered | Phase::Serving | Phase::Rejoined | Phase::Leaving)
    }

    /// The snapshot of its open section.
    pub(crate) fn section(&self) -> Option<Revision> {
        match self.operation {
            Operation::Entered { section, .. } | Operation::Passed { section, .. } => Some(section),
            Operation::None | Operation::Permitted { .. } | Operation::Read { .. } | Operation::Released { .. } => None,
        }
    }

    /// The newest revision that is applied, and older than which no section is open.
    pub(crate) fn drained(&self) -> Revision {
        self.section().unwrap_or(self.snapshot)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PerNode<T>([T; MOST]);

impl<T: Copy> PerNode<T> {
    pub(crate) const fn all(value: T) -> Self {
        Self([value; MOST])
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter()
    }
}

impl<T> Index<Id> for PerNode<T> {
    type Output = T;

    #[expect(clippy::indexing_slicing, reason = "ids are below MOST: the configuration makes them")]
    fn index(&self, id: Id) -> &T {
        &self.0[usize::from(id.0)]
    }
}

impl<T> IndexMut<Id> for PerNode<T> {
    #[expect(clippy::indexing_slicing, reason = "ids are below MOST: the configuration makes them")]
    fn index_mut(&mut self, id: Id) -> &mut T {
        &mut self.0[usize::from(id.0)]
    }
}
