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
    /// The rarer events that may happen.
    pub events: &'static [Event],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Nodes leave.
    Leaving,
    /// Members are expelled, and join again.
    Expulsion,
    /// A renewal that its node gave up reaches the database later, beside newer ones.
    LateRequests,
    /// A renewal reads the newest revision well before it writes its row, as a statement of PostgreSQL does.
    SlowStatements,
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
    pub(crate) fn has(&self, event: Event) -> bool {
        self.events.contains(&event)
    }

    pub(crate) fn nodes(&self) -> impl Iterator<Item = Id> + use<> {
        (0..self.founders + self.joiners).map(Id)
    }
}

/// The searches. README.md says in a table what each has; a test holds the table's counts to what the search finds.
impl Configuration {
    /// In every run of the tests: seconds each.
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

    /// When the protocol changes: half a minute each.
    pub const WIDE: [Self; 8] = [
        Self { name: "two changes, longer lease", changes: 2, ..Self::ONE_CHANGE },
        Self { name: "three changes", changes: 3, ..Self::TWO_CHANGES },
        Self { name: "both serve, clocks drift", drift: Drift::Once, shut: 1, ..Self::BOTH_SERVE },
        Self { name: "two changes, join and leave", changes: 2, lease: 3, ..Self::JOIN_AND_LEAVE },
        Self { name: "two changes, expulsion", events: &[Event::Expulsion], ..Self::TWO_CHANGES },
        Self { name: "three nodes, two changes", changes: 2, drift: Drift::Once, ..Self::THREE_NODES },
        Self { name: "three nodes, expulsion", events: &[Event::Expulsion], ..Self::THREE_NODES },
        Self { name: "three nodes, one joins, two changes", changes: 2, events: &[], ..Self::THREE_NODES_ONE_JOINS },
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
        events: &[Event::SlowStatements],
    };

    pub const TWO_CHANGES: Self = Self { name: "two changes", changes: 2, ..Self::SMALLER };

    pub const BOTH_SERVE: Self =
        Self { name: "both serve", serving: &[Id(0), Id(1)], drift: Drift::None, shut: 0, ..Self::SMALLER };

    pub const JOIN_AND_LEAVE: Self = Self {
        name: "join and leave",
        founders: 1,
        joiners: 1,
        drift: Drift::Once,
        events: &[Event::Leaving, Event::SlowStatements],
        ..Self::ONE_CHANGE
    };

    pub const EXPULSION: Self =
        Self { name: "expulsion", events: &[Event::Expulsion, Event::SlowStatements], ..Self::SMALLER };

    pub const LATE_REQUESTS: Self = Self {
        name: "late requests",
        events: &[Event::Expulsion, Event::SlowStatements, Event::Leaving, Event::LateRequests],
        ..Self::EXPULSION
    };

    pub const THREE_NODES: Self = Self { name: "three nodes", founders: 3, drift: Drift::None, ..Self::SMALLER };

    pub const THREE_NODES_ONE_JOINS: Self = Self {
        name: "three nodes, one joins",
        joiners: 1,
        serving: &[Id(2)],
        drift: Drift::None,
        events: &[Event::Leaving],
        ..Self::SMALLER
    };

    /// Room for more nodes, changes or rarer events.
    const SMALLER: Self = Self { lease: 3, drift: Drift::Once, events: &[], ..Self::ONE_CHANGE };
}
