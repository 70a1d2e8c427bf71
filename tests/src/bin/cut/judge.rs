//! Whether a history holds: pure. It is told what the control changes were, when their receipts were complete and in the
//! administrator's hands, and of each success when it was asked for, under which revision it left, and when its last byte
//! was in the kernel. All times are of one clock.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
};

use kms_client::id::{CredentialId, KeyId, KeyVersion, PrincipalId, RequestId};

/// Nanoseconds of `CLOCK_MONOTONIC`.
pub(crate) type Nanos = u64;

/// What must be in force for a success. Each is in force or cut at every revision.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Rule {
    /// The key is enabled.
    Key(KeyId),
    /// The version is not revoked.
    Version(KeyId, KeyVersion),
    /// Some binding and its role let the principal unwrap with the key.
    Grant(PrincipalId, KeyId),
    /// No policy forbids it to the team.
    Team(String),
    /// The principal is not suspended.
    Principal(PrincipalId),
    /// The credential was not removed.
    Credential(CredentialId),
}

/// What a change did to a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    Cut,
    Restored,
}

/// One revision.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) revision: u64,
    /// What it turned; nothing for most changes of the set-up.
    pub(crate) turned: Vec<(Rule, Effect)>,
    /// Before the administrator asked for it. Nothing is known of when what the set-up did was asked for.
    pub(crate) asked: Option<Nanos>,
    /// When its receipt was complete, as the server says.
    pub(crate) acknowledged: Option<Nanos>,
    /// When the administrator had the receipt.
    pub(crate) held: Option<Nanos>,
}

/// A success.
#[derive(Debug, Clone, Default)]
pub(crate) struct Success {
    pub(crate) request: Option<RequestId>,
    /// The node that answered.
    pub(crate) node: usize,
    /// What had to be in force.
    pub(crate) rules: Vec<Rule>,
    /// What its client saw: before the first byte was sent, and after the answer was there.
    pub(crate) seen: Option<(Nanos, Nanos)>,
    /// What its server wrote: the revision under which it left, and when the last byte was in the kernel.
    pub(crate) left: Option<(u64, Nanos)>,
    /// A record of the same request says that it was withheld.
    pub(crate) withheld: bool,
    /// Its server was killed around that time, and may not have come to write.
    pub(crate) killed: bool,
}

/// What a success broke.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Broken {
    /// It was sent after the administrator held the receipt of a cut, and before the restoration was asked for.
    AfterTheCut { rule: Rule, revision: u64, held: Nanos },
    /// It was sent after the administrator held the receipt of a newer change than it left under.
    Stale { newest: u64, held: Nanos },
    /// It was in the kernel after the receipt of a newer change than it left under was complete.
    LeftLate { revision: u64, complete: Nanos },
    /// It left under a revision at which a rule it needs was cut.
    NotInForce { rule: Rule, since: u64 },
    /// The log says that it was withheld, and its client has it.
    Withheld,
    /// Its client has it, and its server did not write that it left.
    Untraced,
}

/// A success that broke something.
#[derive(Debug, Clone)]
pub(crate) struct Violation {
    pub(crate) success: Success,
    pub(crate) broken: Broken,
}

/// One turn of one rule.
#[derive(Debug, Clone, Copy)]
struct Turn {
    revision: u64,
    effect: Effect,
    asked: Option<Nanos>,
    held: Option<Nanos>,
}

/// Everything that is known of the changes.
#[derive(Debug)]
pub(crate) struct Judge {
    turns: HashMap<Rule, Vec<Turn>>,
    /// By revision: the earliest moment at which the receipt of this or a newer change was complete, and of which.
    complete: BTreeMap<u64, (Nanos, u64)>,
    /// By the moment at which the administrator held it: the newest revision of which a receipt was held.
    held: BTreeMap<Nanos, u64>,
}

