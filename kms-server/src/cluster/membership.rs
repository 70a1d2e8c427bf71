//! Who is a member. A node joins and commits that before it reads control state: a change that commits later finds it among
//! those to wait for, and one that committed before is in what it reads. It is one until it has left in order, or until
//! somebody has seen it silent for a whole lease; then its own lease is over, and it may join again.

use std::{
    collections::{HashMap, HashSet},
    sync::PoisonError,
    time::Duration,
};

use jiff::Timestamp;
use kms_client::id::NodeId;
use serde::{Deserialize, Serialize};
use tokio::time::interval;

use super::{Cluster, LeaseTerms};
use crate::{
    model::Revision,
    store::{self, Hint, Member, MemberKind, Store, Tx},
};

/// How often joining is tried while others join too.
const TRIES: usize = 16;
/// How often others are looked at by whoever waits for their silence.
const LOOK: Duration = Duration::from_millis(50);

/// What this process is to the others.
#[derive(Debug, Clone)]
pub struct Joining {
    /// Server or host command.
    pub kind: MemberKind,
    /// Where it serves.
    pub address: String,
    /// Where it runs.
    pub region: String,
    /// The settings that decide access.
    pub terms: LeaseTerms,
}

/// Why a node cannot be a member.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// It could not be committed, or nobody knows.
    #[error(transparent)]
    Commit(#[from] store::CommitError),
    /// The nodes that run have other settings.
    #[error("this node's settings are not those of the nodes that run: here {ours}, there {theirs}")]
    Disagreement {
        /// Ours, as JSON.
        ours: String,
        /// Theirs, as JSON.
        theirs: String,
    },
    /// Too many nodes joined at once.
    #[error("too many nodes join at once; start it again")]
    Crowd,
}

/// The settings that decide access: what one node counts on and the other keeps to.
#[derive(Debug, Serialize, Deserialize)]
struct Settings {
    /// Of the protocol between nodes.
    protocol: u32,
    #[serde(flatten)]
    terms: LeaseTerms,
}

const PROTOCOL: u32 = 1;

/// Makes `node` a member. On SQLite everybody who was one before is gone, as the lock on the file shows.
pub(super) async fn join(store: &Store, node: NodeId, joining: &Joining, now: Timestamp) -> Result<(), JoinError> {
    for _ in 0..TRIES {
        let mut tx = store.begin().await?;
        if try_join(&mut tx, store.is_shared(), node, joining, now).await? {
            tx.commit().await?;
            return Ok(());
        }
    }
    Err(JoinError::Crowd)
}

/// Ends the membership of a node that answers nobody any more.
pub(super) async fn leave(store: &Store, node: NodeId) -> Result<(), JoinError> {
    let mut tx = store.begin().await?;
    if tx.delete_member(node).await? {
        tx.hint(Hint::Applied).await?;
    }
    Ok(tx.commit().await?)
}

async fn try_join(
    tx: &mut Tx<'_>,
    shared: bool,
    node: NodeId,
    joining: &Joining,
    now: Timestamp,
) -> Result<bool, JoinError> {
    let ours = Settings { protocol: PROTOCOL, terms: joining.terms };
    let ours = serde_json::to_string(&ours).unwrap_or_default();
    let agreed = tx.agreement().await?;
    for member in tx.members().await? {
        if !shared || member.node == node {
            tx.delete_member(member.node).await?;
        } else if let Some(theirs) = agreed.as_ref().map(|agreed| &agreed.settings).filter(|theirs| **theirs != ours) {
            return Err(JoinError::Disagreement { ours, theirs: theirs.clone() });
        }
    }
    let joins = agreed.map_or(0, |agreed| agreed.joins);
    if !tx.agree(joins, &ours).await? {
        return Ok(false);
    }
    let now = tx.time().await?.unwrap_or(now);
    let member = Member {
        node,
        kind: joining.kind,
        address: joining.address.clone(),
        region: joining.region.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        joined_at: now,
        joining: joins.saturating_add(1),
        renewals: 0,
        revision: Revision(0),
    };
    tx.insert_member(&member).await?;
    Ok(true)
}

/// A member, and what this node knows of its lease.
#[derive(Debug, Clone)]
pub struct SeenNode {
    /// As the database has it.
    pub member: Member,
    /// How long ago it was last seen to renew.
    pub silent: Duration,
    /// Whether that is less than its lease, so that it may be answering.
    pub holds: bool,
}

/// Since when which member has been silent, on this node's own clock.
#[derive(Debug, Default)]
pub(super) struct Silence(HashMap<NodeId, ((u64, u64), Duration)>);

