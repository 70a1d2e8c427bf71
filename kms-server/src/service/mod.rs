//! The use cases, one file each. Every surface decodes its request into one of them, and every one of them reads the
//! same way: who asks for what, may it, with which key, what came of it, on record, released.

mod audit_log;
mod control;
mod explain;
mod generate;
mod key_usage;
mod keys;
mod line;
mod lists;
mod made_elsewhere;
mod once;
mod operations;
mod own;
mod preview;
mod random;
mod reserve;
mod rewrap;
mod rules;
mod transfer;
mod unsealed;
mod unwrap;
mod usable_key;
mod whoami;
mod wrap;
mod wrap_counts;

use std::sync::{Arc, Mutex};

use hsm::{Hsm, ObjectId};
use kms_client::{
    format::context::EncryptionContext,
    id::{DataKeyId, KeyId, KeyVersion},
};

pub use audit_log::{AuditPage, AuditSearch, recorded_action};
pub use control::Changed;
pub use explain::{Access, Explain, ExplainOn, Explained, is_done_with_a_key};
pub use generate::{GenerateItem, Generated};
pub use key_usage::KeyUsage;
pub use keys::NewKey;
pub use line::{Call, Outcome, Outcomes, Understood};
pub use lists::{BindingFilter, DescribedChange, KeyFilter, Page, PrincipalFilter};
pub use made_elsewhere::MadeElsewhere;
pub use once::{Once, OnceName, Terms};
pub use operations::{Made, Operation};
pub use preview::{Effect, MOST_DAYS, Past, Preview};
pub use reserve::Reserve;
pub use rewrap::{RewrapItem, Rewrapped};
pub use rules::{RoleView, Validated};
pub use transfer::{TransferItem, Transferred};
pub use unwrap::{UnwrapItem, Unwrapped};
pub use whoami::Standing;
pub use wrap::{WrapItem, Wrapped};
pub use wrap_counts::WrapCounts;

pub use crate::{
    cluster::SeenNode,
    store::{AuditCursor, ControlChange, KeyUse, MemberKind, OperationState},
};

use self::{once::UnderWay, usable_key::Material};
use crate::{
    cluster::Cluster,
    gate::Gate,
    model::{Alias, Clock, ControlState, Ids, Name, Region},
    policy::Policies,
    store::Store,
    supervisor::Supervisor,
};

/// Everything a use case needs. Clones share it.
#[derive(Debug, Clone)]
pub struct Service {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    parts: Parts,
    under_way: UnderWay,
    /// Objects of changes that failed, which the HSM would not give up then.
    unmade: Mutex<Vec<ObjectId>>,
}

/// What the service is made of.
#[derive(Debug)]
pub struct Parts {
    /// Control state in force.
    pub cluster: Arc<Cluster<Policies>>,
    /// The last step of every request.
    pub gate: Gate,
    /// The database, for reading records and history.
    pub store: Store,
    /// The token.
    pub hsm: Hsm,
    /// Key versions that are yet to be found in it.
    pub made_elsewhere: Arc<MadeElsewhere>,
    /// How often which version has wrapped.
    pub wraps: WrapCounts,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Fresh identifiers.
    pub ids: Ids,
    /// Runs to the end what must not be left half done.
    pub supervisor: Supervisor,
    /// Where this node runs.
    pub region: Region,
    /// The name of the key store that new keys go to.
    pub key_store: Name,
    /// The room that is kept for control changes.
    pub reserve: Reserve,
}

/// A key as callers name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyRef {
    /// By id.
    Id(KeyId),
    /// By alias.
    Alias(Alias),
}

/// Where a data key is, wrapped: under which version of which key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The key.
    pub key: KeyId,
    /// The version.
    pub version: KeyVersion,
    /// The data key.
    pub data_key: DataKeyId,
}

impl std::ops::Deref for Inner {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.parts
    }
}

impl Service {
    /// Puts the parts together.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self { inner: Arc::new(Inner { parts, under_way: UnderWay::default(), unmade: Mutex::default() }) }
    }

    /// Control state in force.
    #[must_use]
    pub fn cluster(&self) -> &Arc<Cluster<Policies>> {
        &self.inner.cluster
    }

    /// The last step of every request.
    #[must_use]
    pub fn gate(&self) -> &Gate {
        &self.inner.gate
    }

    /// Time.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.inner.clock
    }

    /// Fresh identifiers.
    #[must_use]
    pub fn ids(&self) -> Ids {
        self.inner.ids
    }

    /// Where this node runs.
    #[must_use]
    pub fn region(&self) -> &Region {
        &self.inner.region
    }

    /// The token, for what it says of itself.
    #[must_use]
    pub fn hsm_status(&self) -> hsm::Status {
        self.inner.hsm.status()
    }

    fn material(&self) -> Material<'_> {
        Material::new(&self.inner)
    }

    /// Resolves when another node has made a key version.
    pub async fn made_elsewhere(&self) {
        self.inner.made_elsewhere.came().await;
    }

    /// Finds the key versions that other nodes made; answers whether all are found.
    pub async fn find_made_elsewhere(&self) -> bool {
        self.inner.made_elsewhere.find_all(self.inner.clock.boot()).await
    }
}

impl KeyRef {
    /// The id that is meant. An alias that names nothing stands for an id that no key has, so that what is unknown and
    /// what is refused go the same way.
    #[must_use]
    pub fn resolve(&self, state: &ControlState) -> KeyId {
        const NO_KEY: KeyId = KeyId::from_bytes([0; 16]);
        match self {
            Self::Id(id) => *id,
            Self::Alias(alias) => state.key_by_alias(alias).map_or(NO_KEY, |key| key.id),
        }
    }
}

/// The number of bytes as records count them.
fn count(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// A context that several steps share.
type SharedContext = Arc<EncryptionContext>;
