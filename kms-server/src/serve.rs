//! Builds everything once, runs it, and takes it down in order.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    sync::OnceLock,
    time::Duration,
};

use hsm::{Hsm, ObjectId, Uptime};
use jiff::{SignedDuration, Timestamp};
use kms_client::id::NodeId;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::{
    net::TcpListener,
    time::{MissedTickBehavior, interval},
};

use crate::{
    audit::Audit,
    authn::Authenticator,
    cluster::{
        self, Anchor, AnchorFile, AnchorToken, Arming, AuditHead, Cluster, Joining, RowKey, SecretLabel, SystemSecrets,
    },
    config::{Config, ConfigError},
    gate::{ContextKey, Gate},
    http::{Admission, AppState, BadCertificate, CursorKey, Listener, ServerCertificate, native, operations},
    jobs,
    model::{self, Clock, ControlState, Ids, Row, VersionState},
    policy::Policies,
    service::{MadeElsewhere, Parts, Reserve, Service, WrapCounts},
    store::{HsmRoots, MemberKind, Store},
    supervisor::Supervisor,
    telemetry::Spans,
};

/// Why a server cannot start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Name(#[from] model::InvalidName),
    #[error("the database cannot be used: {0}")]
    Store(#[from] crate::store::Error),
    #[error("the token cannot be used: {0}")]
    Hsm(#[from] hsm::Error),
    #[error(transparent)]
    Secrets(#[from] cluster::SecretsError),
    #[error(transparent)]
    Load(#[from] cluster::LoadError),
    #[error(transparent)]
    Policy(#[from] crate::policy::Error),
    #[error(transparent)]
    Audit(#[from] crate::audit::Error),
    #[error(transparent)]
    Model(#[from] model::Error),
    #[error("there is no installation in this database; make one with `kms-server init`")]
    NotInitialised,
    #[error("the token has no `{0}`: this is another token than the installation's")]
    OtherToken(&'static str),
    #[error("the address {address} cannot be listened on: {source}")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("the clock says {now}, but the newest control change was made at {newest}: time does not go back")]
    ClockBehind { now: Timestamp, newest: Timestamp },
    #[error("the folder `{}` cannot be made: {source}", path.display())]
    Folder { path: PathBuf, source: std::io::Error },
    #[error("the thread that keeps the lease cannot be started: {0}")]
    Thread(std::io::Error),
    #[error("the database does not give this node a lease")]
    NoLease,
}

/// The parts that host commands need too: database, token, and the installation's secrets.
#[derive(Debug)]
pub struct Foundation {
    /// The database, migrated.
    pub store: Store,
    /// The token.
    pub hsm: Hsm,
    /// What the installation hangs on.
    pub roots: HsmRoots,
    /// The installation's own secrets.
    pub secrets: SystemSecrets,
}

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

/// Why a server that ran is no longer fit to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// A task ended that was to run for as long as the server.
    #[error("the task `{0}` ended")]
    Task(&'static str),
    /// The database is another than the one it has followed.
    #[error(
        "the database has taken another course than this node has followed: an older copy was put back, or it was edited; \
         stop every node, see `kms-server doctor`, and restore the newest copy"
    )]
    Diverged,
    /// A call to the token does not return; another process may reach it.
    #[error(
        "a call to the HSM has not returned within `[key_store] stuck_limit_seconds` and cannot be cancelled; \
         see to the HSM and its connection, and start the server again"
    )]
    HsmStuck,
}

impl ServeError {
    /// What to do about it, where its own words do not say.
    #[must_use]
    pub const fn advice(&self) -> Option<&'static str> {
        Some(match self {
            Self::Config(error) => error.advice(),
            Self::Name(_) => "choose another `[key_store] name`",
            Self::Store(error) => return store_advice(error),
            Self::Hsm(error) => return hsm_advice(error),
            Self::OtherToken(_) => "see [key_store]: name the token that the installation was made with",
            Self::Listen { .. } => "stop what listens there, or name another address in [listen]",
            Self::ClockBehind { .. } => {
                "set the clock right; only if it was ahead when that change was made, run `kms-server accept-database`"
            }
            Self::Folder { .. } => {
                "see `[database] sqlite` and `[anchor] file`: name places where the server's user may write"
            }
            Self::NoLease => "see that the database runs and answers in time",
            Self::Secrets(_) => "see to the database and the token; `kms-server doctor --config FILE` looks at both",
            Self::Load(cluster::LoadError::Join(cluster::JoinError::Disagreement { .. })) => {
                "make `[cluster]` the same on every node; to change it, stop them all first"
            }
            Self::Load(_)
            | Self::Policy(_)
            | Self::Audit(_)
            | Self::Model(_)
            | Self::NotInitialised
            | Self::Thread(_) => {
                return None;
            }
        })
    }
}

const fn store_advice(error: &crate::store::Error) -> Option<&'static str> {
    use crate::store::Error;
    Some(match error {
        Error::File { .. } => "see `[database] sqlite`: name a place where the server's user may write",
        Error::InvalidUrl => {
            "write `postgres://USER:PASSWORD@HOST/DATABASE?sslmode=verify-full` into the file of `[database] postgres_url_file`"
        }
        Error::Connect(_) => {
            "see that the server runs, and host, user, password and database in the file of `[database] postgres_url_file`"
        }
        Error::Migration(_) => "run the program that made them, or restore a backup; see `kms-server doctor`",
        Error::Unavailable(_) | Error::TimedOut => "see that the database runs and can be reached",
        Error::OnNetwork { .. } => "name a file on a disk of this host, or use PostgreSQL",
        Error::InUse { .. }
        | Error::Claimed
        | Error::NotDurable { .. }
        | Error::ReadOnly
        | Error::AlreadyExists(_)
        | Error::Statement(_)
        | Error::Broken
        | Error::Corrupt(_)
        | Error::TooLarge(_) => return None,
    })
}

const fn hsm_advice(error: &hsm::Error) -> Option<&'static str> {
    Some(match error {
        hsm::Error::PinIncorrect | hsm::Error::PinLocked | hsm::Error::PinUnacceptable { .. } => {
            "see `[key_store] pin_file` or `pin_credential`"
        }
        hsm::Error::TokenNotFound { .. } | hsm::Error::AmbiguousToken { .. } => {
            "see `[key_store] token_label`, and for SoftHSM `softhsm_conf` or SOFTHSM2_CONF"
        }
        hsm::Error::Module { .. } => "see `[key_store] module`",
        hsm::Error::Stuck | hsm::Error::TimedOut | hsm::Error::Unavailable { .. } => {
            "see to the HSM and its connection"
        }
        _ => return None,
    })
}

