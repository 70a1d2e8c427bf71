//! One request as far as it is known, from its first byte to its answer, and the record of why it was refused before any
//! use case saw it.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use kms_client::{
    format::record::{Outcome, Surface},
    wire::problem::Code,
};
use tokio::time::timeout;

use super::{
    error::{Failure, Recorded},
    operation::Operation,
};
use crate::{
    audit::Draft,
    authn::{Caller, Request},
    gate::{Asked, Decision, Facts},
    model::Target,
    service::Service,
};

/// How long the record of a refusal may take.
const RECORD_PATIENCE: Duration = Duration::from_secs(5);

/// One request as far as it is known.
#[derive(Debug)]
pub(super) struct Arrival {
    /// What is known of every request.
    pub(super) request: Arc<Request>,
    /// What it asks for.
    pub(super) operation: Arc<Operation>,
    caller: OnceLock<Arc<Caller>>,
    changes: AtomicBool,
}

impl Arrival {
    /// A request of nobody yet.
    pub(super) fn new(request: Request, operation: Arc<Operation>) -> Self {
        Self { request: Arc::new(request), operation, caller: OnceLock::new(), changes: AtomicBool::new(false) }
    }

    /// Now it is known who asks.
    pub(super) fn authenticated(&self, caller: &Arc<Caller>) {
        self.caller.get_or_init(|| Arc::clone(caller));
    }

    /// From now on control state may change, whatever becomes of the answer.
    pub(super) fn begin_change(&self) {
        self.changes.store(true, Ordering::Relaxed);
    }

    /// Why a request that took too long has no answer.
    pub(super) fn late(&self) -> Failure {
        if self.changes.load(Ordering::Relaxed) { Failure::late_change() } else { Failure::late() }
    }

    /// Records a failure that has no record yet. If it cannot be recorded, that is all that the caller may learn.
    pub(super) async fn note(&self, service: &Service, item: u32, failure: Failure) -> Failure {
        if failure.recorded() != Recorded::NotYet {
            return failure;
        }
        let draft = Draft { item, ..self.draft(service, &failure) };
        match timeout(RECORD_PATIENCE, service.gate().note(draft)).await {
            Ok(Ok(record)) => failure.noted(record),
            // That a change may have been made must be said; its own record says the rest.
            Ok(Err(_)) | Err(_) if failure.code() == Code::OutcomeUnknown => failure.noted(None),
            Ok(Err(_)) | Err(_) => Failure::unrecorded(),
        }
    }

    fn draft(&self, service: &Service, failure: &Failure) -> Draft {
        let denied = matches!(failure.code(), Code::Unauthenticated | Code::NotPermitted);
        let outcome = if denied { Outcome::Denied } else { Outcome::Failed };
        let snapshot = service.cluster().snapshot();
        if let (Some(caller), Some(action)) = (self.caller.get(), self.operation.action()) {
            let intent = caller.intends(&self.request, action, Target::Installation);
            let asked = Asked { intent, decision: Decision::Meaningless, facts: Facts::default() };
            return service.gate().draft(&snapshot, &asked, outcome, failure.reason());
        }
        Draft {
            source: self.request.source,
            surface: Surface::Native,
            outcome,
            reason: failure.reason().to_owned(),
            ..Draft::system(self.request.id, self.operation.code(), "", snapshot.revision.0)
        }
    }
}
