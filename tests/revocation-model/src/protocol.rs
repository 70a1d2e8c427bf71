//! Every step of the protocol: when it can happen, and what it does. A step that cannot happen now is `None`.
//!
//! Only the kernel's timer happens when it is due, as part of the tick. Everything else happens late or never as it likes: so a
//! process that is stopped, one that crashed, a node that the database cannot be reached from, and a slow one need no steps.

use crate::configuration::{Drift, Event};
use crate::model::Protocol;
use crate::rules::Rule;
use crate::state::{How, Id, Member, Node, Operation, PerNode, Phase, Renewal, Revision, State, Ticks, Wait, Watch};

/// Renewals of one row where they are counted: enough for a count to come again.
const MOST_RENEWALS: u8 = 2;

/// `None` unless the step can happen.
fn when(condition: bool) -> Option<()> {
    condition.then_some(())
}

/// Time.
impl Protocol {
    pub(crate) fn tick(&self, state: &mut State, behind: Option<Id>) -> Option<()> {
        state.steady = match (behind, self.configuration.drift) {
            (None, Drift::Once) => state.steady,
            (None, Drift::None | Drift::EachLease) => state.steady.saturating_sub(1),
            (Some(_), Drift::None) => return None,
            (Some(id), drift) => {
                when(state.steady == 0 && state.nodes[id].runs())?;
                if drift == Drift::Once { Ticks::MAX } else { self.configuration.lease - 1 }
            }
        };
        if let Wait::For { by, revision, ref mut elapsed, .. } = state.wait
            && behind != Some(by)
            && revision <= state.database.head
        {
            *elapsed = self.configuration.lease.min(*elapsed + 1);
        }
        for id in self.configuration.nodes().filter(|id| behind != Some(*id)) {
            self.age(state, id);
        }
        Some(())
    }

    /// One tick of the node's own clock.
    fn age(&self, state: &mut State, id: Id) {
        let node = &mut state.nodes[id];
        if let Renewal::Sent { age, .. } | Renewal::Executing { age, .. } | Renewal::Answered { age, .. } =
            &mut node.renewal
            && self.rules.hold(Rule::CountFromTheSend)
        {
            *age += 1;
            // No lease can come of it any more, so the node asks again.
            if *age >= self.granted() {
                node.renewal = Renewal::None;
            }
        }
        if let Some(watch) = &mut node.watch {
            watch.elapsed = self.configuration.lease.min(watch.elapsed + 1);
        }
        if node.lease > 0 {
            node.lease -= 1;
            if node.lease == 0 && self.rules.hold(Rule::KillTimer) {
                Self::stop(state, id, Phase::Killed);
            }
        }
    }

    /// A lease guards operations. A node that has none keeps no lease in the model, so nothing hangs on the answers to its
    /// renewals: it applies, acknowledges, waits and expels.
    fn serves(&self, id: Id) -> bool {
        self.configuration.serving.contains(&id)
    }

    /// How long a lease lasts from the send of its renewal.
    fn granted(&self) -> Ticks {
        let margin = if self.rules.hold(Rule::Margin) { self.configuration.margin } else { 0 };
        self.configuration.lease - margin
    }

    fn gate_is_open(&self, node: &Node) -> bool {
        node.phase != Phase::Leaving && node.lease > self.configuration.shut
    }

    fn stop(state: &mut State, id: Id, phase: Phase) {
        state.nodes[id] = Node::stopped(phase);
        if matches!(state.wait, Wait::For { by, .. } if by == id) {
            state.wait = Wait::None;
        }
    }
}

/// Revisions as nodes see them. A snapshot is `n` when it holds the first `n` changes that were committed.
impl Protocol {
    /// The number that a change carries.
    fn number(&self, change: Revision) -> Revision {
        match change {
            1 if !self.rules.hold(Rule::CounterRow) => 2,
            2 if !self.rules.hold(Rule::CounterRow) => 1,
            _ => change,
        }
    }

    /// The highest number in a snapshot.
    fn newest(&self, snapshot: Revision) -> Revision {
        (1..=snapshot).map(|change| self.number(change)).max().unwrap_or(0)
    }
}

/// Members: joining, leaving, expelling.
impl Protocol {
    pub(crate) fn register(&self, state: &mut State, id: Id) -> Option<()> {
        state.nodes[id].phase = match state.nodes[id].phase {
            Phase::Absent if self.rules.hold(Rule::RegisterBeforeLoading) => Phase::Registered,
            Phase::Unregistered => Phase::Serving,
            _ => return None,
        };
        self.insert(state, id);
        Some(())
    }

