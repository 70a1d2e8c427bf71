//! What the database says at the end: every revision and what it turned, and every record of what was unwrapped. It is the
//! truth also of changes whose answers were lost.

use std::collections::{BTreeMap, HashMap, HashSet};

use futures_util::TryStreamExt as _;
use kms_client::{
    format::record::{Outcome, Record},
    id::{ChangeId, CredentialId, KeyId, KeyVersion, PrincipalId, RecordId, RequestId},
};
use kms_server::model::{
    Action, Binding, CredentialMatch, CustomRole, GrantedRole, KeyState, Role, Row, Scope, VersionState,
};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    judge::{Effect, Rule},
    world::policy_name,
};

/// One revision.
#[derive(Debug)]
pub(crate) struct Revision {
    pub(crate) id: ChangeId,
    pub(crate) number: u64,
    pub(crate) turned: Vec<(Rule, Effect)>,
}

/// One data key that a request unwrapped.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unwrap {
    pub(crate) record: RecordId,
    pub(crate) principal: PrincipalId,
    pub(crate) credential: CredentialId,
    pub(crate) key: KeyId,
    pub(crate) version: KeyVersion,
    pub(crate) withheld: bool,
}

/// Every revision, with what it cut and restored.
pub(crate) async fn revisions(database: &mut PgConnection) -> Vec<Revision> {
    const SQL: &str = "SELECT revision, change_id, rows FROM control_changes ORDER BY revision";
    let changes: Vec<(i64, Uuid, String)> = sqlx::query_as(SQL).fetch_all(database).await.unwrap();
    let mut replay = Replay::default();
    let turned = changes.into_iter().map(|(number, id, rows)| {
        let rows: Vec<Row> = serde_json::from_str(&rows).unwrap();
        let (number, id) = (u64::try_from(number).unwrap(), ChangeId::from_bytes(id.into_bytes()));
        Revision { id, number, turned: replay.apply(&rows) }
    });
    turned.collect()
}

/// Every request that was allowed to unwrap, and what.
pub(crate) async fn unwraps(database: &mut PgConnection) -> HashMap<RequestId, Vec<Unwrap>> {
    const SQL: &str = "SELECT leaf FROM audit_records WHERE action = 'unwrap' AND outcome IN ('allowed', 'withheld')";
    let mut found: HashMap<RequestId, Vec<Unwrap>> = HashMap::new();
    let mut withheld = HashSet::new();
    let mut rows = sqlx::query_as::<_, (Vec<u8>,)>(SQL).fetch(database);
    while let Some((leaf,)) = rows.try_next().await.unwrap() {
        let record = Record::decode(&leaf).unwrap();
        if record.outcome == Outcome::Withheld {
            withheld.insert(record.request);
            continue;
        }
        let unwrap = Unwrap {
            record: record.id(),
            principal: record.principal.unwrap(),
            credential: record.credential.unwrap(),
            key: record.key.unwrap(),
            version: record.key_version.unwrap(),
            withheld: false,
        };
        found.entry(record.request).or_default().push(unwrap);
    }
    // All that a request here unwraps is of one key and version, so what holds for one item holds for all.
    for request in withheld {
        found.entry(request).or_default().iter_mut().for_each(|unwrap| unwrap.withheld = true);
    }
    found
}

/// Control state as far as unwrapping depends on it, and what is in force of it.
#[derive(Debug, Default)]
struct Replay {
    bindings: HashMap<(PrincipalId, KeyId), BTreeMap<Uuid, Binding>>,
    roles: HashMap<String, CustomRole>,
    teams: HashSet<String>,
    forbidden: HashSet<String>,
    in_force: HashMap<Rule, bool>,
}

impl Replay {
    fn apply(&mut self, rows: &[Row]) -> Vec<(Rule, Effect)> {
        let mut now = Vec::new();
        for row in rows {
            match row {
                Row::Key(key) => {
                    now.push((Rule::Key(key.id), key.state == KeyState::Enabled));
                    let versions = key.versions.iter();
                    now.extend(versions.map(|version| {
                        (Rule::Version(key.id, version.version), version.state == VersionState::Enabled)
                    }));
                }
                Row::Principal(principal) => {
                    now.push((Rule::Principal(principal.id), principal.is_active()));
                    let credentials = principal.credentials.iter();
                    let certificates =
                        credentials.filter(|it| matches!(it.matches, CredentialMatch::CertificateSan { .. }));
                    now.extend(certificates.map(|it| (Rule::Credential(it.id), it.removed_at.is_none())));
                    if let Some(team) = &principal.team {
                        self.teams.insert(team.to_string());
                        now.push((Rule::Team(team.to_string()), !self.forbidden.contains(&team.to_string())));
                    }
                }
                Row::Binding(binding) => {
                    let Scope::Key(key) = binding.scope else { continue };
                    let place = (binding.principal, key);
                    self.bindings.entry(place).or_default().insert(binding.id.uuid(), Binding::clone(binding));
                    now.push((Rule::Grant(binding.principal, key), self.is_granted(place)));
                }
                Row::Role(role) => {
                    self.roles.insert(role.name.to_string(), CustomRole::clone(role));
                    let places = self.bindings.keys().copied();
                    now.extend(places.map(|place| (Rule::Grant(place.0, place.1), self.is_granted(place))));
                }
                Row::Policy(policy) => {
                    let team = self.teams.iter().find(|team| policy_name(team) == policy.name.as_str()).cloned();
                    let team = team.unwrap_or_else(|| panic!("a policy of nobody here: {policy:?}"));
                    now.push((Rule::Team(team.clone()), !policy.is_active()));
                    if policy.is_active() {
                        self.forbidden.insert(team)
                    } else {
                        self.forbidden.remove(&team)
                    };
                }
                Row::Installation(_) | Row::Issuer(_) | Row::ClientCa(_) => {}
            }
        }
        now.into_iter().filter_map(|(rule, in_force)| self.turn(rule, in_force)).collect()
    }

    /// What this is to a rule: nothing, if it was so before.
    fn turn(&mut self, rule: Rule, in_force: bool) -> Option<(Rule, Effect)> {
        let before = self.in_force.insert(rule.clone(), in_force);
        let effect = if in_force { Effect::Restored } else { Effect::Cut };
        (before != Some(in_force)).then_some((rule, effect))
    }

    fn is_granted(&self, place: (PrincipalId, KeyId)) -> bool {
        let mut live = self.bindings[&place].values().filter(|binding| binding.ended_at.is_none());
        live.any(|binding| match &binding.role {
            GrantedRole::BuiltIn(role) => *role == Role::Unwrapper,
            GrantedRole::Custom(name) => {
                let role = self.roles.get(name.as_str());
                role.is_some_and(|role| role.is_active() && role.actions.contains(&Action::Unwrap))
            }
        })
    }
}
