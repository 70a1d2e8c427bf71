//! Verification of one node's chain from its bytes alone, trusting only the audit key. It reports the first thing that is
//! wrong and where; it repairs nothing and skips nothing.

use super::{AuditKey, ChainHash, NodeAnnouncement, NodeKey, SignedHead, head_message, leaf_hash, node_key_message};
use crate::{
    format::record::{InvalidRecord, Record},
    id::NodeId,
};

/// What is wrong with a chain.
#[derive(Debug, thiserror::Error)]
pub enum BrokenChain {
    #[error("the chain has no records")]
    Empty,
    #[error("record {sequence} cannot be read")]
    Unreadable { sequence: u64, source: InvalidRecord },
    #[error("record {expected} is missing: {found} is in its place")]
    Gap { expected: u64, found: u64 },
    #[error("record {sequence} is of node `{found}`, not of `{expected}`")]
    OtherNode { sequence: u64, expected: NodeId, found: NodeId },
    #[error("the first record does not announce the node's key")]
    NoAnnouncement,
    #[error("the node's key is not signed by the audit key")]
    UntrustedNode,
    #[error("the signed head {sequence} is out of order: the chain is at record {at}")]
    HeadOutOfOrder { sequence: u64, at: u64 },
    #[error("the records up to {sequence} are not those that the node signed")]
    OtherRecords { sequence: u64 },
    #[error("the signature of head {sequence} is not the node's")]
    ForgedHead { sequence: u64 },
    #[error("no signed head covers the records from {from}")]
    Unsigned { from: u64 },
    #[error("the signed head {sequence} is beyond the last record")]
    MissingRecords { sequence: u64 },
}

/// What a chain was found to hold. Every one of its records is covered by a head that the node signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedChain {
    /// Whose chain it is.
    pub node: NodeId,
    /// What its first record says.
    pub announcement: NodeAnnouncement,
    /// How many records there are.
    pub records: u64,
    /// The hash after the last.
    pub head: ChainHash,
}

/// Checks a whole chain: the bytes of its records from the first on, and its signed heads, both in order.
///
/// # Errors
///
/// The first thing that is wrong.
pub fn verify_chain<L: AsRef<[u8]>>(
    audit_key: &AuditKey,
    leaves: impl IntoIterator<Item = L>,
    heads: impl IntoIterator<Item = SignedHead>,
) -> Result<VerifiedChain, BrokenChain> {
    let mut leaves = leaves.into_iter();
    let mut heads = heads.into_iter().peekable();
    let (mut chain, _) = ChainVerifier::start(audit_key, leaves.next().ok_or(BrokenChain::Empty)?.as_ref())?;
    loop {
        if let Some(head) = heads.next_if(|head| head.sequence <= chain.sequence) {
            chain.head(&head)?;
        } else if let Some(leaf) = leaves.next() {
            chain.record(leaf.as_ref())?;
        } else {
            break;
        }
    }
    match heads.next() {
        None => chain.finish(),
        Some(head) => Err(BrokenChain::MissingRecords { sequence: head.sequence }),
    }
}

/// A chain checked as far as it was read. For chains that do not fit in memory, or that still grow.
#[derive(Clone, Debug)]
pub struct ChainVerifier {
    node: NodeId,
    announcement: NodeAnnouncement,
    /// The last record read.
    sequence: u64,
    hash: ChainHash,
    /// The first record that no head covers yet.
    unsigned_from: u64,
}

impl ChainVerifier {
    /// Begins with a chain's first record, which announces the node's key.
    ///
    /// # Errors
    ///
    /// It does not, or the audit key did not sign it.
    pub fn start(audit_key: &AuditKey, first: &[u8]) -> Result<(Self, Record), BrokenChain> {
        let record = Record::decode(first).map_err(|source| BrokenChain::Unreadable { sequence: 0, source })?;
        if record.sequence != 0 {
            return Err(BrokenChain::Gap { expected: 0, found: record.sequence });
        }
        let announcement: NodeAnnouncement = record
            .detail
            .as_deref()
            .and_then(|detail| serde_json::from_str(detail).ok())
            .ok_or(BrokenChain::NoAnnouncement)?;
        let message = node_key_message(record.node, announcement.public_key);
        if !audit_key.verifies(&message, &announcement.signature) {
            return Err(BrokenChain::UntrustedNode);
        }
        let hash = ChainHash::genesis(record.node, announcement.predecessor).extend(leaf_hash(first));
        Ok((Self { node: record.node, announcement, sequence: 0, hash, unsigned_from: 0 }, record))
    }

