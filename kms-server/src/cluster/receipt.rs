//! What the maker of a change gets: the proof that it is in force on every node.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use kms_client::id::{ChangeId, NodeId};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::{Cluster, LoadError};
use crate::{
    model::{Error, Refusal, Revision},
    store::{ControlChange, Member, MemberKind},
};

/// How long the members are not asked again unless one of them gives a hint.
const ASK_AGAIN: Duration = Duration::from_millis(20);

/// The proof that a change is in force: who has applied it, and how fast.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    /// The change.
    pub change_id: ChangeId,
    /// The revision it became.
    pub revision: Revision,
    /// When it was committed.
    pub committed_at: Timestamp,
    /// Every node that was a member then.
    pub nodes: Vec<ReceiptNode>,
}

/// One node's part in a receipt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReceiptNode {
    /// The node.
    pub node: NodeId,
    /// Whether it applied and drained the change; else its lease ran out, or it left.
    pub acknowledged: bool,
    /// Milliseconds from the commit until then.
    pub milliseconds: f64,
}

impl<D: Send + Sync + 'static> Cluster<D> {
    /// Waits until no other node can answer any more under a revision older than this one: each has applied and drained it, or
    /// is a member no longer, or a whole lease has passed on this node's own clock since `committed`, the moment at which
    /// this node knew that it was committed.
    pub(super) async fn gather(&self, revision: Revision, committed: Duration) -> Result<Vec<ReceiptNode>, Error> {
        if !self.store.is_shared() {
            return Ok(Vec::new());
        }
        let lease = self.lease.terms.lease();
        let elapsed = || self.time.boot().saturating_sub(committed);
        let mut heard = self.heard.subscribe();
        let (mut waiting, mut nodes) = (None::<BTreeMap<NodeId, Member>>, Vec::new());
        loop {
            heard.borrow_and_update();
            // By a connection of the changes' own: a cut does not wait for those who read.
            let asked = async { self.store.begin().await?.members().await };
            let asked = timeout(lease.saturating_sub(elapsed()), asked).await;
            let passed = elapsed();
            let mut end = |node: NodeId, acknowledged: bool| {
                nodes.push(ReceiptNode { node, acknowledged, milliseconds: milliseconds(passed) });
            };
            if let Ok(Ok(members)) = &asked {
                let serving = |member: &&Member| member.kind == MemberKind::Server && member.node != self.node;
                let mut now: BTreeMap<_, _> =
                    members.iter().filter(serving).map(|member| (member.node, member.clone())).collect();
                // Whoever joined after the first look has read a newer revision.
                if let Some(waiting) = &waiting {
                    for gone in waiting.keys().filter(|node| !now.contains_key(node)) {
                        end(*gone, false);
                    }
                    now.retain(|node, _| waiting.contains_key(node));
                }
                now.retain(|node, member| {
                    let applied = member.revision >= revision;
                    if applied {
                        end(*node, true);
                    }
                    !applied
                });
                if now.is_empty() {
                    break;
                }
                waiting = Some(now);
            }
            if passed >= lease {
                // Nobody can answer under the old revision any more, but nobody knows either who could.
                let unknown = || Error::unavailable(Refusal::StoreUnavailable, "the members could not be read");
                let waiting = waiting.ok_or_else(unknown)?;
                for node in waiting.into_keys() {
                    end(node, false);
                }
                break;
            }
            // A hint that never comes costs one more look.
            let _ended = timeout(ASK_AGAIN.min(lease.saturating_sub(passed)), heard.changed()).await;
        }
        Ok(nodes)
    }

    /// Completes the receipt of a change whose maker did not live to, or has not yet. `None` while this node does not know the
    /// change to be in force.
    ///
    /// # Errors
    ///
    /// That of the database.
    pub async fn complete(&self, change: &ControlChange) -> Result<Option<String>, Error> {
        let found = self.time.boot();
        let mut drained = self.drained.subscribe();
        let lease = self.lease.terms.lease();
        let applied = timeout(lease, drained.wait_for(|drained| *drained >= change.revision));
        if !matches!(applied.await, Ok(Ok(_))) {
            return Ok(None);
        }
        let here = self.time.boot().saturating_sub(found);
        let elsewhere = self.gather(change.revision, found).await?;
        let receipt = self.build(change.change, change.revision, change.committed_at, here, elsewhere);
        let kept = self.keep_receipt(receipt).await?;
        serde_json::to_string(&kept).map(Some).map_err(Error::internal)
    }

    pub(super) fn build(
        &self,
        change_id: ChangeId,
        revision: Revision,
        committed_at: Timestamp,
        here: Duration,
        mut nodes: Vec<ReceiptNode>,
    ) -> Receipt {
        nodes.push(ReceiptNode { node: self.node, acknowledged: true, milliseconds: milliseconds(here) });
        nodes.sort_unstable_by_key(|node| node.node);
        Receipt { change_id, revision, committed_at, nodes }
    }

    /// Keeps the receipt, so that whoever asks again gets the same; answers the one that is kept.
    pub(super) async fn keep_receipt(&self, receipt: Receipt) -> Result<Receipt, LoadError> {
        let text = serde_json::to_string(&receipt).map_err(Error::internal)?;
        let mut tx = self.store.begin().await?;
        if tx.set_receipt(receipt.change_id, &text).await? {
            tx.commit().await.map_err(Error::from)?;
            return Ok(receipt);
        }
        // Another node was asked for it, and was quicker.
        let kept = tx.change(receipt.change_id).await?.and_then(|change| change.receipt);
        let kept = kept.ok_or_else(|| Error::internal("a change without an entry"))?;
        Ok(serde_json::from_str(&kept).map_err(Error::internal)?)
    }
}

fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}
