//! Every object this installation made in the HSM. A row is committed before its object is made, so no object of ours is ever
//! unknown; nothing here destroys one.

use std::str::FromStr;

use hsm::ObjectId;
use jiff::Timestamp;
use kms_client::id::{KeyId, KeyVersion, NodeId};
use uuid::Uuid;

use super::{
    Error, Tx,
    column::{to_time, to_u32},
    tx::on,
};

/// How far an object has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HsmObjectState {
    /// It may or may not be in the HSM; nothing refers to it.
    Creating,
    /// A key version refers to it.
    Live,
    /// Its maker went away before anything referred to it.
    Abandoned,
}

/// An object in the HSM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HsmObject {
    /// Its `CKA_ID`.
    pub object: ObjectId,
    /// The key it was made for.
    pub key: KeyId,
    /// The version it was made for.
    pub version: KeyVersion,
    /// How far it has come.
    pub state: HsmObjectState,
    /// The node that made it.
    pub maker: NodeId,
    /// When.
    pub created_at: Timestamp,
}

type Columns = (Uuid, Uuid, i64, String, Uuid, i64);

impl Tx<'_> {
    /// Notes an object that is about to be made. It begins in [`HsmObjectState::Creating`], whatever `object` says.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyExists`] if there is one of this id; else as every statement.
    pub async fn insert_creating(&mut self, object: &HsmObject) -> Result<(), Error> {
        const SQL: &str = "INSERT INTO hsm_objects (object, key_id, version, state, maker, created_at) \
                           VALUES ($1, $2, $3, 'creating', $4, $5)";
        on!(self, execute SQL,
            column(object.object),
            object.key.uuid(),
            i64::from(object.version.number()),
            object.maker.uuid(),
            object.created_at.as_microsecond(),
        )?;
        Ok(())
    }

    /// An object that was being made is referred to from now on. `false` if it was not being made.
    ///
    /// # Errors
    ///
    /// As every statement.
    pub async fn set_live(&mut self, object: ObjectId) -> Result<bool, Error> {
        const SQL: &str = "UPDATE hsm_objects SET state = 'live' WHERE object = $1 AND state = 'creating'";
        Ok(on!(self, execute SQL, column(object))? == 1)
    }

    /// Forgets an object that was being made, once it is certain that the HSM does not hold it. `false` if it was not being
    /// made.
    ///
    /// # Errors
    ///
    /// As every statement.
    pub async fn delete_creating(&mut self, object: ObjectId) -> Result<bool, Error> {
        const SQL: &str = "DELETE FROM hsm_objects WHERE object = $1 AND state = 'creating'";
        Ok(on!(self, execute SQL, column(object))? == 1)
    }

    /// Forgets an object of a destroyed version, once it is certain that the HSM does not hold it.
    ///
    /// # Errors
    ///
    /// As every statement.
    pub async fn delete_object(&mut self, object: ObjectId) -> Result<(), Error> {
        const SQL: &str = "DELETE FROM hsm_objects WHERE object = $1";
        on!(self, execute SQL, column(object))?;
        Ok(())
    }

    /// Gives up every object that was being made, when no node that could be making one is left. Answers how many.
    ///
    /// # Errors
    ///
    /// As every statement.
    pub async fn abandon_creating(&mut self) -> Result<u64, Error> {
        const SQL: &str = "UPDATE hsm_objects SET state = 'abandoned' WHERE state = 'creating'";
        on!(self, execute SQL)
    }

    /// Every object in this state, by id.
    ///
    /// # Errors
    ///
    /// As every statement.
    pub async fn objects_in(&mut self, state: HsmObjectState) -> Result<Vec<HsmObject>, Error> {
        const SQL: &str = "SELECT object, key_id, version, state, maker, created_at FROM hsm_objects \
                           WHERE state = $1 ORDER BY object";
        let rows: Vec<Columns> = on!(self, all SQL, state.as_str())?;
        rows.into_iter().map(HsmObject::from_columns).collect()
    }

    /// The objects that are being made.
    ///
    /// # Errors
    ///
    /// As every statement.
    pub async fn creating(&mut self) -> Result<Vec<HsmObject>, Error> {
        self.objects_in(HsmObjectState::Creating).await
    }

    /// The object of this id.
    ///
    /// # Errors
    ///
    /// As every statement.
    pub async fn object(&mut self, object: ObjectId) -> Result<Option<HsmObject>, Error> {
        const SQL: &str = "SELECT object, key_id, version, state, maker, created_at FROM hsm_objects WHERE object = $1";
        let row: Option<Columns> = on!(self, optional SQL, column(object))?;
        row.map(HsmObject::from_columns).transpose()
    }
}

impl HsmObject {
    fn from_columns((object, key, version, state, maker, created_at): Columns) -> Result<Self, Error> {
        const VERSION: &str = "hsm_objects.version";
        Ok(Self {
            object: ObjectId::new(object.into_bytes()),
            key: KeyId::new(key),
            version: KeyVersion::new(to_u32(VERSION, version)?).ok_or(Error::Corrupt(VERSION))?,
            state: state.parse()?,
            maker: NodeId::new(maker),
            created_at: to_time("hsm_objects.created_at", created_at)?,
        })
    }
}

impl HsmObjectState {
    const ALL: [Self; 3] = [Self::Creating, Self::Live, Self::Abandoned];

    /// The state as it stands in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Live => "live",
            Self::Abandoned => "abandoned",
        }
    }
}

impl FromStr for HsmObjectState {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or(Error::Corrupt("hsm_objects.state"))
    }
}

fn column(object: ObjectId) -> Uuid {
    Uuid::from_bytes(*object.as_bytes())
}
