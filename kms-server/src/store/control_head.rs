//! The newest control change: one row, whose revision is the counter that numbers changes. It is moved by compare-and-set in
//! the change's own transaction, so the order of commits is the order of revisions.

use super::{
    Error, Tx,
    column::{to_array, to_i64, to_u64},
    tx::on,
};
use crate::model::Revision;

/// Where control state is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The newest revision.
    pub revision: Revision,
    /// The hash of that change's entry in the history.
    pub hash: [u8; 32],
    /// The digest of every control row as of then.
    pub state_digest: [u8; 32],
    /// Authenticates the row.
    pub mac: [u8; 32],
}

type Columns = (i64, Vec<u8>, Vec<u8>, Vec<u8>);

impl Tx<'_> {
    /// The head; `None` before the first change.
    ///
    /// # Errors
    ///
    /// As every statement: [`Error::Unavailable`], [`Error::Statement`], [`Error::Broken`], [`Error::Corrupt`].
    pub async fn head(&mut self) -> Result<Option<Head>, Error> {
        const SQL: &str = "SELECT revision, hash, state_digest, mac FROM control_head";
        let row: Option<Columns> = on!(self, optional SQL)?;
        row.map(|(revision, hash, state_digest, mac)| {
            Ok(Head {
                revision: Revision(to_u64("control_head.revision", revision)?),
                hash: to_array("control_head.hash", &hash)?,
                state_digest: to_array("control_head.state_digest", &state_digest)?,
                mac: to_array("control_head.mac", &mac)?,
            })
        })
        .transpose()
    }

    /// Moves the head from `expected` (0: there is none yet) to `new`. `false` if it was elsewhere; then nothing happened.
    ///
    /// # Errors
    ///
    /// As every statement.
    pub async fn advance_head(&mut self, expected: Revision, new: &Head) -> Result<bool, Error> {
        const FIRST: &str = "INSERT INTO control_head (one, revision, hash, state_digest, mac) \
                             VALUES (1, $1, $2, $3, $4) ON CONFLICT (one) DO NOTHING";
        const NEXT: &str = "UPDATE control_head SET revision = $1, hash = $2, state_digest = $3, mac = $4 \
                            WHERE revision = $5";
        let revision = to_i64(new.revision.0)?;
        let (hash, state_digest, mac) = (new.hash.as_slice(), new.state_digest.as_slice(), new.mac.as_slice());
        let moved = if expected == Revision(0) {
            on!(self, execute FIRST, revision, hash, state_digest, mac)?
        } else {
            on!(self, execute NEXT, revision, hash, state_digest, mac, to_i64(expected.0)?)?
        };
        Ok(moved == 1)
    }
}
