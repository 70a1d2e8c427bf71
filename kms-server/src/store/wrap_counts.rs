//! How many wraps under each version of a key nodes have reserved. A node reserves before it wraps, so the count is never
//! lower than the truth; what a node had reserved and not used when it stopped stays counted.

use kms_client::id::{KeyId, KeyVersion};
use uuid::Uuid;

use super::{Error, Tx, column::to_u32, tx::on};

/// The wraps reserved under one version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrapCount {
    /// The key.
    pub key: KeyId,
    /// The version.
    pub version: KeyVersion,
    /// How many.
    pub reserved: u32,
}

impl Tx<'_> {
    /// The wraps reserved under a version.
    ///
    /// # Errors
    ///
    /// As every statement.
    pub async fn wraps_reserved(&mut self, key: KeyId, version: KeyVersion) -> Result<u32, Error> {
        const SQL: &str = "SELECT reserved FROM wrap_counts WHERE key_id = $1 AND version = $2";
        let row: Option<(i64,)> = on!(self, optional SQL, key.uuid(), i64::from(version.number()))?;
        row.map_or(Ok(0), |(reserved,)| to_u32(RESERVED, reserved))
    }

    /// Moves the wraps reserved under a version from one number to a higher one. `false` if they were another number.
    ///
    /// # Errors
    ///
    /// As every statement.
    pub async fn reserve_wraps(&mut self, key: KeyId, version: KeyVersion, from: u32, to: u32) -> Result<bool, Error> {
        const FIRST: &str = "INSERT INTO wrap_counts (key_id, version, reserved) VALUES ($1, $2, $3) \
                             ON CONFLICT (key_id, version) DO NOTHING";
        const NEXT: &str = "UPDATE wrap_counts SET reserved = $3 WHERE key_id = $1 AND version = $2 AND reserved = $4 AND reserved < $3";
        let (key, version, from, to) = (key.uuid(), i64::from(version.number()), i64::from(from), i64::from(to));
        let moved = if from == 0 {
            on!(self, execute FIRST, key, version, to)?
        } else {
            on!(self, execute NEXT, key, version, to, from)?
        };
        Ok(moved == 1)
    }

    /// The wraps reserved under every version there are any of.
    ///
    /// # Errors
    ///
    /// As every statement.
    pub async fn wrap_counts(&mut self) -> Result<Vec<WrapCount>, Error> {
        const SQL: &str = "SELECT key_id, version, reserved FROM wrap_counts ORDER BY key_id, version";
        let rows: Vec<(Uuid, i64, i64)> = on!(self, all SQL)?;
        rows.into_iter()
            .map(|(key, version, reserved)| {
                let version = KeyVersion::new(to_u32(VERSION, version)?).ok_or(Error::Corrupt(VERSION))?;
                Ok(WrapCount { key: KeyId::new(key), version, reserved: to_u32(RESERVED, reserved)? })
            })
            .collect()
    }
}

const VERSION: &str = "wrap_counts.version";
const RESERVED: &str = "wrap_counts.reserved";
