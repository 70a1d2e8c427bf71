//! What the host's administrator does without being a caller: make the installation, accept an older database, get back in
//! when too few administrators are left. Each needs the token's PIN and the database, and is a control change with a record.

use std::sync::{Arc, OnceLock};

use hsm::ObjectId;
use kms_client::{
    format::record::Surface,
    id::{ChangeId, NodeId, RequestId},
};

use crate::{
    audit::{Audit, Draft},
    cluster::{Cluster, CommitError, Committed, LoadError, Proposal, Receipt, Snapshot, SystemSecrets},
    config::Config,
    crash_point,
    model::{self, Change, Clock, ControlState, Error, Ids, Operation, Reason, Refusal, Revision, Row},
    policy::Policies,
    recover::Recovery,
    serve::{self, Foundation, ServeError, check_clock},
    store::{Claim, HsmRoots, MemberKind, Store},
    supervisor::Supervisor,
};

/// Makes the installation: its keys in the HSM, its secrets, and `operations` as its first and only unapproved change.
///
/// # Errors
///
/// [`ServeError`]. Called again after a crash it goes on where it stopped; after success it refuses.
pub async fn initialise(
    config: &Config,
    clock: Arc<dyn Clock>,
    solo: bool,
    operations: Vec<Operation>,
) -> Result<Receipt, ServeError> {
    let (store, hsm) = serve::open(config, &clock, Claim::Alone).await?;
    let kept = store.read().await?.roots().await?;
    let roots = if let Some(roots) = kept {
        roots
    } else {
        let roots = make_roots(&hsm, &*clock).await?;
        let mut tx = store.begin().await?;
        tx.insert_roots(&roots).await?;
        tx.commit().await.map_err(Error::from)?;
        roots
    };
    hsm.load_key(roots.system_object, roots.system_canary.clone()).await?;
    SystemSecrets::make_missing(&store, &hsm, roots.system_object, roots.installation, &*clock).await?;
    let installation = roots.installation;
    let foundation = Foundation::with_roots(store, hsm, roots).await?;
    let operation = Operation::Initialise { installation, solo, rows: operations };
    let host = Host::open(config, clock, foundation, true).await?;
    host.change(operation).await
}

/// Accepts a database that is older than what this host or the token remembers, or whose newest change was made by a clock
/// that was ahead.
///
/// # Errors
///
/// [`ServeError`]; `invalid_state` if it is not older.
pub async fn accept_database(config: &Config, clock: Arc<dyn Clock>, reason: Reason) -> Result<Receipt, ServeError> {
    let foundation = Foundation::open(config, &clock).await?;
    let host = Host::open(config, clock, foundation, false).await?;
    if host.cluster.others_live().await.map_err(LoadError::from)? {
        let detail = "other nodes run on this database, and have followed it; stop them first";
        host.leave().await;
        return Err(Error::conflict(Refusal::InvalidState, detail).into());
    }
    let remembered = host.cluster.remembered().await?;
    let behind = check_clock(&host.store, host.cluster.now()).await.is_err();
    if !behind && !host.cluster.is_older().await? {
        let detail = "the database is not older than what is remembered; there is nothing to accept";
        host.leave().await;
        return Err(Error::conflict(Refusal::InvalidState, detail).into());
    }
    host.change(Operation::AcceptDatabase { remembered, reason }).await
}

/// Makes or reinstates an administrator. Whoever does this has the host and the token's PIN; everybody else hears of it.
///
/// # Errors
///
/// [`ServeError`]: a database that is older than what is remembered, a proof that proves nothing, a person who uses keys.
pub async fn recover_admin(config: &Config, clock: Arc<dyn Clock>, recovery: &Recovery) -> Result<Receipt, ServeError> {
    let foundation = Foundation::open(config, &clock).await?;
    let host = Host::open(config, clock, foundation, true).await?;
    let (snapshot, now) = (host.cluster.snapshot(), host.cluster.now());
    let operation = recovery.operation(&snapshot.state, now)?;
    let revision = snapshot.revision.next();
    let trial = Change { id: ChangeId::from_bytes([0; 16]), expected: None, operation: operation.clone() };
    recovery.check(&snapshot.state, &trial.apply(&snapshot.state, revision, now)?, revision, now)?;
    let receipt = host.change(operation).await?;
    tracing::error!(
        change.id = %receipt.change_id, control.revision = receipt.revision.0, principal.name = %recovery.name,
        "ALARM: an administrator was made or reinstated on the host"
    );
    Ok(receipt)
}

