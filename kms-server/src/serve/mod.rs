//! Builds everything once, runs it, and takes it down in order.

mod error;
mod foundation;

use std::{net::SocketAddr, path::Path, sync::Arc, sync::OnceLock, time::Duration};

use hsm::{Hsm, ObjectId};
use jiff::{SignedDuration, Timestamp};
use kms_client::id::NodeId;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::{
    net::TcpListener,
    time::{MissedTickBehavior, interval},
};

pub use self::{
    error::{ServeError, Unfit},
    foundation::{Foundation, open},
};
use crate::{
    audit::Audit,
    authn::Authenticator,
    cluster::{Arming, Cluster, SecretLabel},
    config::Config,
    gate::{ContextKey, Gate},
    http::{Admission, AppState, BadCertificate, CursorKey, Listener, ServerCertificate, native, operations},
    jobs,
    model::{Clock, ControlState, Ids, Row, VersionState},
    policy::Policies,
    service::{MadeElsewhere, Parts, Reserve, Service, WrapCounts},
    store::{MemberKind, Store},
    supervisor::Supervisor,
    telemetry::Spans,
};

/// A server that runs.
#[derive(Debug)]
pub struct Server {
    /// Where the API is served.
    pub api: SocketAddr,
    /// Where health and metrics are served.
    pub operations: SocketAddr,
    /// The use cases.
    pub service: Service,
    /// Listeners and connections: they stop first.
    edge: Supervisor,
    /// Everything that connections need.
    core: Supervisor,
    /// What keeps this node a member: it stops last.
    keeper: Supervisor,
    cluster: Arc<Cluster<Policies>>,
    audit: Audit,
    store: Store,
    hsm: Hsm,
    certificate: Arc<ServerCertificate>,
}

impl Server {
    /// Starts a server: when this returns it answers.
    ///
    /// # Errors
    ///
    /// [`ServeError`]; nothing then runs.
    pub async fn start(
        config: &Config,
        clock: Arc<dyn Clock>,
        metrics: PrometheusHandle,
        arming: Arming,
    ) -> Result<Self, ServeError> {
        // What can be seen to be wrong is, before anything is opened or made.
        let certificate = config.tls.server_certificate()?;
        let foundation = Foundation::open(config, &clock).await?;
        let (core, keeper) = (Supervisor::default(), Supervisor::default());
        let authenticator = Arc::new(Authenticator::new(Arc::clone(&clock), core.clone()));
        let node = NodeId::new(Ids.fresh(clock.now()));

        let audit_cell = Arc::new(OnceLock::new());
        let prepared = Arc::clone(&authenticator);
        let made_elsewhere =
            MadeElsewhere::new(foundation.hsm.clone(), config.region.clone(), config.key_store.name()?);
        let made_elsewhere = Arc::new(made_elsewhere);
        let made = Arc::clone(&made_elsewhere);
        let observe = Box::new(move |state: &ControlState, rows: &[Row]| {
            prepared.prepare(state);
            made.observe(rows);
        });
        let (server, cell) = (Some(MemberKind::Server), Arc::clone(&audit_cell));
        let parts = foundation.cluster_parts(config, Arc::clone(&clock), node, server, observe, cell)?;
        let cluster = Arc::new(Cluster::load(parts).await?);
        // From here on other nodes wait for this one, so it hears of changes while it still starts.
        keep(&keeper, &cluster, arming)?;
        let keepers = keeper.clone();
        let begun = Begun { foundation, certificate, core, keeper, authenticator, cluster, audit_cell, made_elsewhere };
        let started = Box::pin(Self::start_joined(config, clock, metrics, begun)).await;
        if started.is_err() {
            keepers.stop().await;
        }
        started
    }

