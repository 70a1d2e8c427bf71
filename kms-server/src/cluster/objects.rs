//! Which objects in the token the server may take back: those that it made itself and that nothing ever referred to. The
//! token says so, in a label that only a node of this installation can write; rows in the database alone never do.

use hsm::ObjectId;
use kms_client::id::{KeyId, KeyVersion};

use super::{Cluster, authentication::RowKey};
use crate::model::Revision;

/// The most bytes of the tag that stand in a label.
const TAG: usize = 16;

impl<D: Send + Sync + 'static> Cluster<D> {
    /// The label under which an object is made: key, version, the revision in force, and the tag of all three.
    pub fn object_label(&self, object: ObjectId, key: KeyId, version: KeyVersion) -> String {
        label(&self.row_key, object, key, version, self.snapshot().revision)
    }

    /// Whether this object, with the label it has in the token, was made for a version that never came to be.
    ///
    /// INVARIANT: a version is never forgotten, so an object that no version names was never in use. That holds for what
    /// was made since this database was last accepted; before that a lost copy of it may know better.
    pub fn may_take_back(&self, object: ObjectId, label: &str) -> bool {
        let snapshot = self.snapshot();
        let made = parse(label)
            .filter(|(key, version, revision)| self::label(&self.row_key, object, *key, *version, *revision) == label);
        let Some((key, _, revision)) = made else { return false };
        let accepted = snapshot.state.installation().map(|installation| installation.revision);
        let in_use = snapshot.state.key(key).is_some_and(|key| key.versions.iter().any(|made| made.object == object));
        accepted.is_some_and(|accepted| accepted <= revision) && !in_use
    }
}

fn label(row_key: &RowKey, object: ObjectId, key: KeyId, version: KeyVersion, revision: Revision) -> String {
    let tag = row_key.object(object, key, version, revision);
    let tag = tag.first_chunk::<TAG>().map(hex::encode).unwrap_or_default();
    format!("{key}/{version}/{revision}/{tag}")
}

fn parse(label: &str) -> Option<(KeyId, KeyVersion, Revision)> {
    let mut parts = label.split('/');
    let key = parts.next()?.parse().ok()?;
    let version = KeyVersion::new(parts.next()?.parse().ok()?)?;
    Some((key, version, Revision(parts.next()?.parse().ok()?)))
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;

    #[test]
    fn a_label_leads_back_to_what_it_was_made_of() {
        let row_key = RowKey::new(&Zeroizing::new(vec![7; 32]));
        let (object, key) = (ObjectId::new([1; 16]), KeyId::from_bytes([2; 16]));
        let made = label(&row_key, object, key, KeyVersion::FIRST, Revision(9));
        assert_eq!(parse(&made), Some((key, KeyVersion::FIRST, Revision(9))));
        assert_ne!(made, label(&row_key, ObjectId::new([3; 16]), key, KeyVersion::FIRST, Revision(9)));
        assert_ne!(made, label(&row_key, object, key, KeyVersion::FIRST, Revision(10)));
        assert_eq!(parse("somebody else's"), None);
    }
}