async fn make_roots(hsm: &hsm::Hsm, clock: &dyn Clock) -> Result<HsmRoots, ServeError> {
    let (installation, created_at) = (Ids.fresh(clock.now()), clock.now());
    let (system_object, audit_object) = (object(clock), object(clock));
    let system_canary = hsm.create_key(system_object, &format!("keyward-system/{installation}/1")).await?;
    let audit_public_key = hsm.create_signing_key(audit_object, &format!("keyward-audit/{installation}/1")).await?;
    Ok(HsmRoots { installation, system_object, system_canary, audit_object, audit_public_key, created_at })
}

fn object(clock: &dyn Clock) -> ObjectId {
    ObjectId::new(Ids.fresh(clock.now()).into_bytes())
}

/// A node that serves nobody.
struct Host {
    cluster: Cluster<Policies>,
    audit: Audit,
    supervisor: Supervisor,
    clock: Arc<dyn Clock>,
    region: String,
    store: Store,
}

impl Host {
    async fn open(
        config: &Config,
        clock: Arc<dyn Clock>,
        foundation: Foundation,
        compare: bool,
    ) -> Result<Self, ServeError> {
        let supervisor = Supervisor::default();
        let node = NodeId::new(Ids.fresh(clock.now()));
        let cell = Arc::new(OnceLock::new());
        let (kind, observe) = (Some(MemberKind::Host), Box::new(|_: &ControlState, _: &[Row]| ()));
        let parts = foundation.cluster_parts(config, Arc::clone(&clock), node, kind, observe, Arc::clone(&cell))?;
        let cluster = if compare { Cluster::load(parts).await? } else { Cluster::load_unremembered(parts).await? };
        let Foundation { store, hsm, roots, .. } = foundation;
        let audit_key = (roots.audit_object, roots.audit_public_key);
        let audit =
            Audit::start(&store, &hsm, audit_key, node, &config.region, Arc::clone(&clock), &supervisor).await?;
        // It was empty until now, and only this function sets it.
        let _first = cell.set(audit.clone());
        Ok(Self { cluster, audit, supervisor, clock, region: config.region.to_string(), store })
    }

    async fn change(self, operation: Operation) -> Result<Receipt, ServeError> {
        let change = Change { id: ChangeId::new(Ids.fresh(self.clock.now())), expected: None, operation };
        let request = RequestId::new(Ids.fresh(self.clock.now()));
        let decide = |snapshot: &Snapshot<Policies>, revision: Revision, now| {
            let rows = change.apply(&snapshot.state, revision, now)?;
            let record = Draft {
                surface: Surface::Host,
                change: Some(change.id),
                detail: Some(String::from_utf8(change.canonical()?).map_err(Error::internal)?),
                ..Draft::system(request, change.operation.action().code(), &self.region, revision.0)
            };
            let intent = record.to_intent()?;
            Ok::<_, model::Error>(Proposal { rows, record, intent, once: None })
        };
        let result = match self.cluster.commit(&change, None, decide).await {
            Ok(committed) => self.finish(&change, committed).await,
            Err(CommitError::Refused(_, error) | CommitError::Failed(error)) => Err(error.into()),
            Err(CommitError::MadeBefore) => Err(model::Error::internal("a host command has no name").into()),
            Err(CommitError::Unknown) => Err(Error::OutcomeUnknown(change.id).into()),
        };
        self.leave().await;
        result
    }

    async fn leave(&self) {
        self.audit.stop().await;
        self.supervisor.stop().await;
        if let Err(error) = self.cluster.leave().await {
            tracing::warn!(error = &error as &dyn std::error::Error, "this command could not leave in order");
        }
        self.store.close().await;
    }

    async fn finish(&self, change: &Change, committed: Committed<Draft>) -> Result<Receipt, ServeError> {
        self.audit.seal_intent(change.id, committed.record).await?;
        self.cluster.remember_in_token().await?;
        crash_point!("host.remembered");
        Ok(committed.receipt)
    }
}
