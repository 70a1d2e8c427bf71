//! What is remembered outside the database, so that an older copy of it is noticed: the newest revision and the head of
//! the audit log, in a file on another path and in a data object in the token.

use std::{
    fmt, fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use hsm::Hsm;
use kms_client::{format::chain::ChainHash, id::NodeId};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::{
    LoadError,
    authentication::{RowKey, same},
};
use crate::{model::Revision, store::Tx};

/// What the anchor is called in the token.
pub const TOKEN_LABEL: &str = "keyward-anchor";
/// After how many revisions the token's copy is renewed even if no key was made.
const TOKEN_EVERY: u64 = 64;
/// How long a change waits for the token to remember it.
const TOKEN_PATIENCE: Duration = Duration::from_secs(1);

/// The head of the audit log of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditHead {
    /// The node.
    pub node: NodeId,
    /// Its newest record.
    pub sequence: u64,
    /// The hash of its chain there.
    pub hash: ChainHash,
}

/// What is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// The newest revision.
    pub revision: Revision,
    /// The hash of its entry in the history, in hexadecimal.
    pub hash: String,
    /// The head of the audit log.
    pub audit: Option<AuditHead>,
}

/// A file outside the database's folder.
#[derive(Debug, Clone)]
pub struct AnchorFile(pub PathBuf);

/// A data object in the token.
#[derive(Debug, Clone)]
pub struct AnchorToken(pub Hsm);

/// Everything that remembers.
pub struct Anchor {
    /// The file.
    pub file: AnchorFile,
    /// The object in the token.
    pub token: AnchorToken,
    /// Where the audit log ends now.
    pub audit_head: Box<dyn Fn() -> Option<AuditHead> + Send + Sync>,
    /// The revision that the token remembers.
    pub in_token: AtomicU64,
    /// The revision that the file remembers, if this process wrote it. Held while it is written.
    in_file: Mutex<Revision>,
}

#[derive(Serialize, Deserialize)]
struct Authenticated {
    remembered: Remembered,
    mac: String,
}

impl Anchor {
    /// An anchor in both places.
    #[must_use]
    pub fn new(
        file: AnchorFile,
        token: AnchorToken,
        audit_head: Box<dyn Fn() -> Option<AuditHead> + Send + Sync>,
    ) -> Self {
        Self { file, token, audit_head, in_token: AtomicU64::new(0), in_file: Mutex::default() }
    }

    /// The newest revision that either place remembers.
    ///
    /// # Errors
    ///
    /// [`LoadError::Anchor`] if one cannot be read or is not authentic.
    pub async fn newest(&self, key: &RowKey) -> Result<Revision, LoadError> {
        let remembered = [self.file.read(key)?, self.token.read(key).await?];
        Ok(remembered.into_iter().flatten().map(|remembered| remembered.revision).max().unwrap_or_default())
    }