impl Judge {
    pub(crate) fn new(mut changes: Vec<Change>) -> Self {
        changes.sort_by_key(|change| change.revision);
        let mut turns: HashMap<Rule, Vec<Turn>> = HashMap::new();
        for change in &changes {
            for (rule, effect) in &change.turned {
                let (effect, asked, held) = (*effect, change.asked, change.held);
                turns.entry(rule.clone()).or_default().push(Turn { revision: change.revision, effect, asked, held });
            }
        }
        let (mut complete, mut earliest) = (BTreeMap::new(), (Nanos::MAX, 0));
        for change in changes.iter().rev() {
            if let Some(at) = change.acknowledged.or(change.held) {
                earliest = earliest.min((at, change.revision));
            }
            complete.insert(change.revision, earliest);
        }
        let mut receipts: Vec<_> = changes.iter().filter_map(|c| Some((c.held?, c.revision))).collect();
        receipts.sort_unstable();
        let (mut held, mut newest) = (BTreeMap::new(), 0);
        for (at, revision) in receipts {
            newest = newest.max(revision);
            held.insert(at, newest);
        }
        Self { turns, complete, held }
    }

    /// What the success broke; what its own client can show comes first.
    pub(crate) fn broken(&self, success: &Success) -> Option<Broken> {
        self.after_a_cut(success).or_else(|| self.against_the_trace(success)).or_else(|| {
            let seen = success.seen.is_some();
            if seen && success.withheld {
                return Some(Broken::Withheld);
            }
            (seen && success.left.is_none() && !success.killed).then_some(Broken::Untraced)
        })
    }

    /// The clients' side, by what clients and administrators saw alone.
    fn after_a_cut(&self, success: &Success) -> Option<Broken> {
        let (sent, answered) = success.seen?;
        success.rules.iter().find_map(|rule| {
            let turns = self.turns.get(rule)?;
            let cut = turns
                .iter()
                .rposition(|turn| turn.effect == Effect::Cut && turn.held.is_some_and(|held| held <= sent))?;
            // Whoever asks for the restoration lets it happen at any moment from then on.
            let restored = turns[cut + 1..].iter().find(|turn| turn.effect == Effect::Restored);
            let excused = restored.is_some_and(|turn| turn.asked.is_none_or(|asked| asked <= answered));
            let Turn { revision, held, .. } = turns[cut];
            (!excused).then(|| Broken::AfterTheCut { rule: rule.clone(), revision, held: held.unwrap_or_default() })
        })
    }

    /// The servers' side, by what they wrote when the bytes left.
    fn against_the_trace(&self, success: &Success) -> Option<Broken> {
        let (revision, flushed) = success.left?;
        let in_force = |rule: &Rule| {
            let turns = self.turns.get(rule).map_or(&[][..], Vec::as_slice);
            let last = turns.iter().rev().find(|turn| turn.revision <= revision);
            match last {
                Some(turn) if turn.effect == Effect::Restored => None,
                Some(turn) => Some(turn.revision),
                None => Some(0),
            }
        };
        if success.withheld && success.seen.is_none() {
            return None;
        }
        let cut = success.rules.iter().find_map(|rule| Some((rule.clone(), in_force(rule)?)));
        if let Some((rule, since)) = cut {
            return Some(Broken::NotInForce { rule, since });
        }
        let (at, newer) = self.complete.range(revision + 1..).next().map_or((Nanos::MAX, 0), |(_, earliest)| *earliest);
        if flushed > at {
            return Some(Broken::LeftLate { revision: newer, complete: at });
        }
        let (sent, _) = success.seen?;
        let (held, newest) = self.held.range(..=sent).next_back()?;
        (*newest > revision).then_some(Broken::Stale { newest: *newest, held: *held })
    }
}

