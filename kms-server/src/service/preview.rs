//! What a change would do, seen before it is made: by the same function that applies it, on a copy of the state. The work
//! is bounded, and an answer that left something out says so.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};
use kms_client::{
    format::{
        context::EncryptionContext,
        record::{ContextDigest, Outcome as Recorded, Record},
    },
    id::{KeyId, PrincipalId},
};
use serde_json::json;

use super::{Call, Outcome, Service, control::checked, is_done_with_a_key, line::Line};
use crate::{
    authn::Assurance,
    cluster::Snapshot,
    gate::Facts,
    model::{
        Action, ControlState, CredentialMatch, DataClass, Environment, Error, GrantedRole, Operation, Principal,
        Region, Revision, Row, Target,
    },
    policy::{self, Explanation, Finding, Hypothesis, Policies},
    store::AuditFilter,
};

/// How many decisions one preview takes.
const MOST_DECISIONS: usize = 30_000;
/// How many effects it lists.
const MOST_EFFECTS: usize = 1_000;
/// How many records it judges anew.
const MOST_RECORDS: usize = 20_000;
/// How many kinds of past operations it lists.
const MOST_KINDS: usize = 100;
/// How many records are read at a time.
const PAGE: u32 = 1_000;
/// How far back it looks.
pub const MOST_DAYS: u32 = 90;

/// What a change would do.
#[derive(Debug, Clone)]
pub struct Preview {
    /// What would be gained or lost; the first of them.
    pub effects: Vec<Effect>,
    /// How many.
    pub total: u64,
    /// Whether something was left out.
    pub truncated: bool,
    /// What would have become of past operations.
    pub past: Past,
    /// The revision by which it was judged.
    pub revision: Revision,
}

/// One thing that one principal would gain or lose.
#[derive(Debug, Clone)]
pub struct Effect {
    /// Who.
    pub principal: Arc<Principal>,
    /// What.
    pub action: Action,
    /// With which key.
    pub key: Option<KeyId>,
    /// For a key of which class.
    pub data_class: Option<DataClass>,
    /// How it is; `None`: under no circumstances.
    pub before: Option<Finding>,
    /// How it would be.
    pub after: Option<Finding>,
}

/// Past operations, judged anew.
#[derive(Debug, Clone, Default)]
pub struct Past {
    /// How many were looked at.
    pub examined: u64,
    /// How many would have been refused.
    pub refused: u64,
    /// How many depend on what is not known.
    pub undetermined: u64,
    /// Whether there were more.
    pub truncated: bool,
    /// Those refused, by principal, action and key: how many, and the newest.
    pub by: BTreeMap<(PrincipalId, Action, KeyId), (u64, Timestamp)>,
}

/// One state with what policy makes of it.
struct Side {
    state: ControlState,
    policies: Policies,
}

/// Now and afterwards.
struct Sides {
    before: Side,
    after: Side,
    rows: Vec<Row>,
    /// Whether what policies say is changed, and not only whom they are about.
    rules_change: bool,
    now: Timestamp,
    region: Region,
    /// What records say of an empty context.
    no_context: ContextDigest,
}

