//! What servers and host commands stand on: database, token, and the installation's secrets.

use std::sync::{Arc, OnceLock};

use hsm::{Hsm, Uptime};
use kms_client::id::NodeId;

use super::ServeError;
use crate::{
    audit::Audit,
    cluster::{self, Anchor, AnchorFile, AnchorToken, AuditHead, Joining, RowKey, SecretLabel, SystemSecrets},
    config::Config,
    model::{self, Clock, ControlState},
    policy::Policies,
    store::{Claim, HsmRoots, MemberKind, Store},
};

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

impl Foundation {
    /// Opens database and token, and unwraps the installation's secrets.
    ///
    /// # Errors
    ///
    /// [`ServeError`].
    pub async fn open(config: &Config, clock: &Arc<dyn Clock>) -> Result<Self, ServeError> {
        let (store, hsm) = open(config, clock, Claim::Together).await?;
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
pub async fn open(config: &Config, clock: &Arc<dyn Clock>, claim: Claim) -> Result<(Store, Hsm), ServeError> {
    let clock = Arc::clone(clock);
    let settings = hsm::Settings { uptime: Uptime::new(move || clock.boot()), ..config.key_store.settings()? };
    make_folders(config)?;
    let store = Store::open(&config.database.database()?).await?;
    store.claim(claim).await?;
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
