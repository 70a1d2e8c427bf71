//! Verification of every chain in a database, trusting only the public half of the HSM's audit key. It looks at what the
//! chains say, at what searches go by, and at how the chains hang together; it changes nothing.
//!
//! What it cannot see is that the newest records and their head were cut off together: that is for whoever remembers a head
//! outside the database.

use std::collections::HashSet;

use hsm::{PublicKey, SignatureAlgorithm};
use kms_client::{
    format::{
        chain::{
            AuditKey, BrokenChain, ChainHash, ChainVerifier, NodeAnnouncement, NodeKey, P256Point, Predecessor,
            SignedHead,
        },
        record::Record,
    },
    id::NodeId,
};

use crate::{
    model::Revision,
    store::{self, AuditChain, StoredLeaf, Tx},
};

/// What was found.
#[derive(Debug)]
pub struct Report {
    /// Every chain, in the order in which they began.
    pub chains: Vec<ChainReport>,
    /// Control changes that left neither a record nor an intent; the first hundred.
    pub unrecorded_changes: Vec<Revision>,
}

/// What was found of one chain.
#[derive(Debug)]
pub struct ChainReport {
    /// Whose chain it is.
    pub node: NodeId,
    /// How many records were read.
    pub records: u64,
    /// The hash after the last, if the chain is whole.
    pub head: Option<ChainHash>,
    /// Whether its node ended it in order.
    pub closed: bool,
    /// The first thing that is wrong.
    pub problem: Option<Problem>,
}

/// What is wrong with a chain.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The chain itself.
    #[error(transparent)]
    Broken(#[from] BrokenChain),
    /// Searches find a record by something else than it says.
    #[error("record {sequence} is indexed as something else than it says")]
    OtherIndex {
        /// The record.
        sequence: u64,
    },
    /// The chain's row does not say what its first record says.
    #[error("the chain's row does not agree with its first record")]
    OtherAnnouncement,
    /// The chain ends elsewhere than its row says.
    #[error("the chain ends at record {found}, and its row says {expected}")]
    OtherHead {
        /// By the row.
        expected: u64,
        /// By the records.
        found: u64,
    },
    /// The chain does not begin where an earlier one was.
    #[error("the chain does not follow an earlier one")]
    OtherPredecessor,
    /// The key to trust is not of a form that can be.
    #[error("the audit key is not a valid public key")]
    InvalidAuditKey,
}

impl Report {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        self.unrecorded_changes.is_empty() && self.chains.iter().all(|chain| chain.problem.is_none())
    }
}

/// Reads and checks every chain, in one moment's view of the database.
///
/// # Errors
///
/// That of the database. What is wrong with the chains stands in the report.
pub async fn verify_chains(tx: &mut Tx<'_>, audit_key: &PublicKey) -> Result<Report, store::Error> {
    let audit_key = trusted(audit_key);
    let mut chains = Vec::new();
    let stored_chains = tx.chains().await?;
    // Nodes run side by side, so a chain may begin while the one that it names goes on.
    let named: HashSet<Predecessor> = stored_chains.iter().filter_map(|stored| stored.chain.predecessor).collect();
    let mut passed: HashSet<Predecessor> = HashSet::new();
    for stored in stored_chains {
        let mut walk = Walk { named: &named, passed: &mut passed, records: 0, verifier: None };
        let walked = match &audit_key {
            Some(audit_key) => walk.chain(tx, audit_key, &stored).await?,
            None => Err(Problem::InvalidAuditKey),
        };
        let followed = walked
            .and_then(|head| if follows(&stored, walk.passed) { Ok(head) } else { Err(Problem::OtherPredecessor) });
        // Whatever is wrong with this chain, its successor is measured against where it is.
        walk.passed.insert(Predecessor { node: stored.chain.node, head: stored.chain.head.hash });
        let (head, problem) = match followed {
            Ok(head) => (Some(head), None),
            Err(problem) => (None, Some(problem)),
        };
        chains.push(ChainReport {
            node: stored.chain.node,
            records: walk.records,
            head,
            closed: stored.closed,
            problem,
        });
    }
    Ok(Report { chains, unrecorded_changes: tx.unrecorded_changes(100).await? })
}

