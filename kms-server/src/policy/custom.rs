//! Custom policies, read: parsed, validated strictly against the schema, and held to what a custom policy may say. A
//! permit gives data actions to those it names; a forbid leaves alone what undoes it. What is wrong is said with its
//! place in the text.

use std::fmt;

use cedar_policy::{
    ActionConstraint, Effect, Policy, PolicyId, PolicySet, PrincipalConstraint, Schema, ValidationMode, Validator,
};
use kms_client::id::{KeyId, PrincipalId};
use miette::Diagnostic;

use super::cut::Cut;
use crate::model::{Action, ControlState, Error, PolicyName, Refusal};

/// The group of all actions that use one key.
pub(super) const DATA: &str = "data";

/// What is wrong with a text, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1, in characters.
    pub column: usize,
    /// What is wrong.
    pub message: String,
}

/// A statement of a custom policy, as a summary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Its id in records.
    pub id: String,
    /// Whether it permits; otherwise it forbids.
    pub permits: bool,
    /// The actions it is about.
    pub actions: Vec<Action>,
    /// What it looks at in a request.
    pub looks_at: Vec<&'static str>,
}

/// Whom a permit names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Grantee {
    Principal(String),
    Team(String),
    Kind(String),
}

/// A text that may be put in force.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) cuts: Vec<Cut>,
    /// The principals and keys that it names by id.
    principals: Vec<(String, usize)>,
    keys: Vec<(String, usize)>,
    starts: Vec<usize>,
}

impl Compiled {
    /// Reads a text.
    pub(super) fn read(schema: &Schema, name: &PolicyName, text: &str) -> Result<Self, Vec<Fault>> {
        let set: PolicySet = text.parse().map_err(|errors: cedar_policy::ParseErrors| {
            errors.iter().map(|error| located(text, error, 0)).collect::<Vec<_>>()
        })?;
        let starts = starts(text);
        let place = |index: usize| starts.get(index).copied().unwrap_or(0);
        let mut faults: Vec<Fault> = set
            .templates()
            .map(|template| fault(text, place(position(template.id())), "a template has slots that nothing fills in"))
            .collect();
        let mut statements: Vec<(usize, &Policy)> = set.policies().map(|each| (position(each.id()), each)).collect();
        statements.sort_by_key(|(index, _)| *index);
        if statements.is_empty() && faults.is_empty() {
            faults.push(fault(text, 0, "there is no statement in it"));
        }
        let alone = statements.len() == 1;
        let mut cuts = Vec::with_capacity(statements.len());
        let (mut principals, mut keys) = (Vec::new(), Vec::new());
        for (index, policy) in &statements {
            let id = if alone { format!("custom.{name}") } else { format!("custom.{name}.{}", index + 1) };
            if let Err(message) = check(policy) {
                faults.push(fault(text, place(*index), message));
                continue;
            }
            let policy = policy.new_id(PolicyId::new(id));
            match Cut::new(&policy).map(|cut| cut.with_grantee(grantee(&policy)).widened()) {
                Ok(cut) => {
                    principals.extend(cut.named("Principal").into_iter().map(|id| (id, *index)));
                    keys.extend(cut.named("Key").into_iter().map(|id| (id, *index)));
                    cuts.push(cut);
                }
                Err(error) => faults.push(fault(text, place(*index), error.to_string())),
            }
        }
        let result = Validator::new(schema.clone()).validate(&set, ValidationMode::Strict);
        let index_of = |id: &PolicyId| place(position(id));
        faults.extend(result.validation_errors().map(|error| located(text, error, index_of(error.policy_id()))));
        faults.extend(result.validation_warnings().map(|error| located(text, error, index_of(error.policy_id()))));
        if faults.is_empty() {
            return Ok(Self { cuts, principals, keys, starts });
        }
        faults.sort_by_key(|fault| (fault.line, fault.column));
        faults.dedup();
        Err(faults)
    }

    /// Who and what it names must be there: a name that means nobody would forbid nothing.
    pub(super) fn check_names(&self, text: &str, state: &ControlState) -> Result<(), Vec<Fault>> {
        let at = |index: &usize| self.starts.get(*index).copied().unwrap_or(0);
        let principals = self
            .principals
            .iter()
            .filter(|(id, _)| !id.parse::<PrincipalId>().is_ok_and(|principal| state.principal(principal).is_some()));
        let keys = self.keys.iter().filter(|(id, _)| !id.parse::<KeyId>().is_ok_and(|key| state.key(key).is_some()));
        let mut faults: Vec<Fault> = principals
            .map(|(id, index)| {
                fault(text, at(index), format!("no principal has the id `{id}`; a policy names principals by id"))
            })
            .collect();
        faults.extend(
            keys.map(|(id, index)| {
                fault(text, at(index), format!("no key has the id `{id}`; a policy names keys by id"))
            }),
        );
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }

    /// What its statements are about.
    pub(super) fn statements(&self) -> Vec<Statement> {
        self.cuts.iter().map(Cut::summary).collect()
    }
}

/// The refusal that says what is wrong with a text.
pub(super) fn refusal(faults: &[Fault]) -> Error {
    let more = match faults.len() {
        0 | 1 => String::new(),
        count => format!(" (and {} more)", count - 1),
    };
    let first = faults.first().map(ToString::to_string).unwrap_or_default();
    Error::Invalid { code: Refusal::InvalidPolicy, detail: format!("{first}{more}") }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: {}", self.line, self.column, self.message)
    }
}

