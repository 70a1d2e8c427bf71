//! `[key_store]`: the PKCS#11 token that holds the keys. Its PIN comes from a file or a systemd credential, never from
//! the command line.

use std::{
    env,
    num::NonZeroU32,
    path::{Path, PathBuf},
    time::Duration,
};

use hsm::{ProfileName, Settings, Uptime};
use secrecy::SecretString;
use serde::Deserialize;

use super::{ConfigError, read};
use crate::model::{InvalidName, Name};

/// The token.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyStoreSection {
    /// What keys call it.
    #[serde(default = "default_name")]
    pub name: String,
    /// The PKCS#11 module, a shared library.
    pub module: PathBuf,
    /// The token's label.
    pub token_label: String,
    /// A file that holds the user's PIN.
    pub pin_file: Option<PathBuf>,
    /// A systemd credential that holds the user's PIN (systemd.exec(5), `LoadCredential=`).
    pub pin_credential: Option<String>,
    /// What differs between vendors.
    #[serde(default = "default_profile")]
    pub profile: ProfileName,
    /// SoftHSM only: its configuration file. The server starts itself anew with `SOFTHSM2_CONF` set to it.
    pub softhsm_conf: Option<PathBuf>,
    /// The user's PIN as somebody gave it by hand, in place of the above.
    #[serde(skip)]
    pub given_pin: Option<SecretString>,
    /// Requests that may wait for the token.
    #[serde(default = "default_queue")]
    pub queue: usize,
    /// Wraps that this node reserves at once under a version: what it has not used when it stops is lost.
    #[serde(default = "default_wrap_block")]
    pub wrap_block: NonZeroU32,
    /// How long a call to the token may last before those who wait for it are told that it does not answer.
    #[serde(default = "default_call_timeout")]
    pub call_timeout_seconds: u64,
    /// How long a call may last before the server leaves, since it cannot be cancelled.
    #[serde(default = "default_stuck_limit")]
    pub stuck_limit_seconds: u64,
}

impl KeyStoreSection {
    /// How the token is opened.
    ///
    /// # Errors
    ///
    /// [`ConfigError`].
    pub fn settings(&self) -> Result<Settings, ConfigError> {
        Ok(Settings {
            module: self.module.clone(),
            token_label: self.token_label.clone(),
            pin: self.pin()?,
            profile: self.profile,
            queue: self.queue,
            call_timeout: Duration::from_secs(self.call_timeout_seconds),
            stuck_limit: Duration::from_secs(self.stuck_limit_seconds),
            uptime: Uptime::default(),
        })
    }

    /// The user's PIN.
    ///
    /// # Errors
    ///
    /// [`ConfigError`].
    pub fn pin(&self) -> Result<SecretString, ConfigError> {
        if let Some(pin) = &self.given_pin {
            return Ok(pin.clone());
        }
        let section = |detail: &str| ConfigError::Section { section: "key_store", detail: detail.to_owned() };
        let path = match (&self.pin_file, &self.pin_credential) {
            (Some(file), None) => file.clone(),
            (None, Some(name)) => {
                let folder = env::var_os("CREDENTIALS_DIRECTORY").ok_or_else(|| {
                    section("`pin_credential` needs systemd's $CREDENTIALS_DIRECTORY, which is not set")
                })?;
                Path::new(&folder).join(name)
            }
            (None, None) | (Some(_), Some(_)) => return Err(section("name one of `pin_file` and `pin_credential`")),
        };
        let pin = read(&path)?;
        let pin = pin.trim_end_matches(['\r', '\n']);
        if pin.is_empty() { Err(section("the PIN is empty")) } else { Ok(SecretString::from(pin.to_owned())) }
    }

    /// What keys call the key store.
    ///
    /// # Errors
    ///
    /// [`InvalidName`].
    pub fn name(&self) -> Result<Name, InvalidName> {
        self.name.parse()
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if self.call_timeout_seconds == 0 || self.stuck_limit_seconds < self.call_timeout_seconds {
            return Err(ConfigError::Section {
                section: "key_store",
                detail: "`call_timeout_seconds` is at least 1, and `stuck_limit_seconds` at least as much".to_owned(),
            });
        }
        Ok(())
    }

    pub(super) fn resolve(&mut self, folder: &Path) {
        for path in [&mut self.pin_file, &mut self.softhsm_conf].into_iter().flatten() {
            *path = folder.join(&*path);
        }
    }
}

fn default_name() -> String {
    "default".to_owned()
}

const fn default_profile() -> ProfileName {
    ProfileName::Softhsm
}

const fn default_queue() -> usize {
    1024
}

fn default_wrap_block() -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(4_095)
}

const fn default_call_timeout() -> u64 {
    5
}

const fn default_stuck_limit() -> u64 {
    30
}
