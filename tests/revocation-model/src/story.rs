//! A path of the search as people read it.

use std::fmt::{self, Write as _};

use stateright::Path;

use crate::model::Action;
use crate::state::{Id, Phase, State, Wait};

/// A step to a line, with what it led to where that is not in its name.
#[must_use]
pub fn story(path: Path<State, Action>) -> String {
    let steps = path.into_vec();
    let mut story = String::new();
    for (number, (before, after)) in steps.iter().zip(steps.iter().skip(1)).enumerate() {
        let (before, Some(action)) = before else { continue };
        let _ = writeln!(story, "{:>3}  {action}{}", number + 1, outcome(before, &after.0));
    }
    story
}

fn outcome(before: &State, after: &State) -> String {
    let mut outcome = String::new();
    if matches!(after.wait, Wait::Receipt { .. }) && before.wait != after.wait {
        outcome.push_str(": the admin holds the receipt");
    }
    for id in (0..).map(Id).take(after.nodes.iter().count()) {
        if after.nodes[id].phase == Phase::Killed && before.nodes[id].phase != Phase::Killed {
            let _ = write!(outcome, ": {id:?}'s timer kills it");
        }
    }
    outcome
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tick { behind: None } => write!(f, "every clock ticks"),
            Self::Tick { behind: Some(id) } => write!(f, "every clock ticks but {id:?}'s"),
            Self::Register(id) => write!(f, "{id:?} inserts its row"),
            Self::Load(id) => write!(f, "{id:?} loads the newest snapshot"),
            Self::Leave(id) => write!(f, "{id:?} shuts its gate for good"),
            Self::DeleteOwnRow(id) => write!(f, "{id:?} deletes its row"),
            Self::Watch { by, member } => write!(f, "{by:?} reads {member:?}'s count of renewals"),
            Self::Expel { by } => write!(f, "{by:?} deletes the row whose count it read"),
            Self::Rejoin(id) => write!(f, "{id:?} finds its row gone and inserts it anew"),
            Self::SendRenewal(id) => write!(f, "{id:?} sends a renewal"),
            Self::BeginRenewal(id) => write!(f, "the database reads the newest revision for {id:?}'s renewal"),
            Self::DeliverRenewal(id) => write!(f, "the database executes {id:?}'s renewal"),
            Self::GiveUpRenewal(id) => write!(f, "{id:?}'s renewal or its answer is lost"),
            Self::LetRenewalLinger(id) => write!(f, "{id:?} gives up its renewal, which is on its way still"),
            Self::DeliverLateRenewal(id) => write!(f, "the database executes {id:?}'s late renewal"),
            Self::CountRenewal(id) => write!(f, "{id:?}'s renewal counts"),
            Self::DisarmTimer(id) => write!(f, "{id:?} disarms its timer"),
            Self::CommitChange => write!(f, "a change is committed"),
            Self::Apply(id) => write!(f, "{id:?} applies a change"),
            Self::WaitForReceipt { by, revision } => {
                write!(f, "{by:?} begins to wait for the receipt of change {revision}")
            }
            Self::ListMembers => write!(f, "the waiter lists the members"),
            Self::PollMembers => write!(f, "the waiter reads what they acknowledged"),
            Self::WaitIsOver => write!(f, "the waiter has waited a lease"),
            Self::Authorise(id) => write!(f, "{id:?} authorises an operation"),
            Self::EnterSection(id) => write!(f, "{id:?}'s operation enters a section"),
            Self::PassGate(id) => write!(f, "{id:?}'s operation passes the gate"),
            Self::Release(id) => write!(f, "{id:?} releases the answer"),
            Self::Abort(id) => write!(f, "{id:?}'s operation is aborted"),
        }
    }
}
