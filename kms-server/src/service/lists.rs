//! Reading control state: one object, or pages of many, ordered by id. A list holds what its caller may describe.

use std::sync::Arc;

use kms_client::{
    format::record::Outcome as Recorded,
    id::{BindingId, ChangeId, KeyId, PrincipalId},
};
use serde::Deserialize;

use super::{Call, KeyRef, Outcome, SeenNode, Service};
use crate::{
    audit::Draft,
    model::{
        Action, Alias, Binding, ClientCa, DataClass, Environment, Error, GrantedRole, Issuer, Key, KeyState, Name,
        Principal, PrincipalState, Region, Revision, Target,
    },
    store::{AuditFilter, ControlChange},
};

/// Which keys to list; `None`: all.
#[derive(Debug, Clone, Default)]
pub struct KeyFilter {
    pub state: Option<KeyState>,
    pub data_class: Option<DataClass>,
    pub environment: Option<Environment>,
    pub region: Option<Region>,
    pub owner: Option<crate::model::Owner>,
    pub alias: Option<Alias>,
}

/// Which principals to list; `None`: all.
#[derive(Debug, Clone, Default)]
pub struct PrincipalFilter {
    pub kind: Option<kms_client::format::record::PrincipalKind>,
    pub state: Option<PrincipalState>,
    pub name: Option<Name>,
}

/// Which bindings to list; `None`: all.
#[derive(Debug, Clone, Default)]
pub struct BindingFilter {
    pub principal: Option<PrincipalId>,
    pub role: Option<GrantedRole>,
    pub key: Option<KeyId>,
}

/// One committed change, and what it touched as it was.
#[derive(Debug, Clone)]
pub struct DescribedChange {
    /// The change.
    pub change: ControlChange,
    /// The rows that were there before, as its record has them.
    pub before: Vec<serde_json::Value>,
}

/// What this reads of a change's record.
#[derive(Deserialize)]
struct Detail {
    before: Vec<serde_json::Value>,
}

/// How many intents are looked through; there are hardly ever any.
const INTENTS: u32 = 1_000;

/// One page of a list.
#[derive(Debug, Clone)]
pub struct Page<T> {
    /// The objects, by id.
    pub items: Vec<T>,
    /// Whether more follow.
    pub more: bool,
}

impl Service {
    /// One key.
    ///
    /// # Errors
    ///
    /// `not_found` for a key that does not exist or that the caller may not describe.
    pub async fn describe_key(&self, call: &Call, key: &KeyRef) -> Outcome<Arc<Key>> {
        let id = key.resolve(&self.inner.cluster.snapshot().state);
        self.read(call, Action::DescribeKey, Target::Key(id), |line| {
            line.snapshot.state.key(id).cloned().ok_or(Error::NotFound("key"))
        })
        .await
    }

    /// Keys that the caller may describe, beginning after `after`.
    ///
    /// # Errors
    ///
    /// `not_permitted`.
    pub async fn list_keys(
        &self,
        call: &Call,
        filter: &KeyFilter,
        after: Option<KeyId>,
        limit: usize,
    ) -> Outcome<Page<Arc<Key>>> {
        self.read(call, Action::ListKeys, Target::Installation, |line| {
            let visible = line
                .snapshot
                .state
                .keys_after(after)
                .filter(|key| filter.matches(key) && line.may_describe(call, key.id));
            Ok(page(visible.cloned(), limit))
        })
        .await
    }

    /// One principal, by id or name.
    ///
    /// # Errors
    ///
    /// `not_found` also where the caller may not describe it.
    pub async fn describe_principal(&self, call: &Call, id: PrincipalId) -> Outcome<Arc<Principal>> {
        self.read(call, Action::DescribePrincipal, Target::Principal(id), |line| {
            line.snapshot.state.principal(id).cloned().ok_or(Error::NotFound("principal"))
        })
        .await
    }

    /// Principals, beginning after `after`.
    ///
    /// # Errors
    ///
    /// `not_permitted`.
    pub async fn list_principals(
        &self,
        call: &Call,
        filter: &PrincipalFilter,
        after: Option<PrincipalId>,
        limit: usize,
    ) -> Outcome<Page<Arc<Principal>>> {
        self.read(call, Action::ListPrincipals, Target::Installation, |line| {
            let matching = line.snapshot.state.principals_after(after).filter(|principal| filter.matches(principal));
            Ok(page(matching.cloned(), limit))
        })
        .await
    }

    /// One binding.
    ///
    /// # Errors
    ///
    /// `not_found` also where the caller may not describe it.
    pub async fn describe_binding(&self, call: &Call, id: BindingId) -> Outcome<Arc<Binding>> {
        self.read(call, Action::DescribeBinding, Target::Binding(id), |line| {
            line.snapshot.state.binding(id).cloned().ok_or(Error::NotFound("binding"))
        })
        .await
    }

    /// Bindings, beginning after `after`.
    ///
    /// # Errors
    ///
    /// `not_permitted`.
    pub async fn list_bindings(
        &self,
        call: &Call,
        filter: &BindingFilter,
        after: Option<BindingId>,
        limit: usize,
    ) -> Outcome<Page<Arc<Binding>>> {
        self.read(call, Action::ListBindings, Target::Installation, |line| {
            let state = &line.snapshot.state;
            Ok(match filter.principal {
                Some(principal) => {
                    let own =
                        state.bindings_of(principal).filter(|binding| after.is_none_or(|after| after < binding.id));
                    page(own.filter(|binding| filter.matches(binding)).cloned(), limit)
                }
                None => page(state.bindings_after(after).filter(|binding| filter.matches(binding)).cloned(), limit),
            })
        })
        .await
    }