impl Foundation {
    /// Opens database and token, and unwraps the installation's secrets.
    ///
    /// # Errors
    ///
    /// [`ServeError`].
    pub async fn open(config: &Config, clock: &Arc<dyn Clock>) -> Result<Self, ServeError> {
        let (store, hsm) = open(config, clock).await?;
        let roots = store.read().await?.roots().await?.ok_or(ServeError::NotInitialised)?;
        Self::with_roots(store, hsm, roots).await
    }

    /// Loads the objects that the installation hangs on, and unwraps its secrets.
    ///
    /// # Errors
    ///
    /// [`ServeError`].
    pub async fn with_roots(store: Store, hsm: Hsm, roots: HsmRoots) -> Result<Self, ServeError> {
        let missing = |what: &'static str| {
            move |error| match error {
                hsm::Error::KeyNotFound(_) | hsm::Error::Canary(_) => ServeError::OtherToken(what),
                other => other.into(),
            }
        };
        hsm.load_key(roots.system_object, roots.system_canary.clone()).await.map_err(missing("system key"))?;
        hsm.load_signing_key(roots.audit_object, roots.audit_public_key.clone()).await.map_err(missing("audit key"))?;
        let secrets = SystemSecrets::open(&store, &hsm, roots.system_object, roots.installation).await?;
        Ok(Self { store, hsm, roots, secrets })
    }

    /// The parts of a cluster over this foundation.
    ///
    /// # Errors
    ///
    /// [`ServeError`].
    pub fn cluster_parts(
        &self,
        config: &Config,
        clock: Arc<dyn Clock>,
        node: NodeId,
        kind: Option<MemberKind>,
        observe: cluster::Observe,
        audit: Arc<OnceLock<Audit>>,
    ) -> Result<cluster::Parts<Policies>, ServeError> {
        let built_in = Policies::built_in(config.region.clone())?;
        let audit_head = move || {
            let head = audit.get()?.head();
            Some(AuditHead { node: head.node, sequence: head.sequence, hash: head.hash })
        };
        let derive = move |older: Option<&Policies>, state: &ControlState| {
            older.unwrap_or(&built_in).derive(state).map_err(model::Error::from)
        };
        Ok(cluster::Parts {
            store: self.store.clone(),
            row_key: RowKey::new(self.secrets.secret(SecretLabel::Rows)?),
            clock,
            node,
            joining: kind.map(|kind| Joining {
                kind,
                address: if kind == MemberKind::Server { config.listen.api.to_string() } else { String::new() },
                region: config.region.to_string(),
                terms: config.cluster.terms(),
            }),
            derive: Box::new(derive),
            observe,
            anchor: Anchor::new(
                AnchorFile(config.anchor.file.clone()),
                AnchorToken(self.hsm.clone()),
                Box::new(audit_head),
            ),
        })
    }
}

/// Opens and migrates the database, and opens the token.
///
/// # Errors
///
/// [`ServeError`].
pub async fn open(config: &Config, clock: &Arc<dyn Clock>) -> Result<(Store, Hsm), ServeError> {
    let clock = Arc::clone(clock);
    let settings = hsm::Settings { uptime: Uptime::new(move || clock.boot()), ..config.key_store.settings()? };
    make_folders(config)?;
    let store = Store::open(&config.database.database()?).await?;
    store.migrate().await?;
    let hsm = tokio::task::spawn_blocking(move || Hsm::open(settings))
        .await
        .map_err(|error| ServeError::Model(model::Error::internal(error)))??;
    Ok((store, hsm))
}

fn make_folders(config: &Config) -> Result<(), ServeError> {
    use std::os::unix::fs::DirBuilderExt as _;
    let folders = [config.database.sqlite.as_deref(), Some(config.anchor.file.as_path())];
    for path in folders.into_iter().flatten().filter_map(std::path::Path::parent) {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|source| ServeError::Folder { path: path.to_owned(), source })?;
    }
    Ok(())
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
        let started = Self::start_joined(config, clock, metrics, begun).await;
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
        authenticator.start(&core);
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