impl Silence {
    /// Hears of the members as they were at `boot`, and answers those who have been silent for the whole of `lease`.
    pub(super) fn heard<'m>(&mut self, members: &'m [Member], boot: Duration, lease: Duration) -> Vec<&'m Member> {
        self.0.retain(|node, _| members.iter().any(|member| member.node == *node));
        let mut silent = Vec::new();
        for member in members {
            let sign_of_life = (member.joining, member.renewals);
            let known = self.0.entry(member.node).or_insert((sign_of_life, boot));
            if known.0 != sign_of_life {
                *known = (sign_of_life, boot);
            } else if boot.saturating_sub(known.1) >= lease {
                silent.push(member);
            }
        }
        silent
    }

    /// How long this member has been silent, if it was heard of.
    fn of(&self, member: &Member, boot: Duration) -> Option<Duration> {
        let (sign_of_life, since) = self.0.get(&member.node)?;
        let last = (member.joining, member.renewals) == *sign_of_life;
        Some(if last { boot.saturating_sub(*since) } else { Duration::ZERO })
    }
}

impl<D: Send + Sync + 'static> Cluster<D> {
    /// Every member.
    ///
    /// # Errors
    ///
    /// That of the database.
    pub async fn members(&self) -> Result<Vec<Member>, store::Error> {
        self.store.read().await?.members().await
    }

    /// Every member, and how long it has been silent.
    ///
    /// # Errors
    ///
    /// That of the database.
    pub async fn seen(&self) -> Result<Vec<SeenNode>, store::Error> {
        let members = self.members().await?;
        let boot = self.time.boot();
        let silence = self.silence.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = members.into_iter().map(|member| {
            let silent = silence.of(&member, boot).unwrap_or_default();
            let holds = if member.node == self.node { self.lease.holds() } else { silent < self.lease.terms.lease() };
            SeenNode { member, silent, holds }
        });
        Ok(seen.collect())
    }

    /// Whether another node shows a sign of life within a lease. Those that do not are members no longer: they were killed, or
    /// are in a copy of the database that was put back.
    ///
    /// # Errors
    ///
    /// That of the database.
    pub async fn others_live(&self) -> Result<bool, JoinError> {
        let mut first: HashMap<NodeId, (u64, u64)> = HashMap::new();
        let mut looks = interval(LOOK);
        loop {
            looks.tick().await;
            let members = self.members().await?;
            let others: Vec<_> = members.into_iter().filter(|member| member.node != self.node).collect();
            if others.is_empty() {
                return Ok(false);
            }
            for other in &others {
                let sign_of_life = (other.joining, other.renewals);
                if *first.entry(other.node).or_insert(sign_of_life) != sign_of_life {
                    return Ok(true);
                }
            }
            for silent in self.silent(&others) {
                let mut tx = self.store.begin().await?;
                tx.expel_member(silent).await?;
                tx.commit().await?;
            }
        }
    }

    /// Hears of the members as they are now, and answers those who have been silent for a whole lease.
    pub(super) fn silent<'m>(&self, members: &'m [Member]) -> Vec<&'m Member> {
        let mut silence = self.silence.lock().unwrap_or_else(PoisonError::into_inner);
        silence.heard(members, self.time.boot(), self.lease.terms.lease())
    }

    /// The nodes that are members by this transaction's view of the database, this one besides. Whoever else left something
    /// unfinished is gone; if it comes back it finds it finished.
    ///
    /// # Errors
    ///
    /// As every statement.
    pub async fn present(&self, tx: &mut Tx<'_>) -> Result<HashSet<NodeId>, store::Error> {
        let members = tx.members().await?;
        Ok(members.into_iter().map(|member| member.node).chain([self.node]).collect())
    }

    /// Ends the membership of a node that has answered nobody, such as a host command's.
    ///
    /// # Errors
    ///
    /// That of the database; the others then wait once until its lease is over.
    pub async fn leave(&self) -> Result<(), JoinError> {
        self.lease.leave();
        leave(&self.store, self.node).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(node: u8, joining: u64, renewals: u64) -> Member {
        Member {
            node: NodeId::from_bytes([node; 16]),
            kind: MemberKind::Server,
            address: String::new(),
            region: String::new(),
            version: String::new(),
            joined_at: Timestamp::UNIX_EPOCH,
            joining,
            renewals,
            revision: Revision(0),
        }
    }

    #[test]
    fn only_a_whole_lease_of_silence_counts() {
        let lease = Duration::from_secs(3);
        let at = Duration::from_millis;
        let mut silence = Silence::default();
        let (one, two) = (member(1, 1, 5), member(2, 2, 9));
        let none: [&Member; 0] = [];
        assert_eq!(silence.heard(&[one.clone(), two], at(1_000), lease), none);
        assert_eq!(silence.heard(&[one.clone(), member(2, 2, 10)], at(3_999), lease), none);
        assert_eq!(silence.heard(&[one.clone(), member(2, 2, 10)], at(4_000), lease), [&one]);
        // Expelled by another node, back, and with as many renewals as before.
        assert_eq!(silence.heard(&[member(1, 3, 5), member(2, 2, 11)], at(4_100), lease), none);
        assert_eq!(silence.heard(&[member(1, 3, 5)], at(7_099), lease), none);
    }
}