    /// Takes the next record. What it says is proved only once a head covers it.
    ///
    /// # Errors
    ///
    /// It cannot be read, or another belongs in its place.
    pub fn record(&mut self, leaf: &[u8]) -> Result<Record, BrokenChain> {
        let expected = self.sequence.saturating_add(1);
        let record = Record::decode(leaf).map_err(|source| BrokenChain::Unreadable { sequence: expected, source })?;
        if record.node != self.node {
            return Err(BrokenChain::OtherNode { sequence: expected, expected: self.node, found: record.node });
        }
        if record.sequence != expected {
            return Err(BrokenChain::Gap { expected, found: record.sequence });
        }
        self.hash = self.hash.extend(leaf_hash(leaf));
        self.sequence = expected;
        Ok(record)
    }

    /// Takes the signed head that ends with the last record taken.
    ///
    /// # Errors
    ///
    /// It is for another place, over other records, or not signed by this node.
    pub fn head(&mut self, head: &SignedHead) -> Result<(), BrokenChain> {
        let SignedHead { sequence, hash, signature } = *head;
        if sequence != self.sequence || sequence < self.unsigned_from {
            return Err(BrokenChain::HeadOutOfOrder { sequence, at: self.sequence });
        }
        if !self.node_key().verifies(&head_message(self.node, sequence, hash), &signature) {
            return Err(BrokenChain::ForgedHead { sequence });
        }
        if hash != self.hash {
            return Err(BrokenChain::OtherRecords { sequence });
        }
        self.unsigned_from = sequence.saturating_add(1);
        Ok(())
    }

    /// The key that signs this chain's heads.
    #[must_use]
    pub const fn node_key(&self) -> NodeKey {
        self.announcement.public_key
    }

    /// The hash after the last record taken.
    #[must_use]
    pub const fn hash(&self) -> ChainHash {
        self.hash
    }

    /// Ends the chain with the last record taken.
    ///
    /// # Errors
    ///
    /// No signed head covers it.
    pub fn finish(self) -> Result<VerifiedChain, BrokenChain> {
        let records = self.sequence.saturating_add(1);
        if self.unsigned_from != records {
            return Err(BrokenChain::Unsigned { from: self.unsigned_from });
        }
        Ok(VerifiedChain { node: self.node, announcement: self.announcement, records, head: self.hash })
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::{
        rand::SystemRandom,
        signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _},
    };

    use super::{
        super::{P256Point, Predecessor, Signature},
        *,
    };

    const NODE: NodeId = NodeId::from_bytes([5; 16]);

    /// A node with the audit key beside it.
    struct Node {
        audit: Ed25519KeyPair,
        key: Ed25519KeyPair,
        predecessor: Option<Predecessor>,
    }

    fn public(pair: &Ed25519KeyPair) -> NodeKey {
        NodeKey::from_bytes(pair.public_key().as_ref().try_into().unwrap())
    }

    fn sign(pair: &Ed25519KeyPair, message: &[u8]) -> Signature {
        Signature::from_bytes(pair.sign(message).as_ref().try_into().unwrap())
    }

    impl Node {
        fn new(predecessor: Option<Predecessor>) -> Self {
            let pair = |seed| Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
            Self { audit: pair(1), key: pair(2), predecessor }
        }

        fn audit_key(&self) -> AuditKey {
            AuditKey::Ed25519(public(&self.audit))
        }

        fn announcement(&self) -> String {
            let public_key = public(&self.key);
            let signature = sign(&self.audit, &node_key_message(NODE, public_key));
            serde_json::to_string(&NodeAnnouncement { public_key, predecessor: self.predecessor, signature }).unwrap()
        }

        fn leaves(&self, count: u64) -> Vec<Vec<u8>> {
            let detail = |sequence| (sequence == 0).then(|| self.announcement());
            (0..count).map(|sequence| record(NODE, sequence, detail(sequence)).encode().unwrap()).collect()
        }

        fn heads(&self, leaves: &[Vec<u8>], ends: &[u64]) -> Vec<SignedHead> {
            let mut hash = ChainHash::genesis(NODE, self.predecessor);
            let mut heads = Vec::new();
            for (sequence, leaf) in (0..).zip(leaves) {
                hash = hash.extend(leaf_hash(leaf));
                if ends.contains(&sequence) {
                    let signature = sign(&self.key, &head_message(NODE, sequence, hash));
                    heads.push(SignedHead { sequence, hash, signature });
                }
            }
            heads
        }
    }

    fn record(node: NodeId, sequence: u64, detail: Option<String>) -> Record {
        let json = include_str!("../../../tests/vectors/record.json");
        let vectors: serde_json::Value = serde_json::from_str(json).unwrap();
        let plain: Record = serde_json::from_value(vectors["valid"][0]["record"].clone()).unwrap();
        Record { node, sequence, detail, ..plain }
    }

