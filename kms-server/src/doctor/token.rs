//! The token and what the database says of it: that it is there and does what its profile claims, that the installation's
//! own objects and every version's are what they were, and what else is in it. Unknown objects are listed, never touched.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use hsm::{Canary, Hsm, ObjectClass, ObjectId, ObjectInfo, Uptime};
use jiff::{Timestamp, ToSpan as _};
use kms_client::id::NodeId;

use super::Report;
use crate::{
    cluster::{ANCHOR_LABEL, Cluster, LoadError, SystemSecrets},
    config::Config,
    model::{Clock, ControlState, Ids, VersionState},
    policy::Policies,
    serve::Foundation,
    store::{HsmObject, HsmObjectState, HsmRoots, Store},
};

/// An object may be in the making for so long.
const MAKING_MINUTES: i64 = 10;
/// A running server moves database and anchor while they are compared.
const TRIES: usize = 3;
const RESTORE: &str = "use the token that the installation was made with, or restore the HSM's backup";

pub(super) async fn look(config: &Config, clock: Arc<dyn Clock>, store: Option<&Store>, report: &mut Report) {
    let Some(hsm) = open(config, Arc::clone(&clock), report).await else { return };
    let Some(store) = store else { return };
    let roots = match read_roots(store).await {
        Ok(Some(roots)) => roots,
        Ok(None) => {
            report.error("installation", "there is none in this database", "make one with `kms-server init`");
            return;
        }
        Err(error) => {
            report.error("installation", error.to_string(), "see the findings about the database");
            return;
        }
    };
    let own = own_objects(&hsm, &roots, report).await;
    let state =
        if own { control_state(config, Arc::clone(&clock), store, &hsm, roots.clone(), report).await } else { None };
    if let Some(state) = &state {
        versions(&hsm, state, report).await;
    }
    objects(&hsm, store, &roots, state.as_ref(), clock.now(), report).await;
}

async fn read_roots(store: &Store) -> Result<Option<HsmRoots>, crate::store::Error> {
    store.read().await?.roots().await
}

/// Opening runs the profile's self-test.
async fn open(config: &Config, clock: Arc<dyn Clock>, report: &mut Report) -> Option<Hsm> {
    const CHECK: &str = "token.open";
    // Why there are none was said of the configuration.
    let settings = config.key_store.settings().ok()?;
    let settings = hsm::Settings { uptime: Uptime::new(move || clock.boot()), ..settings };
    let opened = tokio::task::spawn_blocking(move || Hsm::open(settings)).await.ok()?;
    match opened {
        Ok(hsm) => {
            let status = hsm.status();
            report.ok(CHECK, format!("`{}`, serial {}, {}", status.token_label, status.serial, status.model));
            report.ok("token.self_test", "it does what its profile claims");
            Some(hsm)
        }
        Err(error) => {
            let advice = match &error {
                hsm::Error::PinIncorrect | hsm::Error::PinLocked | hsm::Error::PinUnacceptable { .. } => {
                    "see `[key_store] pin_file`; do not try again and again, the token locks the PIN"
                }
                hsm::Error::TokenNotFound { .. } | hsm::Error::AmbiguousToken { .. } => {
                    "see `[key_store] token_label`, and for SoftHSM `softhsm_conf` or SOFTHSM2_CONF"
                }
                hsm::Error::Module { .. } => "see `[key_store] module`",
                hsm::Error::SelfTest(_) | hsm::Error::Attribute { .. } => {
                    "this token does not do what its profile claims; do not use it for this"
                }
                _ => "see to the HSM and its connection",
            };
            report.error(CHECK, with_source(&error), advice);
            None
        }
    }
}