impl Broken {
    /// What this kind is called.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::AfterTheCut { .. } => "after the cut",
            Self::Stale { .. } => "stale",
            Self::LeftLate { .. } => "left late",
            Self::NotInForce { .. } => "not in force",
            Self::Withheld => "withheld",
            Self::Untraced => "untraced",
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { success, broken } = self;
        match success.request {
            Some(request) => write!(f, "request {request}")?,
            None => f.write_str("a request of which there is no record")?,
        }
        write!(f, ", node {}", success.node)?;
        if let Some((sent, answered)) = success.seen {
            write!(f, ", sent {}, answered {}", Seconds(sent), Seconds(answered))?;
        }
        if let Some((revision, flushed)) = success.left {
            write!(f, ", left under revision {revision} at {}", Seconds(flushed))?;
        }
        f.write_str(": ")?;
        match broken {
            Broken::AfterTheCut { rule, revision, held } => {
                write!(f, "{rule:?} was cut at revision {revision}, and the receipt held at {}", Seconds(*held))
            }
            Broken::Stale { newest, held } => {
                write!(f, "the receipt of revision {newest} was held at {}, before it was sent", Seconds(*held))
            }
            Broken::LeftLate { revision, complete } => {
                write!(f, "the receipt of revision {revision} was complete at {}", Seconds(*complete))
            }
            Broken::NotInForce { rule, since } => write!(f, "{rule:?} has been cut since revision {since}"),
            Broken::Withheld => f.write_str("the log says that it was withheld"),
            Broken::Untraced => f.write_str("its node did not write that it left"),
        }
    }
}

