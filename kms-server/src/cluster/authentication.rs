//! What makes an edit in the database itself noticeable: every control row, every entry of the history and the whole
//! of the state are authenticated under a key that the database never sees.

use std::{fmt, time::Duration};

use aws_lc_rs::{constant_time, digest, hmac};
use hsm::ObjectId;
use kms_client::id::{ChangeId, KeyId, KeyVersion, NodeId, PrincipalId};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::model::{Revision, RowKind};

/// The key of the nodes under which control state is authenticated.
pub struct RowKey(hmac::Key);

/// The set of all rows at one revision, as one value that can be moved from row to row without reading the others.
///
/// It is the exclusive or of a keyed value per row (MSet-XOR-Hash of Clarke et al., 2003). Those values are never
/// stored: only the authenticated sum is, so that nobody can combine old rows into the same sum.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct RowSum {
    sum: [u8; 32],
    rows: u64,
}

/// One entry of the history, as it is hashed.
#[derive(Debug)]
pub(super) struct HistoryEntry<'a> {
    pub(super) revision: Revision,
    pub(super) previous: &'a [u8; 32],
    pub(super) change_id: ChangeId,
    pub(super) digest: &'a [u8; 32],
    pub(super) principal: Option<PrincipalId>,
    pub(super) committed_at: i64,
    pub(super) rows: &'a str,
    pub(super) state_digest: &'a [u8; 32],
}

impl RowKey {
    /// Takes 32 secret bytes.
    #[must_use]
    pub fn new(secret: &Zeroizing<Vec<u8>>) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    pub(super) fn row(&self, kind: RowKind, id: Uuid, revision: Revision, body: &str) -> [u8; 32] {
        self.tag(&[
            b"keyward/row/v1\0",
            kind.as_str().as_bytes(),
            b"\0",
            id.as_bytes(),
            &revision.0.to_be_bytes(),
            body.as_bytes(),
        ])
    }

    pub(super) fn add(&self, sum: &mut RowSum, row: &[u8; 32]) {
        self.toggle(sum, row);
        sum.rows = sum.rows.wrapping_add(1);
    }

    pub(super) fn remove(&self, sum: &mut RowSum, row: &[u8; 32]) {
        self.toggle(sum, row);
        sum.rows = sum.rows.wrapping_sub(1);
    }

    /// The sum as it may be stored.
    pub(super) fn state_digest(&self, revision: Revision, sum: &RowSum) -> [u8; 32] {
        self.tag(&[b"keyward/state/v1\0", &revision.0.to_be_bytes(), &sum.rows.to_be_bytes(), &sum.sum])
    }

    pub(super) fn history(&self, hash: &[u8; 32]) -> [u8; 32] {
        self.tag(&[b"keyward/history/v1\0", hash])
    }

    pub(super) fn head(&self, revision: Revision, hash: &[u8; 32], state_digest: &[u8; 32]) -> [u8; 32] {
        self.tag(&[b"keyward/head/v1\0", &revision.0.to_be_bytes(), hash, state_digest])
    }

    pub(super) fn object(&self, object: ObjectId, key: KeyId, version: KeyVersion, revision: Revision) -> [u8; 32] {
        self.tag(&[
            b"keyward/object/v1\0",
            object.as_bytes(),
            key.as_bytes(),
            &version.number().to_be_bytes(),
            &revision.0.to_be_bytes(),
        ])
    }

    pub(super) fn deletion_watch(&self, key: KeyId, basis: Revision, node: NodeId, observed: Duration) -> [u8; 32] {
        self.tag(&[
            b"keyward/deletion-watch/v1\0",
            key.as_bytes(),
            &basis.0.to_be_bytes(),
            node.as_bytes(),
            &observed.as_micros().to_be_bytes(),
        ])
    }

    pub(super) fn anchor(&self, body: &[u8]) -> [u8; 32] {
        self.tag(&[b"keyward/anchor/v1\0", body])
    }

    fn toggle(&self, sum: &mut RowSum, row: &[u8; 32]) {
        let value = self.tag(&[b"keyward/row-sum/v1\0", row]);
        for (byte, other) in sum.sum.iter_mut().zip(value) {
            *byte ^= other;
        }
    }

    fn tag(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.0);
        for part in parts {
            context.update(part);
        }
        bytes32(context.sign().as_ref())
    }
}

impl HistoryEntry<'_> {
    /// SHA-256 over the entry, which names the hash of the one before.
    pub(super) fn hash(&self) -> [u8; 32] {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(b"keyward/history-entry/v1\0");
        context.update(self.previous);
        context.update(&self.revision.0.to_be_bytes());
        context.update(self.change_id.as_bytes());
        context.update(self.digest);
        match self.principal {
            Some(principal) => {
                context.update(&[1]);
                context.update(principal.as_bytes());
            }
            None => context.update(&[0]),
        }
        context.update(&self.committed_at.to_be_bytes());
        context.update(digest::digest(&digest::SHA256, self.rows.as_bytes()).as_ref());
        context.update(self.state_digest);
        bytes32(context.finish().as_ref())
    }
}

/// Whether two tags are equal, in constant time.
pub(super) fn same(a: &[u8; 32], b: &[u8; 32]) -> bool {
    constant_time::verify_slices_are_equal(a, b).is_ok()
}

fn bytes32(bytes: &[u8]) -> [u8; 32] {
    let mut array = [0; 32];
    array.copy_from_slice(bytes);
    array
}

impl fmt::Debug for RowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RowKey(..)")
    }
}

impl fmt::Debug for RowSum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The sum itself is secret: see the type's description.
        f.debug_struct("RowSum").field("rows", &self.rows).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_knows_the_set_and_not_the_order() {
        let key = RowKey::new(&Zeroizing::new(vec![7; 32]));
        let (a, b) = ([1; 32], [2; 32]);
        let mut one = RowSum::default();
        key.add(&mut one, &a);
        key.add(&mut one, &b);
        let mut other = RowSum::default();
        key.add(&mut other, &b);
        key.add(&mut other, &a);
        assert_eq!(one, other);
        key.remove(&mut other, &a);
        assert_ne!(one, other);
        assert_ne!(key.state_digest(Revision(1), &one), key.state_digest(Revision(2), &one));
    }

    #[test]
    fn a_rows_tag_covers_kind_id_revision_and_body() {
        let key = RowKey::new(&Zeroizing::new(vec![7; 32]));
        let tag = key.row(RowKind::Key, Uuid::nil(), Revision(1), "{}");
        assert_ne!(tag, key.row(RowKind::Binding, Uuid::nil(), Revision(1), "{}"));
        assert_ne!(tag, key.row(RowKind::Key, Uuid::max(), Revision(1), "{}"));
        assert_ne!(tag, key.row(RowKind::Key, Uuid::nil(), Revision(2), "{}"));
        assert_ne!(tag, key.row(RowKind::Key, Uuid::nil(), Revision(1), "{ }"));
    }
}