    pub(crate) fn load(&self, state: &mut State, id: Id) -> Option<()> {
        let node = &mut state.nodes[id];
        node.phase = match node.phase {
            Phase::Registered => Phase::Serving,
            Phase::Absent if !self.rules.hold(Rule::RegisterBeforeLoading) => Phase::Unregistered,
            _ => return None,
        };
        node.snapshot = state.database.head;
        Some(())
    }

    /// The gate is shut for good; what is past it may go on.
    pub(crate) fn leave(&self, state: &mut State, id: Id) -> Option<()> {
        let node = &mut state.nodes[id];
        when(self.configuration.has(Event::Leaving) && matches!(node.phase, Phase::Serving | Phase::Rejoined))?;
        node.phase = Phase::Leaving;
        node.renewal = Renewal::None;
        Some(())
    }

    pub(crate) fn delete_own_row(&self, state: &mut State, id: Id) -> Option<()> {
        let node = &state.nodes[id];
        when(node.phase == Phase::Leaving && state.database.members[id].is_some())?;
        when(node.section().is_none() || !self.rules.hold(Rule::DrainBeforeLeaving))?;
        state.database.members[id] = None;
        if node.section().is_none() {
            Self::stop(state, id, Phase::Left);
        }
        Some(())
    }

    pub(crate) fn watch(&self, state: &mut State, by: Id, member: Id) -> Option<()> {
        when(
            self.configuration.has(Event::Expulsion) && self.serves(member) && by != member && state.nodes[by].runs(),
        )?;
        when(state.nodes[by].watch.is_none_or(|watch| state.database.members[watch.member].is_none()))?;
        let renewals = state.database.members[member]?.renewals;
        state.nodes[by].watch = Some(Watch { member, renewals, elapsed: 0 });
        Some(())
    }

    /// The statement may reach the database more than once: the watch stays.
    pub(crate) fn expel(&self, state: &mut State, by: Id) -> Option<()> {
        let watch = state.nodes[by].watch?;
        let row = state.database.members[watch.member]?;
        when(watch.elapsed == self.configuration.lease || !self.rules.hold(Rule::ExpelAfterALease))?;
        when(watch.renewals == row.renewals || !self.rules.hold(Rule::ExpelUnchanged))?;
        state.database.members[watch.member] = None;
        Some(())
    }

    pub(crate) fn rejoin(&self, state: &mut State, id: Id) -> Option<()> {
        let node = &mut state.nodes[id];
        when(node.renewal == Renewal::Expelled)?;
        node.renewal = Renewal::None;
        node.phase = Phase::Rejoined;
        self.insert(state, id);
        Some(())
    }

    fn insert(&self, state: &mut State, id: Id) {
        state.database.members[id] = Some(Member { acknowledged: 0, renewals: 0 });
        self.new_count(state, id);
    }

    /// The row has a count of renewals that it never had, so a watch that read another deletes nothing any more. Forgetting
    /// such watches instead of counting keeps the model finite.
    fn new_count(&self, state: &mut State, id: Id) {
        if self.rules.hold(Rule::CountsNeverRepeat) && self.rules.hold(Rule::ExpelUnchanged) {
            for by in self.configuration.nodes() {
                state.nodes[by].watch.take_if(|watch| watch.member == id);
            }
        }
    }
}

/// The lease.
impl Protocol {
    pub(crate) fn renew(&self, state: &mut State, id: Id) -> Option<()> {
        let node = &mut state.nodes[id];
        when(node.runs() && node.phase != Phase::Leaving && node.renewal == Renewal::None)?;
        let applied = if self.rules.hold(Rule::DrainBeforeAcknowledging) { node.drained() } else { node.snapshot };
        let acknowledges = self.newest(applied);
        if self.serves(id) {
            node.renewal = Renewal::Sent { acknowledges, age: 0 };
            return Some(());
        }
        let row = state.database.members[id].as_mut()?;
        when(row.acknowledged < acknowledges)?;
        row.acknowledged = acknowledges;
        Some(())
    }

    /// A statement sees what was committed when it began, and writes later.
    pub(crate) fn begin(&self, state: &mut State, id: Id) -> Option<()> {
        let Renewal::Sent { acknowledges, age } = state.nodes[id].renewal else { return None };
        when(self.configuration.has(Event::SlowStatements) && state.database.members[id].is_some())?;
        let newest = self.newest(state.database.head);
        state.nodes[id].renewal = Renewal::Executing { newest, acknowledges, age };
        Some(())
    }