/// How far one chain was read.
struct Walk<'v> {
    /// Where chains begin, as they say.
    named: &'v HashSet<Predecessor>,
    /// Which of those places were found in the chains read until now.
    passed: &'v mut HashSet<Predecessor>,
    records: u64,
    verifier: Option<ChainVerifier>,
}

impl Walk<'_> {
    async fn chain(
        &mut self,
        tx: &mut Tx<'_>,
        audit_key: &AuditKey,
        stored: &AuditChain,
    ) -> Result<Result<ChainHash, Problem>, store::Error> {
        loop {
            let leaves = tx.leaves(stored.number, self.records, PAGE).await?;
            if leaves.is_empty() {
                return Ok(self.finish(stored));
            }
            for leaf in leaves {
                if let Err(problem) = self.leaf(audit_key, stored, &leaf) {
                    return Ok(Err(problem));
                }
                self.records = self.records.saturating_add(1);
            }
        }
    }

    fn leaf(&mut self, audit_key: &AuditKey, stored: &AuditChain, leaf: &StoredLeaf) -> Result<(), Problem> {
        if leaf.sequence != self.records {
            return Err(BrokenChain::Gap { expected: self.records, found: leaf.sequence }.into());
        }
        let (verifier, record) = if let Some(verifier) = self.verifier.as_mut() {
            let record = verifier.record(&leaf.leaf)?;
            (verifier, record)
        } else {
            let (verifier, record) = ChainVerifier::start(audit_key, &leaf.leaf)?;
            if record.node != stored.chain.node {
                let expected = stored.chain.node;
                return Err(BrokenChain::OtherNode { sequence: 0, expected, found: record.node }.into());
            }
            check_announcement(&record, stored)?;
            (self.verifier.insert(verifier), record)
        };
        let place = Predecessor { node: stored.chain.node, head: verifier.hash() };
        if self.named.contains(&place) {
            self.passed.insert(place);
        }
        if !leaf.is_indexed_as(&record) {
            return Err(Problem::OtherIndex { sequence: leaf.sequence });
        }
        if let Some(signature) = leaf.head_signature {
            verifier.head(&SignedHead { sequence: leaf.sequence, hash: verifier.hash(), signature })?;
        }
        Ok(())
    }

    fn finish(&mut self, stored: &AuditChain) -> Result<ChainHash, Problem> {
        let verifier = self.verifier.take().ok_or(BrokenChain::Empty)?;
        let (head, found) = (stored.chain.head, self.records.saturating_sub(1));
        if head.sequence > found {
            return Err(BrokenChain::MissingRecords { sequence: head.sequence }.into());
        }
        if (head.sequence, head.hash) != (found, verifier.hash()) {
            return Err(Problem::OtherHead { expected: head.sequence, found });
        }
        Ok(verifier.finish()?.head)
    }
}

fn check_announcement(first: &Record, stored: &AuditChain) -> Result<(), Problem> {
    let announced: Option<NodeAnnouncement> =
        first.detail.as_deref().and_then(|detail| serde_json::from_str(detail).ok());
    let row = &stored.chain;
    match announced {
        Some(announced)
            if (announced.public_key, announced.predecessor, announced.signature)
                == (row.public_key, row.predecessor, row.certification) =>
        {
            Ok(())
        }
        Some(_) | None => Err(Problem::OtherAnnouncement),
    }
}

/// Whether the chain begins where an earlier one was; only the first of all follows none.
fn follows(stored: &AuditChain, passed: &HashSet<Predecessor>) -> bool {
    match &stored.chain.predecessor {
        None => stored.number == 1,
        Some(predecessor) => passed.contains(predecessor),
    }
}

fn trusted(key: &PublicKey) -> Option<AuditKey> {
    let bytes = key.bytes.as_slice();
    match key.algorithm {
        SignatureAlgorithm::Ed25519 => bytes.try_into().ok().map(NodeKey::from_bytes).map(AuditKey::Ed25519),
        SignatureAlgorithm::P256 => bytes.try_into().ok().map(P256Point::from_bytes).map(AuditKey::P256),
    }
}

/// How many records are read at once.
const PAGE: u32 = 1_000;
