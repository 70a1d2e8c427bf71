//! The beginning of a node's chain: a key made in memory, certified by the HSM's audit key, announced in the first record;
//! then the records that nodes before this one owed.

use std::sync::{Arc, Mutex};

use aws_lc_rs::signature::Ed25519KeyPair;
use hsm::{Hsm, ObjectId, PublicKey};
use kms_client::{
    format::chain::{ChainHash, NodeAnnouncement, Predecessor, Signature, node_key_message},
    id::{NodeId, RequestId},
};
use tokio::sync::{Semaphore, mpsc, watch};

use super::{
    Audit, Draft, Error, NODE_START, ROOM, Shared, State,
    batch::{Chain, Entry},
    notes::Notes,
    writer::Writer,
};
use crate::{
    model::{Clock, Ids, Region},
    store::{self, NewAuditChain, Store},
    supervisor::Supervisor,
};

impl Audit {
    /// Begins this node's chain and chains every intent that a node before it left. The audit key must be loaded.
    ///
    /// # Errors
    ///
    /// [`Error::Hsm`], [`Error::OtherAuditKey`], [`Error::NodeKey`], [`Error::Store`], [`Error::Commit`],
    /// [`Error::DamagedIntent`], [`Error::Unavailable`]. Nothing runs then; a next try needs a new node id.
    pub async fn start(
        store: &Store,
        hsm: &Hsm,
        audit_key: (ObjectId, PublicKey),
        node: NodeId,
        region: &Region,
        clock: Arc<dyn Clock>,
        supervisor: &Supervisor,
    ) -> Result<Self, Error> {
        let mut connection = store.writer();
        let region = region.to_string();
        let mut tries = 0;
        let chain = loop {
            tries += 1;
            match begin(&mut connection, hsm, &audit_key, node, &region, &*clock).await {
                // Another node began its chain at the same time.
                Err(Error::Store(store::Error::AlreadyExists(_))) if tries < TRIES => {}
                begun => break begun?,
            }
        };

        let ((sender, queue), (urgent_sender, urgent)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
        let shared = Arc::new(Shared {
            room: Arc::new(Semaphore::new(ROOM)),
            head: Mutex::new(chain.head),
            notes: Notes::default(),
            clock,
            state: watch::Sender::new(State::Running),
        });
        let mut writer = Writer {
            chain,
            connection,
            queue,
            urgent,
            shared: Arc::clone(&shared),
            region,
            in_doubt: Vec::new(),
            owed: Vec::new(),
        };
        chain_intents(store, &mut writer).await?;
        supervisor.run("audit writer", writer.run(supervisor.clone()));
        Ok(Self { queue: sender, urgent: urgent_sender, shared })
    }
}

/// Commits the chain's row and first record.
async fn begin(
    connection: &mut store::Writer,
    hsm: &Hsm,
    (audit_key, audit_public_key): &(ObjectId, PublicKey),
    node: NodeId,
    region: &str,
    clock: &dyn Clock,
) -> Result<Chain, Error> {
    let now = clock.now();
    let key = Ed25519KeyPair::generate().map_err(|_| Error::NodeKey)?;
    let mut tx = connection.begin().await?;
    let predecessor = tx.newest_chain().await?.map(|older| older.chain);
    let predecessor = predecessor.map(|older| Predecessor { node: older.node, head: older.head.hash });
    let revision = tx.head().await?.map_or(0, |head| head.revision.0);

    let mut chain = Chain::new(node, ChainHash::genesis(node, predecessor), key);
    let public_key = chain.public_key()?;
    let message = node_key_message(node, public_key);
    let signature = hsm.sign(*audit_key, message.clone()).await?;
    if !audit_public_key.verifies(&message, &signature) {
        return Err(Error::OtherAuditKey);
    }
    let signature = signature.try_into().map(Signature::from_bytes).map_err(|_| Error::OtherAuditKey)?;

    let mut draft = Draft::system(RequestId::new(Ids.fresh(now)), NODE_START, region, revision);
    let announcement = NodeAnnouncement { public_key, predecessor, signature };
    draft.detail = Some(serde_json::to_string(&announcement).map_err(|_| Error::NodeKey)?);
    let mut first = Entry::new(vec![draft], None, None);
    let head = chain.begin(&mut first, now)?;

    let row = NewAuditChain { node, predecessor, public_key, certification: signature, head };
    chain.number = tx.insert_chain(&row).await?;
    tx.append_records(chain.number, &first.rows.iter().collect::<Vec<_>>()).await?;
    tx.commit().await?;
    chain.head.sequence = head.sequence;
    chain.head.hash = head.hash;
    Ok(chain)
}

/// Chains the intents that nodes left which are members no longer.
async fn chain_intents(store: &Store, writer: &mut Writer) -> Result<(), Error> {
    loop {
        let mut tx = store.read().await?;
        let intents = tx.orphaned_intents(INTENTS).await?;
        tx.rollback().await?;
        if intents.is_empty() {
            return Ok(());
        }
        let mut entries = Vec::with_capacity(intents.len());
        for intent in intents {
            let draft = Draft::from_intent(&intent.record)
                .map_err(|source| Error::DamagedIntent { change: intent.change, source })?;
            entries.push(Entry::new(vec![draft], Some(intent.change), None));
        }
        writer.write_all(&mut entries).await.map_err(|_| Error::Stopped)?;
        if !writer.owed.is_empty() {
            return Err(Error::Unavailable);
        }
    }
}

/// How often a chain is begun while others begin too.
const TRIES: u32 = 16;
/// How many intents are read at once.
const INTENTS: u32 = 1_000;
