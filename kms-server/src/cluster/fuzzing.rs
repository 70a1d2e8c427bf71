//! What is read back from the database and the anchor, for the fuzz targets: with the right authentication, since nothing
//! else gets as far. No release has this module.

use uuid::Uuid;

use super::{
    LoadError, Remembered, RowKey,
    anchor::{authentic, authenticate},
    load::check_row,
};
use crate::{
    model::{Revision, Row, RowKind},
    store::StoredRow,
};

/// What an anchor of this text remembers.
///
/// # Errors
///
/// [`LoadError::Anchor`].
pub fn read_anchor(key: &RowKey, text: &[u8]) -> Result<Remembered, LoadError> {
    authentic(key, text, "anchor file")
}

/// The text of an anchor that remembers this.
///
/// # Errors
///
/// [`LoadError::Anchor`].
pub fn write_anchor(key: &RowKey, remembered: Remembered) -> Result<String, LoadError> {
    authenticate(key, remembered)
}

/// A row with this body that the key's holder stored.
///
/// # Errors
///
/// [`LoadError::Altered`].
pub fn read_row(key: &RowKey, kind: RowKind, id: Uuid, revision: Revision, body: &str) -> Result<Row, LoadError> {
    let mac = key.row(kind, id, revision, body);
    check_row(key, &StoredRow { kind, id, revision, body: body.to_owned(), mac })
}