/// A moment as people read it.
struct Seconds(Nanos);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}", self.0 / 1_000_000_000, self.0 % 1_000_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule() -> Rule {
        Rule::Principal(PrincipalId::from_bytes([1; 16]))
    }

    fn change(revision: u64, effect: Effect, asked: Nanos, acknowledged: Nanos, held: Nanos) -> Change {
        Change {
            revision,
            turned: vec![(rule(), effect)],
            asked: Some(asked),
            acknowledged: Some(acknowledged),
            held: Some(held),
        }
    }

    /// In force from revision 1; cut by revision 2, asked for at 100, complete at 120, held at 130; restored by revision 3,
    /// asked for at 200, complete at 220, held at 230.
    fn judge() -> Judge {
        Judge::new(vec![
            change(3, Effect::Restored, 200, 220, 230),
            Change { asked: None, acknowledged: None, held: None, ..change(1, Effect::Restored, 0, 0, 0) },
            change(2, Effect::Cut, 100, 120, 130),
        ])
    }

    fn success(seen: (Nanos, Nanos), left: (u64, Nanos)) -> Success {
        Success { rules: vec![rule()], seen: Some(seen), left: Some(left), ..Success::default() }
    }

    fn broken(success: &Success) -> Option<Broken> {
        judge().broken(success)
    }

    #[test]
    fn what_holds_is_no_violation() {
        // Long before; under way at the cut, and in the kernel before the receipt was complete, however late it was read.
        assert_eq!(broken(&success((10, 20), (1, 15))), None);
        assert_eq!(broken(&success((90, 500), (1, 120))), None);
        assert_eq!(broken(&success((115, 500), (1, 120))), None);
        // Sent under the cut, answered after the restoration was asked for, under the newer rule.
        assert_eq!(broken(&success((150, 240), (3, 235))), None);
        assert_eq!(broken(&success((300, 310), (3, 305))), None);
    }

    #[test]
    fn a_success_between_receipt_and_restoration_is_one() {
        let after = Some(Broken::AfterTheCut { rule: rule(), revision: 2, held: 130 });
        assert_eq!(broken(&success((130, 140), (1, 119))), after, "sent at the moment of the receipt");
        assert_eq!(broken(&success((150, 199), (3, 190))), after, "whatever the servers say");
        assert_eq!(broken(&Success { left: None, killed: true, ..success((150, 160), (0, 0)) }), after);
        assert_eq!(broken(&success((150, 200), (3, 199))), None, "the restoration may have come first");
        // A cut that nobody has a receipt of promises its clients nothing.
        let mut cut = change(2, Effect::Cut, 100, 120, 0);
        (cut.held, cut.acknowledged) = (None, None);
        let judge = Judge::new(vec![change(1, Effect::Restored, 0, 1, 1), cut]);
        assert_eq!(judge.broken(&success((150, 160), (1, 155))), None);
    }

    #[test]
    fn a_cut_without_end_has_no_excuse() {
        let judge = Judge::new(vec![change(1, Effect::Restored, 0, 1, 1), change(2, Effect::Cut, 100, 120, 130)]);
        let late = judge.broken(&success((1_000, 2_000), (1, 110)));
        assert_eq!(late, Some(Broken::AfterTheCut { rule: rule(), revision: 2, held: 130 }));
    }

    #[test]
    fn the_newest_cut_of_a_rule_counts() {
        let mut changes = vec![change(1, Effect::Restored, 0, 1, 1), change(2, Effect::Cut, 100, 120, 130)];
        changes.extend([change(3, Effect::Restored, 200, 220, 230), change(4, Effect::Cut, 300, 320, 330)]);
        let judge = Judge::new(changes);
        let late = judge.broken(&success((340, 350), (3, 310)));
        assert_eq!(late, Some(Broken::AfterTheCut { rule: rule(), revision: 4, held: 330 }));
    }

    #[test]
    fn what_reaches_the_kernel_after_the_receipt_is_one() {
        let late = Some(Broken::LeftLate { revision: 2, complete: 120 });
        assert_eq!(broken(&success((110, 300), (1, 121))), late);
        // Also where nobody reads it, where the change is not about it, and where the restoration came in between.
        assert_eq!(broken(&Success { seen: None, ..success((0, 0), (1, 121)) }), late);
        assert_eq!(broken(&Success { rules: Vec::new(), ..success((110, 300), (1, 121)) }), late);
        assert_eq!(broken(&success((110, 300), (1, 400))), late);
        // Without the server's own time, that of the administrator counts.
        let unwritten = Change { acknowledged: None, ..change(2, Effect::Cut, 100, 0, 130) };
        let judge = Judge::new(vec![change(1, Effect::Restored, 0, 1, 1), unwritten]);
        assert_eq!(judge.broken(&success((110, 300), (1, 125))), None);
        assert!(matches!(judge.broken(&success((110, 300), (1, 131))), Some(Broken::LeftLate { complete: 130, .. })));
    }

    #[test]
    fn an_older_receipt_counts_for_all_that_are_older_still() {
        let mut newer = change(3, Effect::Restored, 200, 115, 230);
        newer.turned.clear();
        let judge =
            Judge::new(vec![change(1, Effect::Restored, 0, 1, 1), change(2, Effect::Cut, 100, 120, 130), newer]);
        let late = judge.broken(&success((90, 300), (1, 116)));
        assert_eq!(late, Some(Broken::LeftLate { revision: 3, complete: 115 }));
    }

    #[test]
    fn a_withheld_record_excuses_what_nobody_got() {
        let withheld = Success { seen: None, withheld: true, ..success((0, 0), (1, 121)) };
        assert_eq!(broken(&withheld), None);
        assert_eq!(
            broken(&Success { seen: Some((10, 20)), ..withheld.clone() }),
            Some(Broken::LeftLate { revision: 2, complete: 120 })
        );
        let got = Success { withheld: true, ..success((10, 20), (1, 15)) };
        assert_eq!(broken(&got), Some(Broken::Withheld));
    }

    #[test]
    fn a_success_under_a_revision_that_forbids_it_is_one() {
        let cut = Some(Broken::NotInForce { rule: rule(), since: 2 });
        assert_eq!(broken(&success((110, 300), (2, 125))), cut);
        let never = Rule::Team("nobody".to_owned());
        let unknown = Success { rules: vec![never.clone()], ..success((10, 20), (1, 15)) };
        assert_eq!(broken(&unknown), Some(Broken::NotInForce { rule: never, since: 0 }));
    }

    #[test]
    fn a_node_that_answers_from_the_past_is_one_whatever_was_cut() {
        let mut unrelated = change(4, Effect::Cut, 300, 320, 330);
        unrelated.turned.clear();
        // No receipt of it was complete by the server's account, which is what a stale node would say.
        unrelated.acknowledged = Some(Nanos::MAX);
        let judge = Judge::new(vec![change(3, Effect::Restored, 200, 220, 230), unrelated]);
        let stale = judge.broken(&success((331, 340), (3, 335)));
        assert_eq!(stale, Some(Broken::Stale { newest: 4, held: 330 }));
    }

    #[test]
    fn an_answer_of_which_its_server_knows_nothing_is_one() {
        let untraced = Success { left: None, ..success((10, 20), (0, 0)) };
        assert_eq!(broken(&untraced), Some(Broken::Untraced));
        assert_eq!(broken(&Success { killed: true, ..untraced.clone() }), None);
        assert_eq!(broken(&Success { seen: None, ..untraced }), None);
    }
}