impl Service {
    /// What this change would do, and which operations of the last days it would have refused.
    ///
    /// # Errors
    ///
    /// `not_permitted`; why the change could not be made; `store_unavailable`.
    pub async fn preview(&self, call: &Call, operation: Operation, days: u32) -> Outcome<Preview> {
        let detail = json!({ "change": operation.action().code(), "days": days }).to_string();
        let facts = Facts { detail: Some(detail), ..Facts::default() };
        let allowed = self.may(call, Action::PreviewChange);
        let found = if allowed { self.foresee(operation, days).await } else { Err(Error::Denied) };
        self.read_with(call, Action::PreviewChange, Target::Installation, facts, |_: &Line<'_>| found).await
    }

    async fn foresee(&self, operation: Operation, days: u32) -> Result<Preview, Error> {
        if days > MOST_DAYS {
            return Err(Error::invalid(format!("`days` is 0 to {MOST_DAYS}")));
        }
        let (snapshot, now) = (self.inner.cluster.snapshot(), self.inner.cluster.now());
        let change = self.new_change(operation, None);
        let rows = change.apply(&snapshot.state, snapshot.revision.next(), now)?;
        let rows = checked(&snapshot, &change, rows)?;
        let (records, more) = self.past_operations(now, days).await?;
        let no_context = self.gate().context_key().digest(&EncryptionContext::empty());
        let (region, revision) = (self.inner.region.clone(), snapshot.revision);
        // Thousands of decisions: not on a thread that others' answers wait for.
        tokio::task::spawn_blocking(move || {
            let sides = Sides::new(&snapshot, rows, now, region, no_context)?;
            let (effects, total, truncated) = sides.effects();
            let past = Past { truncated: more, ..sides.past(&records) };
            Ok(Preview { effects, total, truncated, past, revision })
        })
        .await
        .map_err(Error::internal)?
    }

    /// Allowed operations of the last days, newest first, and whether there were more than are looked at.
    async fn past_operations(&self, now: Timestamp, days: u32) -> Result<(Vec<Record>, bool), Error> {
        let mut records = Vec::new();
        if days == 0 {
            return Ok((records, false));
        }
        let from = now.checked_sub(SignedDuration::from_hours(24 * i64::from(days))).unwrap_or(Timestamp::MIN);
        let filter = AuditFilter { outcome: Some(Recorded::Allowed), from: Some(from), ..AuditFilter::default() };
        let (mut after, mut read) = (None, 0);
        loop {
            // A transaction a page: a long one would hold up what the database has to tidy away.
            let mut tx = self.inner.store.read().await?;
            let (page, next) = tx.search(&filter, PAGE, after).await?;
            read += page.len();
            records.extend(page.into_iter().filter(|record| {
                Action::from_code(&record.action).is_some_and(Action::uses_key) && record.key.is_some()
            }));
            match next {
                None => return Ok((records, false)),
                Some(_) if read >= MOST_RECORDS => return Ok((records, true)),
                next => after = next,
            }
        }
    }
}

impl Sides {
    fn new(
        snapshot: &Snapshot<Policies>,
        rows: Vec<Row>,
        now: Timestamp,
        region: Region,
        no_context: ContextDigest,
    ) -> Result<Self, Error> {
        let mut state = snapshot.state.clone();
        for row in &rows {
            state.put(row.clone());
        }
        // Prepared anew on both sides: a preview leaves nothing behind in what serves.
        let before = Side { policies: snapshot.derived.derive(&snapshot.state)?, state: snapshot.state.clone() };
        let after = Side { policies: snapshot.derived.derive(&state)?, state };
        let rules_change = rows.iter().any(|row| matches!(row, Row::Policy(_)));
        Ok(Self { before, after, rows, rules_change, now, region, no_context })
    }

    /// The first effects, how many there are, and whether not everything was looked at.
    fn effects(&self) -> (Vec<Effect>, u64, bool) {
        let questions: Vec<_> = self.questions().take(MOST_DECISIONS + 1).collect();
        let (mut effects, mut total, mut left) = (Vec::new(), 0, MOST_DECISIONS);
        for principal in self.principals() {
            for (action, target) in &questions {
                if left == 0 {
                    return (effects, total, true);
                }
                left -= 1;
                let finding = |side: &Side| side.finding(self.now, principal.id, *action, target);
                let (before, after) = (finding(&self.before), finding(&self.after));
                if before == after {
                    continue;
                }
                total += 1;
                if effects.len() < MOST_EFFECTS {
                    let data_class = match target {
                        Target::NewKey { data_class, .. } => Some(data_class.clone()),
                        _ => None,
                    };
                    let principal = Arc::clone(&principal);
                    effects.push(Effect { principal, action: *action, key: target.key(), data_class, before, after });
                }
            }
        }
        (effects, total, false)
    }

    /// Whose standing the change can touch: other accounts of a person count, since one bars another.
    fn principals(&self) -> Vec<Arc<Principal>> {
        let state = &self.after.state;
        let mut touched = BTreeSet::new();
        for row in &self.rows {
            match row {
                Row::Principal(principal) => touched.extend(state.same_person(principal)),
                Row::Binding(binding) => {
                    touched.extend(state.principal(binding.principal).iter().flat_map(|of| state.same_person(of)));
                }
                Row::Role(role) => {
                    let granted = GrantedRole::Custom(role.name.clone());
                    let holders = state.bindings_after(None).filter(|binding| binding.role == granted);
                    let holders = holders.filter_map(|binding| state.principal(binding.principal));
                    touched.extend(holders.flat_map(|holder| state.same_person(holder)));
                }
                Row::Installation(_) | Row::Key(_) | Row::Issuer(_) | Row::ClientCa(_) | Row::Policy(_) => {
                    return state.principals_after(None).cloned().collect();
                }
            }
        }
        touched.into_iter().filter_map(|id| state.principal(id).cloned()).collect()
    }

