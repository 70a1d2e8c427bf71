//! The protocol as stateright searches it: where it begins, what can happen, what must hold.

use stateright::{Model, Property};

use crate::configuration::{Configuration, Event};
use crate::rules::Rules;
use crate::state::{Database, How, Id, Member, Node, Operation, PerNode, Phase, Renewal, Revision, State, Wait};

/// Promise 2: once the admin holds the receipt of a change, no node releases an answer under an older rule. A request that
/// begins after the receipt is released after it, so this holds for those and for what was in flight.
pub const NO_OLD_ANSWER: &str = "no answer under an older rule after the receipt";

#[derive(Clone, Debug)]
pub struct Protocol {
    pub(crate) configuration: Configuration,
    pub(crate) rules: Rules,
    steps: Vec<Action>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// All clocks move on by one tick, but for at most one.
    Tick {
        behind: Option<Id>,
    },
    Register(Id),
    Load(Id),
    Leave(Id),
    DeleteOwnRow(Id),
    Watch {
        by: Id,
        member: Id,
    },
    Expel {
        by: Id,
    },
    Rejoin(Id),
    SendRenewal(Id),
    BeginRenewal(Id),
    DeliverRenewal(Id),
    GiveUpRenewal(Id),
    LetRenewalLinger(Id),
    DeliverLateRenewal(Id),
    CountRenewal(Id),
    DisarmTimer(Id),
    CommitChange,
    Apply(Id),
    WaitForReceipt {
        by: Id,
        revision: Revision,
    },
    ListMembers,
    PollMembers,
    WaitIsOver,
    Authorise(Id),
    EnterSection(Id),
    PassGate(Id),
    Release(Id),
    Abort(Id),
}

impl Protocol {
    #[must_use]
    pub fn new(configuration: Configuration, rules: Rules) -> Self {
        let nodes = || configuration.nodes();
        let mut steps = vec![Action::Tick { behind: None }, Action::CommitChange];
        steps.extend([Action::ListMembers, Action::PollMembers, Action::WaitIsOver]);
        for id in nodes() {
            steps.extend([Action::Register(id), Action::Load(id), Action::Leave(id), Action::DeleteOwnRow(id)]);
            steps.extend([Action::Expel { by: id }, Action::Rejoin(id), Action::SendRenewal(id)]);
            steps.extend([
                Action::BeginRenewal(id),
                Action::DeliverRenewal(id),
                Action::GiveUpRenewal(id),
                Action::LetRenewalLinger(id),
            ]);
            steps.extend([Action::DeliverLateRenewal(id), Action::CountRenewal(id), Action::DisarmTimer(id)]);
            steps.extend([Action::Apply(id), Action::Tick { behind: Some(id) }]);
            steps.extend([Action::Authorise(id), Action::EnterSection(id), Action::PassGate(id)]);
            steps.extend([Action::Release(id), Action::Abort(id)]);
            steps.extend(nodes().map(|member| Action::Watch { by: id, member }));
            steps.extend((1..=configuration.changes).map(|revision| Action::WaitForReceipt { by: id, revision }));
        }
        Self { configuration, rules, steps }
    }
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let mut state = State {
            database: Database { head: 0, members: PerNode::all(None), late: PerNode::all(None) },
            nodes: PerNode::all(Node::ABSENT),
            wait: Wait::None,
            steady: 0,
        };
        for id in self.configuration.nodes().take(usize::from(self.configuration.founders)) {
            state.database.members[id] = Some(Member { acknowledged: 0, renewals: 0 });
            state.nodes[id].phase = Phase::Serving;
        }
        vec![state]
    }

    fn actions(&self, _: &State, actions: &mut Vec<Action>) {
        actions.extend_from_slice(&self.steps);
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = *state;
        let state = &mut next;
        match action {
            Action::Tick { behind } => self.tick(state, behind),
            Action::Register(id) => self.register(state, id),
            Action::Load(id) => self.load(state, id),
            Action::Leave(id) => self.leave(state, id),
            Action::DeleteOwnRow(id) => self.delete_own_row(state, id),
            Action::Watch { by, member } => self.watch(state, by, member),
            Action::Expel { by } => self.expel(state, by),
            Action::Rejoin(id) => self.rejoin(state, id),
            Action::SendRenewal(id) => self.renew(state, id),
            Action::BeginRenewal(id) => self.begin(state, id),
            Action::DeliverRenewal(id) => self.deliver(state, id),
            Action::GiveUpRenewal(id) => Self::give_up(state, id),
            Action::LetRenewalLinger(id) => self.linger(state, id),
            Action::DeliverLateRenewal(id) => self.arrive_late(state, id),
            Action::CountRenewal(id) => self.count(state, id),
            Action::DisarmTimer(id) => self.disarm(state, id),
            Action::CommitChange => self.commit(state),
            Action::Apply(id) => self.apply(state, id),
            Action::WaitForReceipt { by, revision } => self.wait(state, by, revision),
            Action::ListMembers => self.list(state),
            Action::PollMembers => self.poll(state),
            Action::WaitIsOver => self.expire(state),
            Action::Authorise(id) => self.authorise(state, id),
            Action::EnterSection(id) => Self::enter(state, id),
            Action::PassGate(id) => self.pass(state, id),
            Action::Release(id) => Self::release(state, id),
            Action::Abort(id) => Self::abort(state, id),
        }?;
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always(NO_OLD_ANSWER, |_, state: &State| !released(state, |_, old| old)),
            Property::sometimes("an answer is released that was authorised anew", |_, state: &State| {
                released(state, |anew, _| anew)
            }),
            Property::sometimes("a receipt, each member having acknowledged", |_, state: &State| {
                matches!(state.wait, Wait::Receipt { how: How::Acknowledged, .. })
            }),
            Property::sometimes("a receipt, a lease having passed", |_, state: &State| {
                matches!(state.wait, Wait::Receipt { how: How::Expired, .. })
            }),
            Property::sometimes("the timer kills a process", |_, state: &State| {
                state.nodes.iter().any(|node| node.phase == Phase::Killed)
            }),
        ];
        if self.configuration.has(Event::Leaving) {
            properties.push(Property::sometimes("a node leaves", |_, state: &State| {
                state.nodes.iter().any(|node| node.phase == Phase::Left)
            }));
        }
        if self.configuration.has(Event::Expulsion) {
            properties.push(Property::sometimes("a node finds itself expelled", |_, state: &State| {
                state.nodes.iter().any(|node| node.renewal == Renewal::Expelled)
            }));
            properties.push(Property::sometimes("it joins again and releases an answer", |_, state: &State| {
                state.nodes.iter().any(|node| node.phase == Phase::Rejoined)
            }));
        }
        properties
    }
}

fn released(state: &State, which: impl Fn(bool, bool) -> bool) -> bool {
    state.nodes.iter().any(|node| matches!(node.operation, Operation::Released { anew, old } if which(anew, old)))
}
