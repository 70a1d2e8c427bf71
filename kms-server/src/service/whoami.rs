//! Who am I: what the server believes of its caller.

use std::sync::Arc;

use kms_client::id::NodeId;

use super::{Call, Outcome, Service};
use crate::model::{Action, Binding, Error, Principal, Revision, Target};

/// What the server believes of its caller.
#[derive(Debug, Clone)]
pub struct Standing {
    /// The principal.
    pub principal: Arc<Principal>,
    /// Its bindings that count now or later.
    pub bindings: Vec<Arc<Binding>>,
    /// Whether one person runs the installation.
    pub solo: bool,
    /// The revision this was read at.
    pub revision: Revision,
    /// The node that says so.
    pub node: NodeId,
}

impl Service {
    /// Tells callers who they are to this server.
    ///
    /// # Errors
    ///
    /// `unauthenticated` if the caller no longer stands.
    pub async fn whoami(&self, call: &Call) -> Outcome<Standing> {
        let principal = call.caller.principal();
        self.read(call, Action::WhoAmI, Target::Principal(principal), |line| {
            let state = &line.snapshot.state;
            Ok(Standing {
                principal: state.principal(principal).cloned().ok_or(Error::NotFound("principal"))?,
                bindings: state.bindings_of(principal).filter(|binding| binding.is_live(line.now)).cloned().collect(),
                solo: state.installation().is_some_and(|installation| installation.solo),
                revision: line.snapshot.revision,
                node: self.inner.cluster.node(),
            })
        })
        .await
    }
}
