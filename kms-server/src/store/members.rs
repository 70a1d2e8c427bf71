//! The nodes that control changes wait for, and what they agree on.

use jiff::Timestamp;
use kms_client::id::NodeId;
use uuid::Uuid;

use super::{
    Error, Tx,
    column::{to_array, to_i64, to_time, to_u64},
    tx::on,
};
use crate::model::Revision;

/// What kind of process a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberKind {
    /// A server: it answers, so changes wait for it.
    Server,
    /// A command on a host: it answers nobody.
    Host,
}

/// One node as the database knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The run of the process.
    pub node: NodeId,
    /// What it is.
    pub kind: MemberKind,
    /// Where it serves, as `HOST:PORT`; empty for a host command.
    pub address: String,
    /// Where it runs.
    pub region: String,
    /// Of its program.
    pub version: String,
    /// When it joined first, by cluster time.
    pub joined_at: Timestamp,
    /// Which of all joinings made it a member: no other has the number.
    pub joining: u64,
    /// How often it has renewed its lease since.
    pub renewals: u64,
    /// What it has applied and drained.
    pub revision: Revision,
}

/// What the members agree on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agreement {
    /// How often a node has joined; whoever joins moves it, so that two do not join unseen by each other.
    pub joins: u64,
    /// Their settings that decide access, as JSON.
    pub settings: String,
}

/// Where control state is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Newest {
    /// The newest revision.
    pub revision: Revision,
    /// The hash of that change's entry in the history.
    pub hash: [u8; 32],
}

type Columns = (Uuid, String, String, String, String, i64, i64, i64, i64);

impl Tx<'_> {
    /// What the members agree on; `None` before the first one joins.
    ///
    /// # Errors
    ///
    /// As every statement.
    pub async fn agreement(&mut self) -> Result<Option<Agreement>, Error> {
        const SQL: &str = "SELECT joins, settings FROM agreement";
        let row: Option<(i64, String)> = on!(self, optional SQL)?;
        row.map(|(joins, settings)| Ok(Agreement { joins: to_u64("agreement.joins", joins)?, settings })).transpose()
    }

    /// Puts the agreement in the place of the one with `joins`, 0 if there is none. `false` if there is another by now; then
    /// nothing happened.
    ///
    /// # Errors
    ///
    /// As every statement.
    pub async fn agree(&mut self, joins: u64, settings: &str) -> Result<bool, Error> {
        const FIRST: &str =
            "INSERT INTO agreement (one, joins, settings) VALUES (1, 1, $1) ON CONFLICT (one) DO NOTHING";
        const NEXT: &str = "UPDATE agreement SET joins = joins + 1, settings = $1 WHERE joins = $2";
        let moved = if joins == 0 {
            on!(self, execute FIRST, settings)?
        } else {
            on!(self, execute NEXT, settings, to_i64(joins)?)?
        };
        Ok(moved == 1)
    }

    /// Adds a member.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyExists`] if it is one; else as every statement.
    pub async fn insert_member(&mut self, member: &Member) -> Result<(), Error> {
        const SQL: &str = "INSERT INTO members (node, kind, address, region, version, joined_at, joining, renewals, \
                           revision) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
        on!(self, execute SQL,
            member.node.uuid(),
            member.kind.as_str(),
            member.address.as_str(),
            member.region.as_str(),
            member.version.as_str(),
            member.joined_at.as_microsecond(),
            to_i64(member.joining)?,
            to_i64(member.renewals)?,
            to_i64(member.revision.0)?,
        )?;
        Ok(())
    }

    /// Counts a renewal of a member that has applied and drained `revision`, and answers where control state is. `None` if it is
    /// no member any more; then nothing happened.
    ///
    /// # Errors
    ///
    /// As every statement.
    pub async fn renew(&mut self, node: NodeId, revision: Revision) -> Result<Option<Newest>, Error> {
        const SQL: &str = "UPDATE members SET renewals = renewals + 1, revision = $2 WHERE node = $1 \
                           RETURNING (SELECT revision FROM control_head), (SELECT hash FROM control_head)";
        let row: Option<(Option<i64>, Option<Vec<u8>>)> = on!(self, optional SQL, node.uuid(), to_i64(revision.0)?)?;
        row.map(|(revision, hash)| {
            Ok(Newest {
                revision: Revision(to_u64("control_head.revision", revision.unwrap_or_default())?),
                hash: hash.map_or(Ok([0; 32]), |hash| to_array("control_head.hash", &hash))?,
            })
        })
        .transpose()
    }

    /// Every member, by node.
    ///
    /// # Errors
    ///
    /// As every statement.
    pub async fn members(&mut self) -> Result<Vec<Member>, Error> {
        const SQL: &str = "SELECT node, kind, address, region, version, joined_at, joining, renewals, \
                           revision FROM members ORDER BY node";
        let rows: Vec<Columns> = on!(self, all SQL)?;
        rows.into_iter().map(Member::from_columns).collect()
    }

    /// Takes a member away that leaves. `false` if it was none.
    ///
    /// # Errors
    ///
    /// As every statement.
    pub async fn delete_member(&mut self, node: NodeId) -> Result<bool, Error> {
        const SQL: &str = "DELETE FROM members WHERE node = $1";
        Ok(on!(self, execute SQL, node.uuid())? == 1)
    }

    /// Takes a member away that has not renewed since it was as given. `false` if it has, or is none; then nothing happened.
    ///
    /// # Errors
    ///
    /// As every statement.
    pub async fn expel_member(&mut self, member: &Member) -> Result<bool, Error> {
        const SQL: &str = "DELETE FROM members WHERE node = $1 AND joining = $2 AND renewals = $3";
        let (joining, renewals) = (to_i64(member.joining)?, to_i64(member.renewals)?);
        Ok(on!(self, execute SQL, member.node.uuid(), joining, renewals)? == 1)
    }
}

impl Member {
    fn from_columns(
        (node, kind, address, region, version, joined_at, joining, renewals, revision): Columns,
    ) -> Result<Self, Error> {
        Ok(Self {
            node: NodeId::new(node),
            kind: MemberKind::ALL
                .into_iter()
                .find(|known| known.as_str() == kind)
                .ok_or(Error::Corrupt("members.kind"))?,
            address,
            region,
            version,
            joined_at: to_time("members.joined_at", joined_at)?,
            joining: to_u64("members.joining", joining)?,
            renewals: to_u64("members.renewals", renewals)?,
            revision: Revision(to_u64("members.revision", revision)?),
        })
    }
}

impl MemberKind {
    const ALL: [Self; 2] = [Self::Server, Self::Host];

    /// The kind as it stands in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Host => "host",
        }
    }
}