    async fn start_joined(
        config: &Config,
        clock: Arc<dyn Clock>,
        metrics: PrometheusHandle,
        begun: Begun,
    ) -> Result<Self, ServeError> {
        let Begun { foundation, certificate, core, keeper, authenticator, cluster, audit_cell, made_elsewhere } = begun;
        let edge = Supervisor::default();
        if cluster.snapshot().state.installation().is_none() {
            return Err(ServeError::NotInitialised);
        }
        let Foundation { store, hsm, roots, secrets } = foundation;
        check_clock(&store, cluster.now()).await?;
        let node = cluster.node();
        let audit_key = (roots.audit_object, roots.audit_public_key);
        let audit = Audit::start(&store, &hsm, audit_key, node, &config.region, Arc::clone(&clock), &core).await?;
        // It was empty until now, and only this function sets it.
        let _first = audit_cell.set(audit.clone());

        load_keys(&hsm, &cluster.snapshot().state).await?;
        let context_key = ContextKey::new(secrets.secret(SecretLabel::Contexts)?);
        let gate = Gate::new(Arc::clone(&cluster), audit.clone(), context_key, config.region.clone());
        let service = Service::new(Parts {
            cluster: Arc::clone(&cluster),
            gate,
            store: store.clone(),
            wraps: WrapCounts::new(store.clone(), config.key_store.wrap_block.get()),
            hsm: hsm.clone(),
            made_elsewhere,
            clock,
            ids: Ids,
            supervisor: core.clone(),
            region: config.region.clone(),
            key_store: config.key_store.name()?,
            reserve: reserve(config),
        });
        tokio::time::timeout(FIRST_LEASE, cluster.until_serving()).await.map_err(|_| ServeError::NoLease)?;
        service.look_at_disk();
        service.take_back_unmade().await?;
        service.settle_operations().await?;
        authenticator.start(cluster.now(), &core);
        jobs::start(&edge, &service);

        let limits = config.limits.limits();
        let tls = config.tls.server_config(Arc::clone(&certificate), authenticator.client_certificates())?;
        watch(&core, &certificate);
        let api = listen(config.listen.api).await?;
        let operations = listen(config.listen.operations).await?;
        let cursors = Arc::new(CursorKey::new(secrets.secret(SecretLabel::Cursors)?));
        let admission = Arc::new(Admission::new(&limits, service.clock()));
        let state = AppState { service: service.clone(), authenticator, cursors, limits: limits.clone(), admission };
        let server = Self {
            api: address(&api, config.listen.api),
            operations: address(&operations, config.listen.operations),
            service: service.clone(),
            edge: edge.clone(),
            core,
            keeper,
            cluster,
            audit,
            store,
            hsm,
            certificate,
        };
        let routes = native::routes(state);
        edge.run(
            "API",
            Listener { socket: api, tls: Some(tls), routes, limits: limits.clone(), supervisor: edge.clone() }.run(),
        );
        let routes = operations::routes(service, metrics);
        edge.run(
            "operations",
            Listener { socket: operations, tls: None, routes, limits, supervisor: edge.clone() }.run(),
        );
        tracing::info!(node.id = %node, server.api = %server.api, server.operations = %server.operations, "serving");
        Ok(server)
    }

    /// Exports spans for as long as the server runs, those of its last requests too.
    pub fn export(&self, spans: Spans) {
        let stopping = self.core.clone();
        self.core.run("traces", async move { spans.export(stopping.stopping()).await });
    }

    /// Reads the server's own certificate again.
    ///
    /// # Errors
    ///
    /// [`BadCertificate`]; the certificate in use then stays in use.
    pub fn reload_certificate(&self) -> Result<(), BadCertificate> {
        self.certificate.reload()
    }

    /// Resolves with what makes the server unfit.
    pub async fn failed(&self) -> Unfit {
        tokio::select! {
            name = self.edge.failed() => Unfit::Task(name),
            name = self.core.failed() => Unfit::Task(name),
            name = self.keeper.failed() => Unfit::Task(name),
            () = self.cluster.diverged() => Unfit::Diverged,
            () = self.hsm.given_up() => Unfit::HsmStuck,
        }
    }

    /// Stops: no new connections, the requests under way to their end, the log closed, the newest revision remembered.
    pub async fn stop(self) {
        self.edge.stop().await;
        // Nobody is answered any more, so the log may end; it would wait a while for those who still hold it.
        self.audit.stop().await;
        self.core.stop().await;
        if let Err(error) = self.cluster.remember_in_token().await {
            tracing::warn!(error = &error as &dyn std::error::Error, "the token does not remember the newest revision");
        }
        self.keeper.stop().await;
        self.store.close().await;
        tracing::info!("stopped");
    }
}