/// The keys that everything else hangs on.
async fn own_objects(hsm: &Hsm, roots: &HsmRoots, report: &mut Report) -> bool {
    let system = hsm.load_key(roots.system_object, roots.system_canary.clone()).await;
    let audit = hsm.load_signing_key(roots.audit_object, roots.audit_public_key.clone()).await;
    let mut good = true;
    for (check, result) in [("token.system_key", system), ("token.audit_key", audit)] {
        match result {
            Ok(()) => report.ok(check, "it is the one it was, with the attributes it must have"),
            Err(error) => {
                good = false;
                report.error(check, error.to_string(), RESTORE);
            }
        }
    }
    good
}

/// Control state, authenticated, and compared with what is remembered outside the database.
async fn control_state(
    config: &Config,
    clock: Arc<dyn Clock>,
    store: &Store,
    hsm: &Hsm,
    roots: HsmRoots,
    report: &mut Report,
) -> Option<ControlState> {
    const STATE: &str = "database.control_state";
    const ANCHOR: &str = "anchor";
    let secrets = SystemSecrets::open(store, hsm, roots.system_object, roots.installation).await;
    let secrets = match secrets {
        Ok(secrets) => secrets,
        Err(error) => {
            report.error(STATE, error.to_string(), "restore a backup of the database");
            return None;
        }
    };
    let foundation = Foundation { store: store.clone(), hsm: hsm.clone(), roots, secrets };
    let node = NodeId::new(Ids.fresh(clock.now()));
    let mut compared = None;
    for _ in 0..TRIES {
        compared = match load(&foundation, config, &clock, node, true).await {
            Err(error @ (LoadError::Older { .. } | LoadError::LogShorter { .. })) => Some(error),
            Ok(state) => {
                anchored(config, report);
                report.ok(STATE, "every row and the whole history are authentic");
                return Some(state);
            }
            Err(error) => {
                compared = Some(error);
                break;
            }
        };
    }
    if let Some(error) = &compared
        && !matches!(error, LoadError::Altered { .. })
    {
        report.error(ANCHOR, error.to_string(), "restore what is newest; see `kms-server accept-database`");
    }
    match load(&foundation, config, &clock, node, false).await {
        Ok(state) => {
            report.ok(STATE, "every row and the whole history are authentic");
            Some(state)
        }
        Err(error) => {
            report.error(STATE, with_source(&error), "restore a backup of the database");
            None
        }
    }
}

fn anchored(config: &Config, report: &mut Report) {
    if config.anchor.file.exists() {
        report.ok("anchor", "neither the file nor the token remembers anything newer than the database");
    } else {
        let detail = "the file is not there; only the token remembers how new the database was";
        report.warning("anchor", detail, "the next change makes it; if it was there before, ask who removed it");
        report.of(config.anchor.file.display());
    }
}

async fn load(
    foundation: &Foundation,
    config: &Config,
    clock: &Arc<dyn Clock>,
    node: NodeId,
    compare: bool,
) -> Result<ControlState, LoadError> {
    let cell = Arc::new(OnceLock::new());
    let parts = foundation.cluster_parts(config, Arc::clone(clock), node, None, Box::new(|_, _| ()), cell);
    let parts = parts.map_err(|error| LoadError::Derive(crate::model::Error::internal(error)))?;
    let cluster: Cluster<Policies> =
        if compare { Cluster::load(parts).await? } else { Cluster::load_unremembered(parts).await? };
    Ok(cluster.snapshot().state.clone())
}

/// Every version's object, by attributes and canary.
async fn versions(hsm: &Hsm, state: &ControlState, report: &mut Report) {
    const CHECK: &str = "token.key_versions";
    let named: BTreeMap<ObjectId, (String, Canary)> = state
        .keys_after(None)
        .flat_map(|key| key.versions.iter().map(move |version| (key, version)))
        .filter(|(_, version)| version.state != VersionState::Destroyed)
        .map(|(key, version)| {
            (version.object, (format!("{} version {}", key.id, version.version), version.canary.clone()))
        })
        .collect();
    let asked = named.iter().map(|(object, (_, canary))| (*object, canary.clone())).collect();
    let loaded = match hsm.load_keys(asked).await {
        Ok(loaded) => loaded,
        Err(error) => {
            report.error(CHECK, error.to_string(), "see to the HSM and its connection");
            return;
        }
    };
    let mut good = 0_u32;
    for (object, result) in loaded {
        match result {
            Ok(()) => good += 1,
            Err(error) => {
                report.error(
                    CHECK,
                    error.to_string(),
                    format!("what this version wrapped cannot be opened: {RESTORE}"),
                );
                report.of(named.get(&object).map_or_else(|| object.to_string(), |(name, _)| name.clone()));
            }
        }
    }
    report.ok(CHECK, format!("{good} of {} are what they were, with the attributes they must have", named.len()));
}

