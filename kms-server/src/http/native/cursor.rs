//! Cursors: the place in a list where the next page begins, good only for the caller and the filter it was given to.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use kms_client::{id::PrincipalId, wire::name::Cursor};
use serde::Serialize;

use crate::{http::CursorKey, model::Error};

/// The bytes of a tag.
const TAG: usize = 16;
/// How many a page holds unless the request says otherwise.
const USUAL_LIMIT: u32 = 100;
/// The most a page holds.
const MOST: u32 = 1000;

/// One list, as one caller filtered it.
#[derive(Debug)]
pub(super) struct Listing<'a> {
    key: &'a CursorKey,
    caller: PrincipalId,
    filter: Vec<u8>,
}

impl<'a> Listing<'a> {
    /// The list of this name, by this filter, which must hold neither cursor nor limit.
    pub(super) fn new(
        key: &'a CursorKey,
        caller: PrincipalId,
        name: &str,
        filter: &impl Serialize,
    ) -> Result<Self, Error> {
        let filter = serde_json::to_vec(&(name, filter)).map_err(Error::internal)?;
        Ok(Self { key, caller, filter })
    }

    /// The place that the cursor stands for.
    pub(super) fn place<const N: usize>(&self, cursor: Option<&Cursor>) -> Result<Option<[u8; N]>, Error> {
        let Some(cursor) = cursor else { return Ok(None) };
        let invalid = || Error::invalid("`cursor` was not given to this caller for this list and filter");
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(cursor.as_str()).map_err(|_| invalid())?;
        let (place, tag) = bytes.split_first_chunk::<N>().ok_or_else(invalid)?;
        if !self.key.verify(tag, self.caller.as_bytes(), &self.filter, place) {
            return Err(invalid());
        }
        Ok(Some(*place))
    }

    /// The cursor that stands for this place.
    pub(super) fn cursor(&self, place: &[u8]) -> Result<Cursor, Error> {
        let mut bytes = Vec::with_capacity(place.len() + TAG);
        bytes.extend_from_slice(place);
        bytes.extend_from_slice(&self.key.tag(self.caller.as_bytes(), &self.filter, place));
        BASE64_URL_SAFE_NO_PAD.encode(bytes).parse().map_err(Error::internal)
    }
}

/// How many a page is to hold.
pub(super) fn limit(asked: Option<u32>) -> Result<u32, Error> {
    match asked {
        None => Ok(USUAL_LIMIT),
        Some(limit) if (1..=MOST).contains(&limit) => Ok(limit),
        Some(_) => Err(Error::invalid(format!("`limit` is 1 to {MOST}"))),
    }
}

/// The same as the number of things in memory.
pub(super) fn length(limit: u32) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;

    #[test]
    fn a_cursor_is_good_for_its_caller_and_filter_alone() {
        let key = CursorKey::new(&Zeroizing::new(vec![7; 32]));
        let (ada, bob) = (PrincipalId::from_bytes([1; 16]), PrincipalId::from_bytes([2; 16]));
        let listing = |caller, name, filter: &str| Listing::new(&key, caller, name, &filter).unwrap();
        let cursor = listing(ada, "keys", "imaging").cursor(&[9; 16]).unwrap();
        let place = |listing: Listing<'_>, cursor: &Cursor| listing.place::<16>(Some(cursor)).ok().flatten();
        assert_eq!(place(listing(ada, "keys", "imaging"), &cursor), Some([9; 16]));
        assert_eq!(place(listing(bob, "keys", "imaging"), &cursor), None);
        assert_eq!(place(listing(ada, "keys", "billing"), &cursor), None);
        assert_eq!(place(listing(ada, "bindings", "imaging"), &cursor), None);
        assert!(listing(ada, "keys", "imaging").place::<8>(Some(&cursor)).is_err());
        for forged in ["AAAA", "x", &"A".repeat(43), &format!("{cursor}A")] {
            assert_eq!(place(listing(ada, "keys", "imaging"), &forged.parse().unwrap()), None, "{forged}");
        }
    }

    #[test]
    fn a_page_has_a_bounded_length() {
        assert_eq!(limit(None).unwrap(), USUAL_LIMIT);
        assert_eq!(limit(Some(MOST)).unwrap(), MOST);
        assert!(limit(Some(0)).is_err() && limit(Some(MOST + 1)).is_err());
    }
}
