//! No bytes but those that the audit key stands behind are a chain, and reading a chain that others wrote never panics.

use kms_client::format::{
    Record,
    chain::{AuditKey, ChainVerifier, NodeAnnouncement, NodeKey, SignedHead, verify_chain},
};

/// A key that signed nothing.
const KEY: AuditKey = AuditKey::Ed25519(NodeKey::from_bytes([9; 32]));

/// Checks it for these bytes.
pub fn check(bytes: &[u8]) {
    let _refused = ChainVerifier::start(&KEY, bytes).expect_err("an announcement was forged");
    // Records one after the other, each behind its length.
    let (mut leaves, mut rest) = (Vec::new(), bytes);
    while let Some((length, behind)) = rest.split_first_chunk::<2>() {
        let (leaf, more) = behind.split_at(usize::from(u16::from_be_bytes(*length)).min(behind.len()));
        leaves.push(leaf);
        rest = more;
    }
    let heads: Vec<SignedHead> = serde_json::from_slice(rest).unwrap_or_default();
    assert!(verify_chain(&KEY, &leaves, heads).is_err(), "a chain was forged");
    // What an announcement says reads back as it was.
    if let Ok(announcement) = serde_json::from_slice::<NodeAnnouncement>(bytes) {
        let json = serde_json::to_vec(&announcement).expect("an announcement has JSON");
        assert_eq!(serde_json::from_slice::<NodeAnnouncement>(&json).expect("and it reads back"), announcement);
    }
    if let Ok(record) = serde_json::from_slice::<Record>(bytes)
        && let Ok(encoded) = record.encode()
    {
        assert_eq!(Record::decode(&encoded), Ok(record));
    }
}
