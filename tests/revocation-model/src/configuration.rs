//! How far a search goes: nodes, changes, clocks, and which of the rarer events may happen in it.

use crate::state::Id;

/// Most nodes of any configuration.
pub(crate) const MOST: usize = 3;

#[derive(Clone, Copy, Debug)]
pub struct Configuration {
    pub name: &'static str,
    /// Nodes that are members, without a lease yet, when the search begins: the first so many.
    pub founders: u8,
    /// Nodes after those, that may join.
    pub joiners: u8,
    /// Nodes on which operations run, one at a time on each and any number one after the other.
    pub serving: &'static [Id],
    /// Most control changes. Cuts and restorations are one to the model: an answer under any older revision is a violation.
    pub changes: u8,
    /// How long a waiter or expeller waits, in ticks of its own clock.
    pub lease: u8,
    /// By how much a node's lease is shorter. One tick is what clocks drift.
    pub margin: u8,
    /// How long before the end of its lease, when the timer kills, a node shuts its gate.
    pub shut: u8,
    pub drift: Drift,
    /// Whether nodes may leave.
    pub leaving: bool,
    /// Whether members may be expelled.
    pub expulsion: bool,
    /// Whether a renewal that its node gave up may reach the database later, beside newer ones.
    pub late_requests: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drift {
    /// All clocks go alike.
    None,
    /// One clock, once in a run, falls one tick behind the others.
    Once,
    /// In any span of a lease, one clock may fall one tick behind the others.
    EachLease,
}

impl Configuration {
    pub(crate) fn nodes(&self) -> impl Iterator<Item = Id> + use<> {
        (0..self.founders + self.joiners).map(Id)
    }
}

/// The searches that every run of the tests makes. README.md names what each adds; a test holds its table to these.
impl Configuration {
    pub const EACH: [Self; 8] = [
        Self::ONE_CHANGE,
        Self::TWO_CHANGES,
        Self::BOTH_SERVE,
        Self::JOIN_AND_LEAVE,
        Self::EXPULSION,
        Self::LATE_REQUESTS,
        Self::THREE_NODES,
        Self::THREE_NODES_ONE_JOINS,
    ];

    /// What the others are made of.
    pub const ONE_CHANGE: Self = Self {
        name: "one change",
        founders: 2,
        joiners: 0,
        serving: &[Id(1)],
        changes: 1,
        lease: 4,
        margin: 1,
        shut: 1,
        drift: Drift::EachLease,
        leaving: false,
        expulsion: false,
        late_requests: false,
    };

    pub const TWO_CHANGES: Self =
        Self { name: "two changes", changes: 2, lease: 3, drift: Drift::Once, ..Self::ONE_CHANGE };

    pub const BOTH_SERVE: Self = Self {
        name: "both serve",
        serving: &[Id(0), Id(1)],
        lease: 3,
        drift: Drift::None,
        shut: 0,
        ..Self::ONE_CHANGE
    };

    pub const JOIN_AND_LEAVE: Self =
        Self { name: "join and leave", founders: 1, joiners: 1, leaving: true, drift: Drift::Once, ..Self::ONE_CHANGE };

    pub const EXPULSION: Self =
        Self { name: "expulsion", lease: 3, drift: Drift::Once, expulsion: true, ..Self::ONE_CHANGE };

    pub const LATE_REQUESTS: Self =
        Self { name: "late requests", lease: 3, drift: Drift::Once, late_requests: true, ..Self::ONE_CHANGE };

    pub const THREE_NODES: Self =
        Self { name: "three nodes", founders: 3, lease: 3, drift: Drift::None, ..Self::ONE_CHANGE };

    pub const THREE_NODES_ONE_JOINS: Self = Self {
        name: "three nodes, one joins",
        joiners: 1,
        serving: &[Id(2)],
        lease: 3,
        drift: Drift::None,
        ..Self::ONE_CHANGE
    };
}