    /// Every issuer of tokens, removed ones included.
    ///
    /// # Errors
    ///
    /// `not_permitted`.
    pub async fn list_issuers(&self, call: &Call) -> Outcome<Vec<Arc<Issuer>>> {
        self.read(call, Action::ListIssuers, Target::Installation, |line| {
            Ok(line.snapshot.state.issuers().cloned().collect())
        })
        .await
    }

    /// Every client certification authority, removed ones included.
    ///
    /// # Errors
    ///
    /// `not_permitted`.
    pub async fn list_client_cas(&self, call: &Call) -> Outcome<Vec<Arc<ClientCa>>> {
        self.read(call, Action::ListClientCas, Target::Installation, |line| {
            Ok(line.snapshot.state.client_cas().cloned().collect())
        })
        .await
    }

    /// Committed changes, newest first, beginning before `before`.
    ///
    /// # Errors
    ///
    /// `not_permitted`, `store_unavailable`.
    pub async fn list_changes(
        &self,
        call: &Call,
        before: Option<Revision>,
        limit: usize,
    ) -> Outcome<Page<ControlChange>> {
        let allowed = self.may(call, Action::ListChanges);
        let found = if allowed { self.find_changes(before, limit).await } else { Err(Error::Denied) };
        self.read(call, Action::ListChanges, Target::Installation, |_| {
            found.map(|found| page(found.into_iter(), limit))
        })
        .await
    }

    /// Every node.
    ///
    /// # Errors
    ///
    /// `not_permitted`, `store_unavailable`.
    pub async fn list_nodes(&self, call: &Call) -> Outcome<Vec<SeenNode>> {
        let allowed = self.may(call, Action::ListNodes);
        let found = if allowed { self.inner.cluster.seen().await.map_err(Error::from) } else { Err(Error::Denied) };
        self.read(call, Action::ListNodes, Target::Installation, |_| found).await
    }

    /// One committed change, with its receipt.
    ///
    /// # Errors
    ///
    /// `not_found`, `store_unavailable`.
    pub async fn describe_change(&self, call: &Call, id: ChangeId) -> Outcome<DescribedChange> {
        let allowed = self.may(call, Action::DescribeChange);
        let found = if allowed { self.find_change(id).await } else { Err(Error::Denied) };
        self.read(call, Action::DescribeChange, Target::Installation, |_| found).await
    }

    /// One more than asked for tells whether there is more.
    async fn find_changes(&self, before: Option<Revision>, limit: usize) -> Result<Vec<ControlChange>, Error> {
        let mut tx = self.inner.store.read().await?;
        Ok(tx.changes_before(before, super::count(limit.saturating_add(1))).await?)
    }

    async fn find_change(&self, id: ChangeId) -> Result<DescribedChange, Error> {
        let mut tx = self.inner.store.read().await?;
        let mut change = tx.change(id).await?.ok_or(Error::NotFound("change"))?;
        if change.receipt.is_none() {
            drop(tx);
            change.receipt = self.inner.cluster.complete(&change).await?;
            tx = self.inner.store.read().await?;
        }
        let of_change = AuditFilter { change: Some(id), outcome: Some(Recorded::Allowed), ..AuditFilter::default() };
        let (records, _) = tx.search(&of_change, 1, None).await?;
        let mut detail = records.into_iter().next().and_then(|record| record.detail);
        if detail.is_none() {
            // Committed, but not chained yet.
            let left = tx.intents(INTENTS).await?.into_iter().find(|intent| intent.change == id);
            detail = left.and_then(|intent| Draft::from_intent(&intent.record).ok()).and_then(|draft| draft.detail);
        }
        let before = detail.and_then(|detail| serde_json::from_str::<Detail>(&detail).ok());
        Ok(DescribedChange { change, before: before.map(|detail| detail.before).unwrap_or_default() })
    }
}

impl KeyFilter {
    fn matches(&self, key: &Key) -> bool {
        self.state.is_none_or(|state| key.state == state)
            && self.data_class.as_ref().is_none_or(|class| key.data_class == *class)
            && self.environment.is_none_or(|environment| key.environment == environment)
            && self.region.as_ref().is_none_or(|region| key.region == *region)
            && self.owner.as_ref().is_none_or(|owner| key.owner.as_ref() == Some(owner))
            && self.alias.as_ref().is_none_or(|alias| key.aliases.contains(alias))
    }
}

impl PrincipalFilter {
    fn matches(&self, principal: &Principal) -> bool {
        self.kind.is_none_or(|kind| principal.kind == kind)
            && self.state.is_none_or(|state| principal.state == state)
            && self.name.as_ref().is_none_or(|name| principal.name == *name)
    }
}

impl BindingFilter {
    fn matches(&self, binding: &Binding) -> bool {
        self.role.as_ref().is_none_or(|role| binding.role == *role)
            && self.key.is_none_or(|key| binding.scope == crate::model::Scope::Key(key))
            && self.principal.is_none_or(|principal| binding.principal == principal)
    }
}

pub(super) fn page<T>(items: impl Iterator<Item = T>, limit: usize) -> Page<T> {
    let mut items: Vec<T> = items.take(limit.saturating_add(1)).collect();
    let more = items.len() > limit;
    items.truncate(limit);
    Page { items, more }
}