    /// The database executes the renewal, or what is left of it.
    pub(crate) fn deliver(&self, state: &mut State, id: Id) -> Option<()> {
        let (newest, acknowledges, age) = match state.nodes[id].renewal {
            Renewal::Sent { acknowledges, age } => (self.newest(state.database.head), acknowledges, age),
            Renewal::Executing { newest, acknowledges, age } => (newest, acknowledges, age),
            Renewal::None | Renewal::Answered { .. } | Renewal::Expelled => return None,
        };
        let registered = state.database.members[id].is_some();
        if registered {
            self.renewed(state, id, acknowledges)?;
        }
        state.nodes[id].renewal = match state.nodes[id].phase {
            Phase::Unregistered => Renewal::Answered { newest, age },
            _ if registered => Renewal::Answered { newest, age },
            _ => Renewal::Expelled,
        };
        Some(())
    }

    fn renewed(&self, state: &mut State, id: Id, acknowledges: Revision) -> Option<()> {
        let row = state.database.members[id].as_mut()?;
        row.acknowledged = acknowledges;
        if !self.rules.hold(Rule::CountsNeverRepeat) {
            when(row.renewals < MOST_RENEWALS)?;
            row.renewals += 1;
        }
        self.new_count(state, id);
        Some(())
    }

    /// The request or its answer is lost, or the node has waited long enough.
    pub(crate) fn give_up(state: &mut State, id: Id) -> Option<()> {
        when(!matches!(state.nodes[id].renewal, Renewal::None | Renewal::Expelled))?;
        state.nodes[id].renewal = Renewal::None;
        Some(())
    }

    /// The node asks again, and what it sent is still on its way.
    pub(crate) fn linger(&self, state: &mut State, id: Id) -> Option<()> {
        let Renewal::Sent { acknowledges, .. } = state.nodes[id].renewal else { return None };
        when(self.configuration.has(Event::LateRequests) && state.database.late[id].is_none())?;
        state.database.late[id] = Some(acknowledges);
        state.nodes[id].renewal = Renewal::None;
        Some(())
    }

    pub(crate) fn arrive_late(&self, state: &mut State, id: Id) -> Option<()> {
        let acknowledges = state.database.late[id].take()?;
        if state.database.members[id].is_some() {
            self.renewed(state, id, acknowledges)?;
        }
        Some(())
    }

    pub(crate) fn count(&self, state: &mut State, id: Id) -> Option<()> {
        let node = &mut state.nodes[id];
        let Renewal::Answered { newest, age } = node.renewal else { return None };
        when(self.newest(node.snapshot) >= newest || !self.rules.hold(Rule::ApplyBeforeCounting))?;
        when(
            self.newest(node.drained()) >= newest
                || !self.rules.hold(Rule::DrainBeforeCounting)
                || !self.rules.hold(Rule::ApplyBeforeCounting),
        )?;
        node.lease = node.lease.max(self.granted() - age);
        node.renewal = Renewal::None;
        if node.phase == Phase::Rejoined {
            node.phase = Phase::Serving;
        }
        Some(())
    }

    pub(crate) fn disarm(&self, state: &mut State, id: Id) -> Option<()> {
        let node = &mut state.nodes[id];
        when(node.lease > 0 && !self.gate_is_open(node))?;
        when(node.section().is_none() || !self.rules.hold(Rule::DrainBeforeDisarming))?;
        node.lease = 0;
        Some(())
    }
}

/// The control state, and the receipt of a change.
impl Protocol {
    pub(crate) fn commit(&self, state: &mut State) -> Option<()> {
        when(state.database.head < self.configuration.changes)?;
        state.database.head += 1;
        Some(())
    }

    pub(crate) fn apply(&self, state: &mut State, id: Id) -> Option<()> {
        let node = &mut state.nodes[id];
        when(node.runs() && node.snapshot < state.database.head)?;
        when(self.number(node.snapshot + 1) > self.newest(node.snapshot))?;
        node.snapshot += 1;
        Some(())
    }

