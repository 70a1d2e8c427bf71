//! Names and short texts between wire and model, and what they stand for.
//!
//! Both sides check the form. What comes in and is refused by the model is the caller's mistake; what goes out and is
//! refused by the wire is ours.

use std::{fmt::Display, str::FromStr};

use kms_client::{
    id::{KeyId, PrincipalId},
    wire::{
        name::{KeyName, Owner, PrincipalRef},
        receipt::{NodeOutcome, NodeReceipt, Receipt, Revision},
    },
};

use crate::{
    cluster,
    model::{self, ControlState, Error, InvalidName},
    service::KeyRef,
};

/// No principal has this id: what is unknown goes the same way as what is refused.
const NO_PRINCIPAL: PrincipalId = PrincipalId::from_bytes([0; 16]);

/// A text that came in.
pub(super) fn incoming<T: FromStr<Err = InvalidName>>(text: &impl AsRef<str>) -> Result<T, Error> {
    Ok(text.as_ref().parse()?)
}

/// A text that came in, where one did.
pub(super) fn incoming_option<T: FromStr<Err = InvalidName>>(
    text: Option<&impl AsRef<str>>,
) -> Result<Option<T>, Error> {
    text.map(incoming).transpose()
}

/// A text that goes out.
pub(super) fn outgoing<T>(text: &str) -> Result<T, Error>
where
    T: FromStr<Err: Into<Box<dyn std::error::Error + Send + Sync>>>,
{
    text.parse().map_err(Error::internal)
}

/// A text that goes out, where there is one.
pub(super) fn outgoing_option<T>(text: Option<impl Display>) -> Result<Option<T>, Error>
where
    T: FromStr<Err: Into<Box<dyn std::error::Error + Send + Sync>>>,
{
    text.map(|text| outgoing(&text.to_string())).transpose()
}

/// The key that is meant.
pub(super) fn key_ref(name: &KeyName) -> Result<KeyRef, Error> {
    match name {
        KeyName::Id(id) => Ok(KeyRef::Id(*id)),
        KeyName::Alias(alias) => Ok(KeyRef::Alias(incoming(alias)?)),
    }
}

/// The id of the key that is meant.
pub(super) fn key_id(name: &KeyName, state: &ControlState) -> Result<KeyId, Error> {
    Ok(key_ref(name)?.resolve(state))
}

/// The id of the principal that is meant.
pub(super) fn principal_id(principal: &PrincipalRef, state: &ControlState) -> PrincipalId {
    match principal {
        PrincipalRef::Id(id) => *id,
        PrincipalRef::Name(name) => name
            .as_str()
            .parse()
            .ok()
            .and_then(|name| state.principal_by_name(&name))
            .map_or(NO_PRINCIPAL, |principal| principal.id),
    }
}

/// An owner that came in.
pub(super) fn owner_in(owner: &Owner) -> Result<model::Owner, Error> {
    match owner {
        Owner::Principal(id) => Ok(model::Owner::Principal(*id)),
        Owner::Team(team) => Ok(model::Owner::Team(incoming(team)?)),
    }
}

/// An owner that goes out.
pub(super) fn owner_out(owner: &model::Owner) -> Result<Owner, Error> {
    match owner {
        model::Owner::Principal(id) => Ok(Owner::Principal(*id)),
        model::Owner::Team(team) => Ok(Owner::Team(outgoing(team.as_str())?)),
    }
}

/// A revision that goes out.
pub(super) const fn revision(revision: model::Revision) -> Revision {
    Revision::new(revision.0)
}

/// The proof that a change is in force.
pub(super) fn receipt(receipt: cluster::Receipt) -> Receipt {
    let nodes = receipt.nodes.into_iter().map(|node| NodeReceipt {
        node: node.node,
        outcome: if node.acknowledged { NodeOutcome::Acknowledged } else { NodeOutcome::Expired },
        milliseconds: whole_milliseconds(node.milliseconds),
    });
    Receipt {
        change_id: receipt.change_id,
        revision: revision(receipt.revision),
        committed_at: receipt.committed_at,
        nodes: nodes.collect(),
    }
}

/// Rounded up: a receipt never claims to be faster than it was.
fn whole_milliseconds(milliseconds: f64) -> u64 {
    let duration = std::time::Duration::try_from_secs_f64((milliseconds / 1000.0).max(0.0)).unwrap_or_default();
    u64::try_from(duration.as_micros().div_ceil(1000)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use kms_client::wire::name::{PrincipalName, Reason};

    use super::*;

    #[test]
    fn names_are_refused_by_whoever_is_stricter() {
        assert_eq!(incoming::<model::Alias>(&"two words").unwrap_err().code(), "invalid_request");
        let reason: Reason = "lost laptop".parse().unwrap();
        assert_eq!(incoming::<model::Reason>(&reason).unwrap().as_str(), "lost laptop");
        assert_eq!(outgoing::<PrincipalName>("no name").unwrap_err().code(), "internal");
    }

    #[test]
    fn what_is_unknown_stands_for_an_id_that_nobody_has() {
        let state = ControlState::default();
        assert_eq!(principal_id(&"ada".parse().unwrap(), &state), NO_PRINCIPAL);
        assert_eq!(key_id(&"alias/records".parse().unwrap(), &state).unwrap(), KeyId::from_bytes([0; 16]));
    }

    #[test]
    fn milliseconds_are_rounded_up() {
        assert_eq!([0.0, 0.2, 1.0, 3.001, -1.0, f64::NAN].map(whole_milliseconds), [0, 1, 1, 4, 0, 0]);
    }
}