    #[test]
    fn a_whole_chain_is_verified() {
        let head = ChainHash::from_bytes([4; 32]);
        for predecessor in [None, Some(Predecessor { node: NodeId::from_bytes([6; 16]), head })] {
            let node = Node::new(predecessor);
            let leaves = node.leaves(6);
            let heads = node.heads(&leaves, &[0, 3, 5]);
            let verified = verify_chain(&node.audit_key(), &leaves, heads.clone()).unwrap();
            assert_eq!((verified.node, verified.records, verified.head), (NODE, 6, heads[2].hash));
            assert_eq!(verified.announcement.predecessor, predecessor);
        }
    }

    #[test]
    fn any_change_of_records_is_found() {
        let node = Node::new(None);
        let leaves = node.leaves(6);
        let heads = node.heads(&leaves, &[0, 3, 5]);
        let verify = |leaves: &[Vec<u8>]| verify_chain(&node.audit_key(), leaves, heads.clone()).unwrap_err();

        let mut edited = leaves.clone();
        edited[2] = Record { count: 2, ..Record::decode(&leaves[2]).unwrap() }.encode().unwrap();
        assert!(matches!(verify(&edited), BrokenChain::OtherRecords { sequence: 3 }));

        let mut gap = leaves.clone();
        gap.remove(2);
        assert!(matches!(verify(&gap), BrokenChain::Gap { expected: 2, found: 3 }));

        let mut swapped = leaves.clone();
        swapped.swap(1, 2);
        assert!(matches!(verify(&swapped), BrokenChain::Gap { expected: 1, found: 2 }));

        let mut foreign = leaves.clone();
        foreign[4] = record(NodeId::from_bytes([9; 16]), 4, None).encode().unwrap();
        assert!(matches!(verify(&foreign), BrokenChain::OtherNode { sequence: 4, .. }));

        let mut unreadable = leaves.clone();
        unreadable[4].push(0);
        assert!(matches!(verify(&unreadable), BrokenChain::Unreadable { sequence: 4, .. }));

        assert!(matches!(verify(&leaves[..5]), BrokenChain::MissingRecords { sequence: 5 }));
        assert!(matches!(verify(&leaves[1..]), BrokenChain::Gap { expected: 0, found: 1 }));
        assert!(matches!(verify(&[]), BrokenChain::Empty));
    }

    #[test]
    fn heads_must_be_the_nodes_own_and_cover_everything() {
        let node = Node::new(None);
        let leaves = node.leaves(6);
        let verify = |heads| verify_chain(&node.audit_key(), &leaves, heads).unwrap_err();

        assert!(matches!(verify(vec![]), BrokenChain::Unsigned { from: 0 }));
        assert!(matches!(verify(node.heads(&leaves, &[0, 3])), BrokenChain::Unsigned { from: 4 }));

        let mut forged = node.heads(&leaves, &[3, 5]);
        forged[1].signature = forged[0].signature;
        assert!(matches!(verify(forged), BrokenChain::ForgedHead { sequence: 5 }));

        let mut twice = node.heads(&leaves, &[3, 5]);
        twice.insert(1, twice[0]);
        assert!(matches!(verify(twice), BrokenChain::HeadOutOfOrder { sequence: 3, at: 3 }));

        let mut reversed = node.heads(&leaves, &[3, 5]);
        reversed.reverse();
        assert!(matches!(verify(reversed), BrokenChain::HeadOutOfOrder { sequence: 3, at: 5 }));
    }

    #[test]
    fn only_the_audit_key_vouches_for_a_node() {
        let node = Node::new(None);
        let leaves = node.leaves(1);
        let heads = node.heads(&leaves, &[0]);
        let other = AuditKey::Ed25519(public(&node.key));
        assert!(matches!(verify_chain(&other, &leaves, heads.clone()), Err(BrokenChain::UntrustedNode)));
        let silent = [record(NODE, 0, None).encode().unwrap()];
        assert!(matches!(verify_chain(&node.audit_key(), silent, heads), Err(BrokenChain::NoAnnouncement)));
    }

    #[test]
    fn the_audit_key_may_be_on_p256() {
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let key = AuditKey::P256(P256Point::from_bytes(pair.public_key().as_ref().try_into().unwrap()));
        let signature = Signature::from_bytes(pair.sign(&random, b"message").unwrap().as_ref().try_into().unwrap());
        assert!(key.verifies(b"message", &signature));
        assert!(!key.verifies(b"another", &signature));
        assert_eq!(serde_json::from_str::<AuditKey>(&serde_json::to_string(&key).unwrap()).unwrap(), key);
    }
}
