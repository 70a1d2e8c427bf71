//! `kms-server dev`: a whole installation in one folder, for trying Keyward and for developing against it. Everything is
//! made on first use and listens on loopback only. It is not for data that matters: its authority's and issuer's private
//! keys lie beside it.

mod files;
mod identities;

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
};

use secrecy::{ExposeSecret as _, SecretString};

use self::{files::Folder, identities::Identities};
use crate::{
    config::{Config, ConfigError},
    host,
    model::Clock,
    serve::ServeError,
    store::Store,
};

/// What `kms-server dev` is asked for.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder of everything.
    pub data_dir: PathBuf,
    /// Whether to begin anew, losing what is there.
    pub fresh: bool,
    /// Where the API listens; loopback only.
    pub listen: SocketAddr,
    /// Where health and metrics listen; loopback only.
    pub operations: SocketAddr,
}

/// Why a development installation cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum DevError {
    #[error("`{0}` is not a loopback address; `kms-server dev` serves this machine only")]
    NotLoopback(IpAddr),
    #[error("`{}` is in use by another `kms-server dev`; stop that one first, or name another --data-dir", .0.display())]
    InUse(PathBuf),
    #[error("`{}`: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("no SoftHSM module was found; install the package `softhsm2`")]
    NoSoftHsm,
    #[error("`{}` does not look like a folder that `kms-server dev` made, so `--fresh` leaves it alone", .0.display())]
    Foreign(PathBuf),
    #[error("a certificate could not be made: {0}")]
    Certificate(#[from] rcgen::Error),
    #[error("a token could not be made: {0}")]
    Token(#[from] jsonwebtoken::errors::Error),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Serve(#[from] ServeError),
    #[error(transparent)]
    Hsm(#[from] hsm::Error),
    #[error(transparent)]
    Model(#[from] crate::model::Error),
    #[error(transparent)]
    Store(#[from] crate::store::Error),
}

/// A folder that is this process's alone, with SoftHSM's configuration in it.
#[derive(Debug)]
pub struct Prepared {
    /// SoftHSM's configuration, which it reads from the environment of a process that may have to be started anew.
    pub softhsm_conf: PathBuf,
    folder: Folder,
    /// Two servers on one folder would take each other's credentials away.
    #[expect(dead_code, reason = "held for life")]
    lock: fs::File,
}

/// A development installation that is ready to be served.
#[derive(Debug)]
pub struct Installation {
    /// Its configuration.
    pub config: Config,
    prepared: Prepared,
    identities: Identities,
}

impl Default for Options {
    fn default() -> Self {
        let loopback = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        Self { data_dir: "keyward-data".into(), fresh: false, listen: loopback(7443), operations: loopback(7444) }
    }
}

/// Makes the folder, and SoftHSM's configuration in it.
///
/// # Errors
///
/// [`DevError`].
pub fn prepare(options: &Options) -> Result<Prepared, DevError> {
    for address in [options.listen.ip(), options.operations.ip()] {
        if !address.is_loopback() {
            return Err(DevError::NotLoopback(address));
        }
    }
    let folder = Folder::new(&options.data_dir);
    let mut lock = folder.exists().then(|| folder.lock()).transpose()?;
    if options.fresh {
        folder.clear()?;
    }
    folder.make()?;
    let lock = lock.take().map_or_else(|| folder.lock(), Ok)?;
    let softhsm_conf = hsm::softhsm::write_config(folder.path())
        .map_err(|source| DevError::File { path: folder.path().to_owned(), source })?;
    Ok(Prepared { softhsm_conf, folder, lock })
}

impl Installation {
    /// Opens the installation in the folder, or makes it.
    ///
    /// # Errors
    ///
    /// [`DevError`].
    pub async fn open(options: &Options, prepared: Prepared, clock: Arc<dyn Clock>) -> Result<Self, DevError> {
        let folder = &prepared.folder;
        folder.remove("dev.env")?;
        let module = hsm::softhsm::find_module().ok_or(DevError::NoSoftHsm)?;
        let identities = Identities::open(folder, &*clock)?;
        let config = folder.write_config(options, &module, &prepared.softhsm_conf)?;
        make_token(folder, &config, &module)?;

        let store = Store::open(&config.database.database()?).await?;
        store.migrate().await?;
        let initialised = store.read().await?.head().await?.is_some();
        store.close().await;
        drop(store);
        if !initialised {
            let operations = identities.operations(&*clock)?;
            host::initialise(&config, clock, false, operations).await?;
        }
        Ok(Self { config, prepared, identities })
    }

    /// Writes `dev.env`: every address and credential, as shell variables. Its tokens are new and last a day.
    ///
    /// # Errors
    ///
    /// [`DevError`].
    pub fn announce(&self, api: SocketAddr, operations: SocketAddr, clock: &dyn Clock) -> Result<PathBuf, DevError> {
        let variables = self.identities.variables(&self.prepared.folder, api, operations, clock)?;
        let mut text = String::new();
        for (name, value) in variables {
            text.extend(["export ", name, "='", &value, "'\n"]);
        }
        self.prepared.folder.write_secret("dev.env", text.as_bytes())
    }
}

/// Makes the token and its PIN, unless they are there.
fn make_token(folder: &Folder, config: &Config, module: &Path) -> Result<(), DevError> {
    let pin_file = folder.join("pin");
    if !pin_file.exists() {
        folder.write_secret("pin", random_digits(16).expose_secret().as_bytes())?;
    }
    let pin = config.key_store.pin()?;
    // The security officer's PIN is used once and kept nowhere.
    match hsm::initialise_token(module, &config.key_store.token_label, &random_digits(16), &pin) {
        Ok(()) | Err(hsm::Error::TokenExists { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[expect(clippy::disallowed_methods, reason = "a random version 4 UUID is where the digits come from")]
fn random_digits(count: usize) -> SecretString {
    let digits: String = std::iter::repeat_with(uuid::Uuid::new_v4)
        .flat_map(|uuid| uuid.as_u128().to_string().chars().rev().take(16).collect::<Vec<_>>())
        .take(count)
        .collect();
    SecretString::from(digits)
}

pub(super) fn read(path: &Path) -> Result<String, DevError> {
    fs::read_to_string(path).map_err(|source| DevError::File { path: path.to_owned(), source })
}