/// A node that has joined and does not answer yet.
struct Begun {
    foundation: Foundation,
    certificate: Arc<ServerCertificate>,
    core: Supervisor,
    keeper: Supervisor,
    authenticator: Arc<Authenticator>,
    cluster: Arc<Cluster<Policies>>,
    audit_cell: Arc<OnceLock<Audit>>,
    made_elsewhere: Arc<MadeElsewhere>,
}

/// Keeps this node a member, on a thread of its own.
fn keep(supervisor: &Supervisor, cluster: &Arc<Cluster<Policies>>, arming: Arming) -> Result<(), ServeError> {
    let (stopping, cluster) = (supervisor.clone(), Arc::clone(cluster));
    let keep = move || async move {
        if let Err(error) = cluster.keep(arming, stopping.stopping()).await {
            tracing::error!(error = &error as &dyn std::error::Error, "the kernel gives no timer");
        }
    };
    supervisor.run_on_thread("lease keeper", keep).map_err(ServeError::Thread)
}

/// How long the database may take to give a starting node its first lease.
const FIRST_LEASE: Duration = Duration::from_secs(10);

/// What has ended by the time of the newest change must not live again because the wall clock went back meanwhile.
///
/// # Errors
///
/// [`ServeError::ClockBehind`], and that of the database.
pub async fn check_clock(store: &Store, now: Timestamp) -> Result<(), ServeError> {
    let newest = store.read().await?.newest_change().await?;
    let newest = newest.map_or(Timestamp::MIN, |change| change.committed_at);
    if newest.duration_since(now) > CLOCK_SLACK { Err(ServeError::ClockBehind { now, newest }) } else { Ok(()) }
}

/// So far the clocks of hosts may differ.
const CLOCK_SLACK: SignedDuration = SignedDuration::from_mins(5);

/// Finds every version's object in the token. One that is missing or not itself is not used; the others are.
async fn load_keys(hsm: &Hsm, state: &ControlState) -> Result<(), ServeError> {
    let objects: Vec<(ObjectId, _)> = state
        .keys_after(None)
        .flat_map(|key| key.versions.iter())
        .filter(|version| version.state != VersionState::Destroyed)
        .map(|version| (version.object, version.canary.clone()))
        .collect();
    let mut unusable = 0_u32;
    for (object, loaded) in hsm.load_keys(objects).await? {
        if let Err(error) = loaded {
            unusable += 1;
            tracing::error!(hsm.object = %object, error = &error as &dyn std::error::Error, "a key version cannot be used");
        }
    }
    metrics::gauge!("keyward_key_versions_unusable").set(f64::from(unusable));
    Ok(())
}

/// On SQLite the node's own disks are watched: the database's and the anchor's.
fn reserve(config: &Config) -> Reserve {
    let Some(database) = &config.database.sqlite else { return Reserve::default() };
    let folders = [database.as_path(), config.anchor.file.as_path()];
    let folders = folders.into_iter().filter_map(Path::parent).map(Path::to_owned).collect();
    Reserve::new(folders, config.database.reserve_mib.saturating_mul(1024 * 1024))
}

/// Looks every few seconds whether the certificate's files were replaced.
fn watch(supervisor: &Supervisor, certificate: &Arc<ServerCertificate>) {
    let (stopping, certificate) = (supervisor.clone(), Arc::clone(certificate));
    supervisor.run("certificate", async move {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => drop(certificate.reload_if_changed()),
                () = stopping.stopping() => return,
            }
        }
    });
}

/// How often the certificate's files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

async fn listen(address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address).await.map_err(|source| ServeError::Listen { address, source })
}

/// The address in use, where the configuration left the port open.
fn address(listener: &TcpListener, configured: SocketAddr) -> SocketAddr {
    listener.local_addr().unwrap_or(configured)
}