/// Whom a permit names in its scope.
fn grantee(policy: &Policy) -> Option<Grantee> {
    let (PrincipalConstraint::Eq(uid) | PrincipalConstraint::In(uid) | PrincipalConstraint::IsIn(_, uid)) =
        policy.principal_constraint()
    else {
        return None;
    };
    let id = uid.id().unescaped().to_owned();
    match uid.type_name().to_string().as_str() {
        "Principal" => Some(Grantee::Principal(id)),
        "Team" => Some(Grantee::Team(id)),
        "Kind" => Some(Grantee::Kind(id)),
        _ => None,
    }
}

/// The rules that Cedar does not know.
fn check(policy: &Policy) -> Result<(), String> {
    let Some(actions) = actions(&policy.action_constraint()) else {
        return Err("name the actions, as in `action in [Action::\"unwrap\"]`, or `action in Action::\"data\"`".into());
    };
    match policy.effect() {
        Effect::Permit => {
            if let Some(action) = actions.iter().find(|action| !action.is_data()) {
                return Err(format!(
                    "a custom policy permits data actions only, and `{}` is none; bind a role for it",
                    action.code()
                ));
            }
            match grantee(policy) {
                None => Err("a permit names whom it is for: `principal == Principal::\"ID\"`, `principal in \
                             Team::\"NAME\"` or `principal in Kind::\"service\"`"
                    .into()),
                Some(Grantee::Kind(kind)) if kind == "contractor" => {
                    Err("contractors get rights by bindings alone, which end on a day".into())
                }
                Some(_) => Ok(()),
            }
        }
        Effect::Forbid => match actions.iter().find(|action| action.is_always_open() || action.is_internal()) {
            Some(action) if action.is_internal() => {
                Err(format!("no caller ever does `{}`, so no policy is asked", action.code()))
            }
            Some(action) => Err(format!(
                "`{}` cannot be forbidden: by it access is cut, a policy is taken back, or one looks at oneself",
                action.code()
            )),
            None => Ok(()),
        },
    }
}

/// The actions of a constraint, groups spelt out; `None` if it names none. What the schema does not know is left to it.
pub(super) fn actions(constraint: &ActionConstraint) -> Option<Vec<Action>> {
    let uids = match constraint {
        ActionConstraint::Any => return None,
        ActionConstraint::Eq(uid) => std::slice::from_ref(uid),
        ActionConstraint::In(uids) => uids.as_slice(),
    };
    let mut actions = Vec::new();
    for uid in uids {
        match uid.id().unescaped() {
            // Only `in` reaches the members of a group; `action == Action::"data"` is nothing that happens.
            DATA => actions.extend(Action::ALL.iter().copied().filter(|action| action.uses_key())),
            code => actions.extend(Action::from_code(code)),
        }
    }
    actions.sort();
    actions.dedup();
    Some(actions)
}

/// The number that Cedar gave a statement by its place in the text.
fn position(id: &PolicyId) -> usize {
    let id: &str = id.as_ref();
    id.trim_start_matches("policy").parse().unwrap_or(0)
}

fn located(text: &str, error: &(impl Diagnostic + ?Sized), otherwise: usize) -> Fault {
    let offset = error.labels().and_then(|mut labels| labels.next()).map_or(otherwise, |label| label.offset());
    let mut message = error.to_string();
    if let Some(help) = error.help() {
        message = format!("{message}; {help}");
    }
    // Cedar names statements by their place, which the line and column say already.
    let named = message.split_once("`, ").filter(|(start, _)| start.starts_with("for policy `policy"));
    fault(text, offset, named.map_or(message.as_str(), |(_, rest)| rest))
}

fn fault(text: &str, offset: usize, message: impl Into<String>) -> Fault {
    let mut end = offset.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let before = text.get(..end).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |rest| rest.chars().count()) + 1;
    Fault { line, column, message: message.into() }
}

/// Where each statement begins. Cedar tells the places of what it complains of, not of whole statements.
fn starts(text: &str) -> Vec<usize> {
    let bytes = text.as_bytes();
    let (mut starts, mut begun, mut at) = (Vec::new(), false, 0);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'/' if bytes.get(at + 1) == Some(&b'/') => {
                at += bytes.iter().skip(at).position(|byte| *byte == b'\n').unwrap_or(bytes.len() - at);
                continue;
            }
            b';' => begun = false,
            byte if byte.is_ascii_whitespace() => {}
            _ if !begun => {
                starts.push(at);
                begun = true;
                continue;
            }
            b'"' => {
                at += 1;
                while bytes.get(at).is_some_and(|byte| *byte != b'"') {
                    at += if bytes.get(at) == Some(&b'\\') { 2 } else { 1 };
                }
            }
            _ => {}
        }
        at += 1;
    }
    starts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_begin_where_they_begin() {
        let text = "// a; b\npermit (principal == P::\"a;\\\"b\", action, resource);\n  @x(\"y\") forbid(\"é\");";
        let second = text.find("@x").unwrap();
        assert_eq!(starts(text), [8, second]);
        let fault = fault(text, second, "x");
        assert_eq!((fault.line, fault.column), (3, 3));
    }
}