    pub(super) async fn compare(&self, tx: &mut Tx<'_>, key: &RowKey, newest: Revision) -> Result<(), LoadError> {
        match self.file.read(key)? {
            Some(remembered) => check(tx, newest, &remembered, "anchor file").await?,
            None if newest > Revision(0) => {
                tracing::warn!(path = %self.file.0.display(), "there is no anchor file; only the token remembers the newest revision");
            }
            None => {}
        }
        if let Some(remembered) = self.token.read(key).await? {
            check(tx, newest, &remembered, "token").await?;
            self.in_token.store(remembered.revision.0, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Remembers in the file, and now and then in the token.
    pub(super) async fn remember(&self, key: &RowKey, revision: Revision, hash: [u8; 32]) -> Result<(), LoadError> {
        self.remember_in_file(key, revision, hash).await?;
        if revision.0.saturating_sub(self.in_token.load(Ordering::Relaxed)) >= TOKEN_EVERY {
            self.renew_in_token(key, revision, hash).await;
        }
        Ok(())
    }

    /// Remembers in the file.
    pub(super) async fn remember_in_file(
        &self,
        key: &RowKey,
        revision: Revision,
        hash: [u8; 32],
    ) -> Result<(), LoadError> {
        let mut in_file = self.in_file.lock().await;
        if *in_file >= revision {
            return Ok(()); // A newer change was quicker.
        }
        let text = self.text(key, revision, hash)?;
        let file = self.file.clone();
        tokio::task::spawn_blocking(move || file.write(text.as_bytes()))
            .await
            .map_err(|error| LoadError::Anchor(error.to_string()))?
            .map_err(|error| LoadError::Anchor(format!("the anchor file cannot be written: {error}")))?;
        *in_file = revision;
        Ok(())
    }

    /// Renews the token's copy if the HSM lets it. A cut must not wait for an HSM that is in trouble, nor fail for it: the
    /// file remembers already, and the next change tries again.
    async fn renew_in_token(&self, key: &RowKey, revision: Revision, hash: [u8; 32]) {
        if !self.token.0.status().is_up() {
            return;
        }
        let renewed = tokio::time::timeout(TOKEN_PATIENCE, self.remember_in_token(key, revision, hash)).await;
        if !matches!(renewed, Ok(Ok(()))) {
            tracing::warn!(%revision, "the token does not remember the newest revision; the anchor file does");
        }
    }

    /// Remembers in the token.
    pub(super) async fn remember_in_token(
        &self,
        key: &RowKey,
        revision: Revision,
        hash: [u8; 32],
    ) -> Result<(), LoadError> {
        let text = self.text(key, revision, hash)?;
        let written = self.token.0.write_data(TOKEN_LABEL, text.into_bytes()).await;
        written
            .map_err(|error| LoadError::Anchor(format!("the token cannot remember the newest revision: {error}")))?;
        self.in_token.store(revision.0, Ordering::Relaxed);
        Ok(())
    }

    fn text(&self, key: &RowKey, revision: Revision, hash: [u8; 32]) -> Result<String, LoadError> {
        authenticate(key, Remembered { revision, hash: hex::encode(hash), audit: (self.audit_head)() })
    }
}

impl AnchorFile {
    fn read(&self, key: &RowKey) -> Result<Option<Remembered>, LoadError> {
        match fs::read(&self.0) {
            Ok(text) => authentic(key, &text, "anchor file").map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => {
                Err(LoadError::Anchor(format!("the anchor file `{}` cannot be read: {error}", self.0.display())))
            }
        }
    }

    /// The old file or the new one, whole, whatever happens; and on the disk when this returns.
    fn write(&self, text: &[u8]) -> io::Result<()> {
        let folder = self.0.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let new = self.0.with_extension("new");
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(text)?;
        file.sync_all()?;
        fs::rename(&new, &self.0)?;
        fs::File::open(folder)?.sync_all()
    }
}

impl AnchorToken {
    async fn read(&self, key: &RowKey) -> Result<Option<Remembered>, LoadError> {
        let data = self.0.read_data(TOKEN_LABEL).await;
        let data = data.map_err(|error| LoadError::Anchor(format!("the token's anchor cannot be read: {error}")))?;
        data.map(|text| authentic(key, &text, "token's anchor")).transpose()
    }
}

pub(super) fn authenticate(key: &RowKey, remembered: Remembered) -> Result<String, LoadError> {
    let mac = hex::encode(key.anchor(&bytes(&remembered)?));
    serde_json::to_string(&Authenticated { remembered, mac }).map_err(|error| LoadError::Anchor(error.to_string()))
}

pub(super) fn authentic(key: &RowKey, text: &[u8], place: &'static str) -> Result<Remembered, LoadError> {
    let altered = || LoadError::Anchor(format!("the {place} is not what a node of this installation wrote"));
    let read: Authenticated = serde_json::from_slice(text).map_err(|_| altered())?;
    let mut mac = [0; 32];
    hex::decode_to_slice(&read.mac, &mut mac).map_err(|_| altered())?;
    if same(&key.anchor(&bytes(&read.remembered)?), &mac) { Ok(read.remembered) } else { Err(altered()) }
}

fn bytes(remembered: &Remembered) -> Result<Vec<u8>, LoadError> {
    serde_json::to_vec(remembered).map_err(|error| LoadError::Anchor(error.to_string()))
}

async fn check(
    tx: &mut Tx<'_>,
    newest: Revision,
    remembered: &Remembered,
    place: &'static str,
) -> Result<(), LoadError> {
    let older = |forked| LoadError::Older { database: newest, remembered: remembered.revision, place, forked };
    if remembered.revision > newest {
        return Err(older(false));
    }
    if remembered.revision > Revision(0) {
        let entry = tx.change_at(remembered.revision).await?;
        if entry.is_none_or(|entry| hex::encode(entry.hash) != remembered.hash) {
            return Err(older(true));
        }
    }
    if let Some(audit) = remembered.audit {
        let chain = tx.chain(audit.node).await?;
        let reaches = chain.is_some_and(|stored| {
            let head = &stored.chain.head;
            head.sequence > audit.sequence || (head.sequence == audit.sequence && head.hash == audit.hash)
        });
        if !reaches {
            return Err(LoadError::LogShorter { place });
        }
    }
    Ok(())
}

impl fmt::Debug for Anchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Anchor").field("file", &self.file).finish_non_exhaustive()
    }
}
