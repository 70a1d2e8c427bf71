//! The installation's own secrets: each with a label and version, wrapped by the system key in the HSM, unwrapped once at
//! the start.

use std::{collections::BTreeMap, fmt};

use hsm::{Hsm, Nonce, ObjectId, Secret};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::{
    model::Clock,
    store::{Store, SystemSecret},
};

const BYTES: usize = 32;
const FIRST_VERSION: u32 = 1;

/// What each secret is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SecretLabel {
    /// Authenticates control state.
    Rows,
    /// Digests encryption contexts.
    Contexts,
    /// Authenticates the cursors of lists.
    Cursors,
}

/// The installation's own secrets, in plain.
pub struct SystemSecrets(BTreeMap<SecretLabel, Zeroizing<Vec<u8>>>);

/// Why the installation's secrets cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// The HSM did not do its part.
    #[error("the HSM cannot unwrap the installation's secrets")]
    Hsm(#[from] hsm::Error),
    /// The database did not do its part.
    #[error(transparent)]
    Store(#[from] crate::store::Error),
    /// The database did not commit.
    #[error("the installation's secrets could not be kept")]
    Commit(#[from] crate::store::CommitError),
    /// A secret is not in the database, or not as it was put there.
    #[error("the installation's secret `{0}` is missing or damaged")]
    Missing(&'static str),
}

impl SecretLabel {
    /// Every label.
    pub const ALL: [Self; 3] = [Self::Rows, Self::Contexts, Self::Cursors];

    /// The label as it is stored.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rows => "rows",
            Self::Contexts => "contexts",
            Self::Cursors => "cursors",
        }
    }

    /// What is authenticated with the secret, so that none can stand for another or come from another installation.
    fn aad(self, installation: Uuid, version: u32) -> Vec<u8> {
        let mut aad = b"keyward/system-secret/v1\0".to_vec();
        aad.extend_from_slice(installation.as_bytes());
        aad.extend_from_slice(&version.to_be_bytes());
        aad.extend_from_slice(self.as_str().as_bytes());
        aad
    }
}

impl SystemSecrets {
    /// Makes the secrets that are not there yet and keeps them, wrapped.
    ///
    /// # Errors
    ///
    /// [`SecretsError`]; secrets kept before it stay.
    pub async fn make_missing(
        store: &Store,
        hsm: &Hsm,
        system_key: ObjectId,
        installation: Uuid,
        clock: &dyn Clock,
    ) -> Result<(), SecretsError> {
        let mut tx = store.begin().await?;
        let kept = tx.secrets().await?;
        for label in SecretLabel::ALL {
            if kept.iter().any(|secret| secret.label == label.as_str()) {
                continue;
            }
            let secret = hsm.random(BYTES).await?;
            let nonce = hsm.random(Nonce::LEN).await?;
            let Some(nonce) = nonce.as_bytes().first_chunk::<{ Nonce::LEN }>() else {
                return Err(SecretsError::Missing(label.as_str()));
            };
            let aad = label.aad(installation, FIRST_VERSION);
            let ciphertext = hsm.encrypt(system_key, Nonce::new(*nonce), aad, secret).await?;
            let wrapped = [nonce.as_slice(), &ciphertext].concat();
            let (label, created_at) = (label.as_str().to_owned(), clock.now());
            tx.insert_secret(&SystemSecret { label, version: FIRST_VERSION, wrapped, created_at }).await?;
        }
        Ok(tx.commit().await?)
    }

    /// Unwraps every secret.
    ///
    /// # Errors
    ///
    /// [`SecretsError`].
    pub async fn open(
        store: &Store,
        hsm: &Hsm,
        system_key: ObjectId,
        installation: Uuid,
    ) -> Result<Self, SecretsError> {
        let kept = store.read().await?.secrets().await?;
        let mut secrets = BTreeMap::new();
        for label in SecretLabel::ALL {
            let missing = || SecretsError::Missing(label.as_str());
            let newest =
                kept.iter().filter(|secret| secret.label == label.as_str()).max_by_key(|secret| secret.version);
            let newest = newest.ok_or_else(missing)?;
            let (nonce, ciphertext) = newest.wrapped.split_first_chunk::<{ Nonce::LEN }>().ok_or_else(missing)?;
            let aad = label.aad(installation, newest.version);
            let opened = hsm.decrypt(system_key, Nonce::new(*nonce), aad, ciphertext.to_vec()).await;
            let secret = match opened {
                Err(hsm::Error::Authentication) => return Err(missing()),
                other => other.map(Secret::into_zeroizing)?,
            };
            secrets.insert(label, secret);
        }
        Ok(Self(secrets))
    }

    /// The secret of this label.
    ///
    /// # Errors
    ///
    /// [`SecretsError::Missing`], which [`SystemSecrets::open`] would have said before.
    pub fn secret(&self, label: SecretLabel) -> Result<&Zeroizing<Vec<u8>>, SecretsError> {
        self.0.get(&label).ok_or(SecretsError::Missing(label.as_str()))
    }
}

impl fmt::Debug for SystemSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SystemSecrets(..)")
    }
}
