//! What is written in one commit: entries of one or more records, encoded, hashed into the chain, and the head that the node
//! signs. Pure computation; nothing here waits.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use jiff::Timestamp;
use kms_client::{
    format::{
        chain::{ChainHash, NodeKey, Signature, SignedHead, head_message, leaf_hash},
        record::RecordTooLong,
    },
    id::{ChangeId, NodeId, RecordId},
};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{ChainHead, Draft, Error};
use crate::store::AuditRow;

/// Records that are written together or not at all, and whoever waits for them.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) rows: Vec<AuditRow>,
    /// The change whose intent this is.
    pub(super) intent: Option<ChangeId>,
    pub(super) done: Option<oneshot::Sender<Result<Vec<RecordId>, Error>>>,
    #[expect(dead_code, reason = "holds room in the queue until the entry is done with")]
    room: Option<OwnedSemaphorePermit>,
}

/// The node's chain as far as it is durable, and the key that signs it.
pub(super) struct Chain {
    pub(super) number: u64,
    pub(super) head: ChainHead,
    key: Ed25519KeyPair,
}

impl Entry {
    pub(super) fn new(drafts: Vec<Draft>, intent: Option<ChangeId>, room: Option<OwnedSemaphorePermit>) -> Self {
        let unplaced = |draft: Draft| AuditRow {
            record: draft.into_record(0, NodeId::from_bytes([0; 16]), 0),
            leaf: Vec::new(),
            head_signature: None,
        };
        Self { rows: drafts.into_iter().map(unplaced).collect(), intent, done: None, room }
    }

    /// Tells whoever waits that the records are durable.
    pub(super) fn release(self) {
        if let Some(done) = self.done {
            // Nobody may be waiting any more; the records stand all the same.
            let _unheard = done.send(Ok(self.rows.iter().map(|row| row.record.id()).collect()));
        }
    }

    /// Tells whoever waits that the records may not be taken as written.
    pub(super) fn fail(&mut self, error: Error) {
        if let Some(done) = self.done.take() {
            let _unheard = done.send(Err(error));
        }
    }

    /// Whether this is the change's intent, which is gone; whoever waits is told so.
    pub(super) fn fail_without_intent(&mut self, change: ChangeId) -> bool {
        let gone = self.intent == Some(change);
        if gone {
            self.fail(Error::NoIntent(change));
        }
        gone
    }

    /// Gives the records their time, their places after `sequence`, and their bytes. Answers the last place and the hash.
    fn place(
        &mut self,
        node: NodeId,
        time_micros: i64,
        (mut sequence, mut hash): (Option<u64>, ChainHash),
    ) -> Result<(Option<u64>, ChainHash), RecordTooLong> {
        for row in &mut self.rows {
            let place = sequence.map_or(0, |sequence| sequence.saturating_add(1));
            row.record.time_micros = time_micros;
            row.record.node = node;
            row.record.sequence = place;
            row.leaf = row.record.encode()?;
            row.head_signature = None;
            hash = hash.extend(leaf_hash(&row.leaf));
            sequence = Some(place);
        }
        Ok((sequence, hash))
    }
}

impl Chain {
    /// A chain that is about to begin; its number and head are known after its first commit.
    pub(super) fn new(node: NodeId, genesis: ChainHash, key: Ed25519KeyPair) -> Self {
        Self { number: 0, head: ChainHead { node, sequence: 0, hash: genesis }, key }
    }

    /// What verifies this chain's heads.
    pub(super) fn public_key(&self) -> Result<NodeKey, Error> {
        self.key.public_key().as_ref().try_into().map(NodeKey::from_bytes).map_err(|_| Error::NodeKey)
    }

    /// The first entry of the chain, placed from 0 on.
    pub(super) fn begin(&self, entry: &mut Entry, now: Timestamp) -> Result<SignedHead, Error> {
        let (_, hash) = entry.place(self.head.node, now.as_microsecond(), (None, self.head.hash))?;
        self.sign(entry, hash)
    }

    /// Places the entries behind the chain's head and signs the last. Entries that break a limit of the format are told so
    /// and taken out. `None` if none is left.
    pub(super) fn extend(&self, entries: &mut Vec<Entry>, now: Timestamp) -> Result<Option<SignedHead>, Error> {
        let mut end = (Some(self.head.sequence), self.head.hash);
        entries.retain_mut(|entry| match entry.place(self.head.node, now.as_microsecond(), end) {
            Ok(placed) => {
                end = placed;
                true
            }
            Err(error) => {
                entry.fail(error.into());
                false
            }
        });
        entries.last_mut().map(|entry| self.sign(entry, end.1)).transpose()
    }

    fn sign(&self, entry: &mut Entry, hash: ChainHash) -> Result<SignedHead, Error> {
        let row = entry.rows.last_mut().ok_or(Error::Unavailable)?;
        let sequence = row.record.sequence;
        let signature = self.key.sign(&head_message(self.head.node, sequence, hash));
        let signature = signature.as_ref().try_into().map(Signature::from_bytes).map_err(|_| Error::NodeKey)?;
        row.head_signature = Some(signature);
        Ok(SignedHead { sequence, hash, signature })
    }
}

impl std::fmt::Debug for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chain").field("number", &self.number).field("head", &self.head).finish_non_exhaustive()
    }
}
