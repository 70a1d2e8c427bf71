//! What a record says of an operation. Of an encryption context it says only a keyed digest.

use std::fmt;

use aws_lc_rs::hmac;
use kms_client::{
    format::{
        context::EncryptionContext,
        record::{ContextDigest, Outcome},
    },
    id::{ChangeId, DataKeyId, KeyId, KeyVersion},
};
use zeroize::Zeroizing;

use super::{Asked, Decision};
use crate::{
    audit::Draft,
    cluster::Snapshot,
    model::{Region, Target},
    policy::Policies,
};

/// What the record of an operation says besides who asked for what.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The key version that was used.
    pub key_version: Option<KeyVersion>,
    /// The data key that was made, wrapped or unwrapped.
    pub data_key: Option<DataKeyId>,
    /// Bytes that the caller brought.
    pub bytes_in: u32,
    /// Bytes that the caller is to get.
    pub bytes_out: u32,
    /// The key that is made or meant, where the intent's target does not name it.
    pub key: Option<KeyId>,
    /// The control change that it is.
    pub change: Option<ChangeId>,
    /// More, as JSON.
    pub detail: Option<String>,
}

/// The installation's key under which encryption contexts are digested.
pub struct ContextKey(hmac::Key);

impl ContextKey {
    /// Takes 32 secret bytes.
    #[must_use]
    pub fn new(secret: &Zeroizing<Vec<u8>>) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// HMAC-SHA-256 of the context's canonical bytes under a domain tag: who knows the context can search for it.
    #[must_use]
    pub fn digest(&self, context: &EncryptionContext) -> ContextDigest {
        let mut hmac = hmac::Context::with_key(&self.0);
        hmac.update(b"keyward/context-digest/v1\0");
        hmac.update(&context.canonical());
        let mut bytes = [0; 32];
        bytes.copy_from_slice(hmac.sign().as_ref());
        ContextDigest::from_bytes(bytes)
    }
}

impl fmt::Debug for ContextKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ContextKey(..)")
    }
}

pub(super) fn draft(
    snapshot: &Snapshot<Policies>,
    region: &Region,
    context_key: &ContextKey,
    asked: &Asked,
    outcome: Outcome,
    reason: &str,
) -> Draft {
    let Asked { intent, decision, facts } = asked;
    let caller = &intent.caller;
    let principal = snapshot.state.principal(caller.principal());
    let key = intent.target.key().or(facts.key);
    let key_class = match &intent.target {
        Target::NewKey { data_class, .. } => Some(data_class.to_string()),
        Target::Key(key) => snapshot.state.key(*key).map(|key| key.data_class.to_string()),
        Target::Principal(_)
        | Target::Binding(_)
        | Target::Issuer(_)
        | Target::ClientCa(_)
        | Target::Policy(_)
        | Target::Role(_)
        | Target::Installation => {
            facts.key.and_then(|key| snapshot.state.key(key)).map(|key| key.data_class.to_string())
        }
    };
    let policies = match decision {
        Decision::Permitted(permit) => permit.policies(),
        Decision::Denied(denial) => &denial.policies,
        Decision::Meaningless => &[],
    };
    Draft {
        request: intent.request.id,
        item: intent.item,
        principal: Some(caller.principal()),
        person: principal.and_then(|principal| principal.person.as_ref()).map(ToString::to_string),
        principal_kind: principal.map(|principal| principal.kind),
        credential: Some(caller.credential()),
        source: intent.request.source,
        surface: intent.request.surface,
        action: intent.action.code().to_owned(),
        key,
        key_version: facts.key_version,
        key_class,
        data_key: facts.data_key,
        outcome,
        reason: reason.to_owned(),
        policies: policies.iter().map(ToString::to_string).collect(),
        revision: snapshot.revision.0,
        region: region.to_string(),
        context_digest: intent.context.as_ref().map(|context| context_key.digest(context)),
        bytes_in: facts.bytes_in,
        bytes_out: if outcome == Outcome::Allowed { facts.bytes_out } else { 0 },
        change: facts.change,
        count: 1,
        detail: facts.detail.clone(),
    }
}
