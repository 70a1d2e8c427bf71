//! What one node tells the others through PostgreSQL: that there is something to look at. A hint may be lost or come twice;
//! whoever depends on it looks at the tables as well.

use std::fmt;

use sqlx::postgres::PgListener;

use super::{Error, Store, Tx, tx::Inner};
use crate::model::Revision;

const CHANNEL: &str = "keyward";

/// Something to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hint {
    /// There is a control change of this revision.
    Change(Revision),
    /// A member has applied one.
    Applied,
    /// Hints may have been lost.
    Gap,
}

/// Hints as they come. On SQLite there is nobody else to give any.
pub struct Hints(Option<PgListener>);

impl Hints {
    pub(super) async fn open(store: &Store) -> Result<Self, Error> {
        match store {
            Store::Sqlite(_) => Ok(Self(None)),
            Store::Postgres(postgres) => {
                let mut listener = PgListener::connect_with(postgres.pool()).await?;
                listener.listen(CHANNEL).await?;
                Ok(Self(Some(listener)))
            }
        }
    }

    /// The next hint.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`]; then open it anew.
    pub async fn next(&mut self) -> Result<Hint, Error> {
        let Some(listener) = &mut self.0 else { return std::future::pending().await };
        let Some(notice) = listener.try_recv().await? else { return Ok(Hint::Gap) };
        Ok(match (notice.payload(), notice.payload().parse()) {
            (_, Ok(revision)) => Hint::Change(Revision(revision)),
            ("applied", Err(_)) => Hint::Applied,
            (_, Err(_)) => Hint::Gap,
        })
    }
}

impl Tx<'_> {
    /// Gives a hint when the transaction commits.
    ///
    /// # Errors
    ///
    /// As every statement.
    pub async fn hint(&mut self, hint: Hint) -> Result<(), Error> {
        const SQL: &str = "SELECT pg_notify($1, $2)";
        let payload = match hint {
            Hint::Change(revision) => revision.0.to_string(),
            Hint::Applied => "applied".to_owned(),
            Hint::Gap => "gap".to_owned(),
        };
        let told = match self.enter()? {
            Inner::Sqlite(_) => Ok(()),
            Inner::Postgres(connection) => {
                sqlx::query(SQL).bind(CHANNEL).bind(payload).execute(&mut **connection).await.map(drop)
            }
        };
        self.mend(told)
    }
}

impl fmt::Debug for Hints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hints").field("listens", &self.0.is_some()).finish()
    }
}