    /// The maker has the commit's answer, or another node finds the change committed and completes its receipt.
    pub(crate) fn wait(&self, state: &mut State, by: Id, revision: Revision) -> Option<()> {
        let committed = state.database.head + u8::from(!self.rules.hold(Rule::ListAfterTheCommit));
        when(state.wait == Wait::None && revision <= committed && state.nodes[by].runs())?;
        let elapsed = if self.rules.hold(Rule::WaitersOwnClock) { 0 } else { self.configuration.lease };
        state.wait = Wait::For { revision, by, elapsed, listed: None };
        Some(())
    }

    pub(crate) fn list(&self, state: &mut State) -> Option<()> {
        let Wait::For { listed, .. } = &mut state.wait else { return None };
        when(listed.is_none())?;
        let mut rows = PerNode::all(false);
        for id in self.configuration.nodes() {
            rows[id] = state.database.members[id].is_some();
        }
        *listed = Some(rows);
        Some(())
    }

    /// The waiter reads the rows of those that it listed. One whose row is gone has nothing left to acknowledge.
    pub(crate) fn poll(&self, state: &mut State) -> Option<()> {
        let Wait::For { revision, listed: Some(listed), .. } = &mut state.wait else { return None };
        when(*revision <= state.database.head)?;
        let before = *listed;
        for id in self.configuration.nodes() {
            let row = state.database.members[id];
            listed[id] &= row.is_some_and(|row| row.acknowledged < self.number(*revision));
        }
        if listed.iter().all(|waited_for| !waited_for) {
            state.wait = Wait::Receipt { revision: *revision, how: How::Acknowledged };
            return Some(());
        }
        when(*listed != before)
    }

    pub(crate) fn expire(&self, state: &mut State) -> Option<()> {
        let Wait::For { revision, elapsed, .. } = state.wait else { return None };
        when(elapsed == self.configuration.lease && revision <= state.database.head)?;
        state.wait = Wait::Receipt { revision, how: How::Expired };
        Some(())
    }
}

/// Operations: the gate.
impl Protocol {
    pub(crate) fn authorise(&self, state: &mut State, id: Id) -> Option<()> {
        let node = &mut state.nodes[id];
        when(self.serves(id) && node.runs())?;
        when(matches!(node.operation, Operation::None | Operation::Released { .. }))?;
        when(self.gate_is_open(node) || self.rules.hold(Rule::LeaseAtTheGate))?;
        node.operation = Operation::Permitted { permit: node.snapshot };
        Some(())
    }

    pub(crate) fn enter(state: &mut State, id: Id) -> Option<()> {
        let node = &mut state.nodes[id];
        let section = node.snapshot;
        node.operation = match node.operation {
            Operation::Permitted { permit } => Operation::Entered { section, permit },
            Operation::Read { rule, anew } => Operation::Passed { section, rule, anew },
            _ => return None,
        };
        Some(())
    }

    /// Reads the lease, in the section. The rule is that of the section's snapshot, whatever was applied since it was entered: a
    /// snapshot that is read later is newer, and an answer under it less old.
    pub(crate) fn pass(&self, state: &mut State, id: Id) -> Option<()> {
        let node = &mut state.nodes[id];
        when(self.gate_is_open(node) || !self.rules.hold(Rule::LeaseAtTheGate))?;
        let authorised = |permit, snapshot| if self.rules.hold(Rule::AuthoriseAnew) { snapshot } else { permit };
        node.operation = match node.operation {
            Operation::Permitted { permit } if !self.rules.hold(Rule::EnterBeforeReading) => {
                let rule = authorised(permit, node.snapshot);
                Operation::Read { rule, anew: rule != permit }
            }
            Operation::Entered { section, permit } if self.rules.hold(Rule::EnterBeforeReading) => {
                let rule = authorised(permit, section);
                Operation::Passed { section, rule, anew: rule != permit }
            }
            _ => return None,
        };
        Some(())
    }

    pub(crate) fn release(state: &mut State, id: Id) -> Option<()> {
        let Operation::Passed { rule, anew, .. } = state.nodes[id].operation else { return None };
        let old = matches!(state.wait, Wait::Receipt { revision, .. } if rule < revision);
        state.nodes[id].operation = Operation::Released { anew, old };
        Some(())
    }

    /// Refused at the gate, or the connection is aborted because a change waits.
    pub(crate) fn abort(state: &mut State, id: Id) -> Option<()> {
        let operation = &mut state.nodes[id].operation;
        when(!matches!(operation, Operation::None | Operation::Released { .. }))?;
        *operation = Operation::None;
        Some(())
    }
}