    /// What is asked about each: every action, on every key, class or the installation.
    fn questions(&self) -> impl Iterator<Item = (Action, Target)> {
        let state = &self.after.state;
        let only = self.rows.iter().find_map(|row| if let Row::Key(key) = row { Some(key.id) } else { None });
        let keys = move || state.keys_after(None).map(|key| key.id).filter(move |key| only.is_none_or(|of| of == *key));
        let classes: BTreeSet<_> = state.keys_after(None).map(|key| key.data_class.clone()).collect();
        let asked = move |action: &Action| {
            let action = *action;
            let targets: Vec<Target> = if is_done_with_a_key(action) {
                keys().map(Target::Key).collect()
            } else if only.is_some() {
                Vec::new()
            } else if action == Action::CreateKey {
                let new = |data_class: &DataClass| Target::NewKey {
                    data_class: data_class.clone(),
                    region: self.region.clone(),
                    environment: Environment::Production,
                };
                classes.iter().map(new).collect()
            } else {
                vec![Target::Installation]
            };
            targets.into_iter().map(move |target| (action, target))
        };
        Action::ALL.iter().filter(|action| !action.is_internal()).flat_map(asked)
    }

    fn past(&self, records: &[Record]) -> Past {
        let mut past = Past::default();
        for record in records {
            let (Some(principal), Some(action), Some(key)) =
                (record.principal, Action::from_code(&record.action), record.key)
            else {
                continue;
            };
            past.examined += 1;
            let at = Timestamp::from_microsecond(record.time_micros).unwrap_or(self.now);
            let [before, after] =
                [&self.before, &self.after].map(|side| side.again(record, principal, action, key, at, self.no_context));
            match (before.finding, after.finding) {
                // What would be refused today already is not this change's doing.
                (Finding::Denied(_), _) | (_, Finding::Allowed) => {}
                (_, Finding::Denied(_)) => {
                    past.refused += 1;
                    let kinds = past.by.len();
                    let place = (principal, action, key);
                    if kinds < MOST_KINDS || past.by.contains_key(&place) {
                        let (count, last) = past.by.entry(place).or_insert((0, at));
                        *count += 1;
                        *last = (*last).max(at);
                    }
                }
                (Finding::Conditional(before_on), Finding::Conditional(on))
                    if !self.rules_change && before_on == on && before.policies == after.policies => {}
                (_, Finding::Conditional(_)) => past.undetermined += 1,
            }
        }
        past
    }
}

impl Side {
    /// What the principal may do, whatever the circumstances are; `None`: nothing, ever.
    fn finding(&self, now: Timestamp, principal: PrincipalId, action: Action, target: &Target) -> Option<Finding> {
        let principal = self.state.principal(principal).filter(|principal| self.state.can_authenticate(principal))?;
        if let Target::Key(key) = target
            && action.uses_key()
            && self.state.key(*key).is_none_or(|key| key.state.usable().is_err())
        {
            return None;
        }
        Some(policy::access(&self.state, &self.policies, principal, action, target, now)?.finding)
    }

    /// A recorded operation, judged by this side's rules. What a record does not hold is not known.
    fn again(
        &self,
        record: &Record,
        principal: PrincipalId,
        action: Action,
        key: KeyId,
        at: Timestamp,
        no_context: ContextDigest,
    ) -> Explanation {
        let denied =
            |reason| Explanation { finding: Finding::Denied(reason), policies: Vec::new(), bindings: Vec::new() };
        let Some(principal) = self.state.principal(principal) else { return denied("no_such_target") };
        let used = record.credential.and_then(|id| principal.credential(id));
        let Some(used) = used else { return denied("caller_no_longer_stands") };
        if let Some(Err(error)) = self.state.key(key).map(|key| key.state.usable()) {
            return denied(error.code());
        }
        // Of how a certificate's holder was authenticated there is nothing to know; of a token's it was not recorded.
        let nothing = Assurance::default();
        let by_certificate = !matches!(used.matches, CredentialMatch::JwtSubject { .. });
        let empty = EncryptionContext::empty();
        let hypothesis = Hypothesis {
            now: at,
            moment_known: true,
            source: record.source,
            assurance: by_certificate.then_some(&nothing),
            context: record.context_digest.is_none_or(|digest| digest == no_context).then_some(&empty),
        };
        policy::explain(&self.state, &self.policies, principal, action, &Target::Key(key), &hypothesis)
    }
}