/// What lies in the token and in the database's list of it.
async fn objects(
    hsm: &Hsm,
    store: &Store,
    roots: &HsmRoots,
    state: Option<&ControlState>,
    now: Timestamp,
    report: &mut Report,
) {
    let rows = match rows(store).await {
        Ok(rows) => rows,
        Err(error) => {
            report.error("objects.unfinished", error.to_string(), "see the findings about the database");
            return;
        }
    };
    unfinished(&rows, now, report);
    let held = match hsm.objects().await {
        Ok(held) => held,
        Err(error) => {
            report.error("objects.unknown", error.to_string(), "see to the HSM and its connection");
            return;
        }
    };
    let of_versions = state.into_iter().flat_map(|state| state.keys_after(None));
    let of_versions = of_versions.flat_map(|key| key.versions.iter().map(|version| version.object));
    let known: Vec<_> = rows.iter().map(|row| row.object).chain(of_versions).collect();
    let is_known = |object: &ObjectInfo| match object.id {
        Some(id) => id == roots.system_object || id == roots.audit_object || known.contains(&id),
        None => object.class == ObjectClass::Data && object.label == ANCHOR_LABEL,
    };
    let unknown: Vec<_> = held.iter().filter(|object| !is_known(object)).collect();
    if unknown.is_empty() {
        report.ok("objects.unknown", format!("all {} objects in the token are this installation's", held.len()));
    }
    for object in unknown {
        let detail = format!("a {:?} labelled `{}` that this installation did not make", object.class, object.label);
        let advice = "leave it if it is another's; the server never touches it";
        report.warning("objects.unknown", detail, advice);
        report.of(object.id.map_or_else(|| "without an id of ours".to_owned(), |id| id.to_string()));
    }
}

async fn rows(store: &Store) -> Result<Vec<HsmObject>, crate::store::Error> {
    let mut tx = store.read().await?;
    let mut rows = Vec::new();
    for state in [HsmObjectState::Creating, HsmObjectState::Live, HsmObjectState::Abandoned] {
        rows.extend(tx.objects_in(state).await?);
    }
    Ok(rows)
}

/// Objects that were to be made and of which nothing came.
fn unfinished(rows: &[HsmObject], now: Timestamp, report: &mut Report) {
    const CHECK: &str = "objects.unfinished";
    let old = now.checked_sub(MAKING_MINUTES.minutes()).unwrap_or(now);
    let before = report.findings().len();
    for row in rows {
        let (detail, advice) = match row.state {
            HsmObjectState::Creating if row.created_at < old => (
                format!("an object for {} version {} is in the making since {}", row.key, row.version, row.created_at),
                "the server takes it back at its next start",
            ),
            HsmObjectState::Abandoned => (
                format!(
                    "an object for {} version {} was given up when an older database was accepted",
                    row.key, row.version
                ),
                "it may be a key of the copy that was lost; destroy it by the HSM's own tools once you know",
            ),
            HsmObjectState::Creating | HsmObjectState::Live => continue,
        };
        report.warning(CHECK, detail, advice);
        report.of(row.object);
    }
    if report.findings().len() == before {
        report.ok(CHECK, "none");
    }
}

fn with_source(error: &(dyn std::error::Error + 'static)) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
