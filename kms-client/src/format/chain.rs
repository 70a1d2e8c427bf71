//! Hash chains of audit records. Each run of a node has one, which begins with the head of its predecessor's and with the
//! node's public key, and whose batch heads the node signs. This module makes the hashes and the signed messages; `verify`
//! checks a chain without us. A chain shows edits, gaps and forgeries within it, not that its end was cut off: that is what
//! the signed checkpoints of the tree over all chains are for.

mod verify;

use aws_lc_rs::{digest, signature};
use serde::{Deserialize, Serialize};

pub use self::verify::{BrokenChain, ChainVerifier, VerifiedChain, verify_chain};
use super::hex_bytes::hex_bytes;
use crate::id::NodeId;

const LEAF_PREFIX: u8 = 0x00;
const GENESIS_DOMAIN: &[u8] = b"keyward/chain-genesis/v1\0";
const CHAIN_DOMAIN: &[u8] = b"keyward/chain/v1\0";
const HEAD_DOMAIN: &[u8] = b"keyward/chain-head/v1\0";
const NODE_KEY_DOMAIN: &[u8] = b"keyward/node-key/v1\0";

hex_bytes!(
    /// The hash of one record's bytes, as a leaf of a Merkle tree (RFC 6962, section 2.1).
    LeafHash, 32
);
hex_bytes!(
    /// The hash over a chain up to one of its records.
    ChainHash, 32
);
hex_bytes!(
    /// The Ed25519 public key of one run of a node (RFC 8032).
    NodeKey, 32
);
hex_bytes!(
    /// A point on P-256, uncompressed (SEC 1, section 2.3.3).
    P256Point, 65
);
hex_bytes!(
    /// A signature: Ed25519, or ECDSA on P-256 as r and s.
    Signature, 64
);

/// The hash of a record's bytes: "MTH({d(0)}) = SHA-256(0x00 || d(0))" (RFC 6962, section 2.1).
#[must_use]
pub fn leaf_hash(leaf: &[u8]) -> LeafHash {
    LeafHash::from_bytes(sha256(&[&[LEAF_PREFIX], leaf]))
}

impl ChainHash {
    /// The hash before a node's first record.
    #[must_use]
    pub fn genesis(node: NodeId, predecessor: Option<Predecessor>) -> Self {
        let predecessor = predecessor.map_or_else(
            || vec![0],
            |predecessor| [&[1][..], predecessor.node.as_bytes(), predecessor.head.as_bytes()].concat(),
        );
        Self::from_bytes(sha256(&[GENESIS_DOMAIN, node.as_bytes(), &predecessor]))
    }

    /// The hash after one more record.
    #[must_use]
    pub fn extend(&self, leaf: LeafHash) -> Self {
        Self::from_bytes(sha256(&[CHAIN_DOMAIN, self.as_bytes(), leaf.as_bytes()]))
    }
}

/// The chain that a node's own follows: that of the run before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Predecessor {
    /// The earlier run.
    pub node: NodeId,
    /// The last hash of its chain.
    pub head: ChainHash,
}

/// What a node's key signs for the chain up to and including the record of this sequence.
#[must_use]
pub fn head_message(node: NodeId, sequence: u64, hash: ChainHash) -> Vec<u8> {
    [HEAD_DOMAIN, node.as_bytes(), &sequence.to_be_bytes(), hash.as_bytes()].concat()
}

/// What the HSM's audit key signs for a node that has just started.
#[must_use]
pub fn node_key_message(node: NodeId, public_key: NodeKey) -> Vec<u8> {
    [NODE_KEY_DOMAIN, node.as_bytes(), public_key.as_bytes()].concat()
}

/// The end of a batch, signed by the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedHead {
    /// The last record of the batch.
    pub sequence: u64,
    /// The chain's hash after that record.
    pub hash: ChainHash,
    /// Over [`head_message`].
    pub signature: Signature,
}

/// The `detail` of a node's first record, as JSON: what the rest of its chain is checked against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeAnnouncement {
    /// The key that signs this node's heads, made in memory at its start.
    pub public_key: NodeKey,
    /// The chain this one follows; none for an installation's first.
    pub predecessor: Option<Predecessor>,
    /// By the audit key, over [`node_key_message`].
    pub signature: Signature,
}

/// The public key of the HSM's audit key: all that a verifier has to trust.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AuditKey {
    /// Ed25519 (RFC 8032).
    Ed25519(NodeKey),
    /// ECDSA on P-256 with SHA-256, for tokens without Ed25519.
    P256(P256Point),
}

impl AuditKey {
    /// Whether this key signed the message.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &Signature) -> bool {
        match self {
            Self::Ed25519(key) => key.verifies(message, signature),
            Self::P256(point) => {
                signature::UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point.as_bytes())
                    .verify(message, signature.as_bytes())
                    .is_ok()
            }
        }
    }
}

impl NodeKey {
    /// Whether this key signed the message.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &Signature) -> bool {
        signature::UnparsedPublicKey::new(&signature::ED25519, self.as_bytes())
            .verify(message, signature.as_bytes())
            .is_ok()
    }
}

fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}
