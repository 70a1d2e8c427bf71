//! Keeps this node a member: renews the lease, follows what others commit, expels who is silent, and shuts the gate in time.
//! It runs on a thread, a runtime and connections of its own, so that no load can starve it.

use std::{sync::Arc, time::Duration};

use tokio::time::{sleep, timeout};

use super::{Arming, Cluster, JoinError, LoadError, kill_timer::KillTimer, membership};
use crate::{
    model::Revision,
    store::{self, Hint, Hints, Newest, Store, Writer},
};

/// How long the end of the membership may take when the server stops.
const LEAVE_WITHIN: Duration = Duration::from_secs(2);
/// How long a renewal may take while there is no lease to lose: connections may have to be made for it.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// How soon after one renewal the next is tried, however much it is wanted.
const AGAIN: Duration = Duration::from_millis(50);

/// Why the lease was not renewed.
#[derive(Debug, thiserror::Error)]
enum KeepError {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Commit(#[from] store::CommitError),
    #[error(transparent)]
    Join(#[from] JoinError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("the database did not answer in time")]
    TimedOut,
    #[error("the answer came too late to count")]
    TooLate,
    #[error("the kernel's timer cannot be set")]
    Timer(#[from] nix::Error),
}

/// What the keeper's thread has for itself.
struct Keeper<D> {
    cluster: Arc<Cluster<D>>,
    /// Connections of this runtime.
    store: Store,
    writer: Writer,
    hints: Option<Hints>,
    timer: KillTimer,
    /// What the others were told that this node has applied.
    told: Revision,
    /// Whether the gate is shut and drained since the lease ended.
    shut: bool,
    /// Whether the last renewal failed: each outage is told of once.
    failing: bool,
}

/// What wakes the keeper.
enum Woken {
    Hint(Result<Hint, store::Error>),
    /// The lease is wanted now.
    Wanted,
    /// Something is due.
    Due,
    Stopping,
}

impl<D: Send + Sync + 'static> Cluster<D> {
    /// Keeps this node a member until `stopping` resolves, then leaves. The only member of a database has nothing to renew.
    ///
    /// # Errors
    ///
    /// That of the kernel's timer.
    pub async fn keep(
        self: Arc<Self>,
        arming: Arming,
        stopping: impl Future<Output = ()> + Send,
    ) -> Result<(), nix::Error> {
        let store = self.store.apart();
        let mut keeper = Keeper {
            writer: store.writer(),
            store,
            hints: None,
            timer: KillTimer::new(arming)?,
            told: Revision(0),
            shut: true,
            failing: false,
            cluster: Arc::clone(&self),
        };
        if self.store.is_shared() {
            tokio::pin!(stopping);
            keeper.run(&mut stopping).await;
        } else {
            stopping.await;
        }
        self.lease.leave();
        keeper.shut().await;
        let left = timeout(LEAVE_WITHIN, membership::leave(&keeper.store, self.node)).await;
        if !matches!(left, Ok(Ok(()))) {
            tracing::warn!("this node could not leave in order; others will wait once until its lease is over");
        }
        if self.store.is_shared() {
            let Keeper { store, writer, hints, .. } = keeper;
            // The store is closed once nobody has a connection of it.
            drop((writer, hints));
            store.close().await;
        }
        Ok(())
    }

    /// Serves nothing any more: the database is not the one that this node has followed.
    fn diverge(&self, found: &Newest) {
        let snapshot = self.snapshot();
        tracing::error!(
            control.revision = snapshot.revision.0,
            database.revision = found.revision.0,
            "ALARM: the database has taken another course than this node; it serves nothing any more"
        );
        self.lease.leave();
        self.diverged.send_replace(true);
    }
}

impl<D: Send + Sync + 'static> Keeper<D> {
    async fn run(&mut self, stopping: &mut (impl Future<Output = ()> + Unpin)) {
        let cluster = Arc::clone(&self.cluster);
        let (mut renew_at, mut tried_at) = (Duration::ZERO, Duration::ZERO);
        loop {
            if !cluster.lease.holds() && !self.shut {
                tracing::error!("the lease has ended: nothing is answered until the database is heard from again");
                metrics::counter!("keyward_leases_lost_total").increment(1);
                self.shut().await;
            }
            if *cluster.diverged.borrow() {
                return stopping.await;
            }
            if cluster.time.boot() >= renew_at {
                tried_at = cluster.time.boot();
                renew_at = tried_at.saturating_add(cluster.lease.terms.renew_every());
                self.renew().await;
            }
            match self.wait(renew_at, stopping).await {
                Woken::Stopping => return,
                Woken::Due => {}
                Woken::Wanted => renew_at = renew_at.min(tried_at.saturating_add(AGAIN)),
                Woken::Hint(Ok(Hint::Applied)) => {
                    cluster.heard.send_replace(());
                }
                Woken::Hint(Ok(Hint::Change(revision))) => {
                    if revision > *cluster.drained.borrow() {
                        renew_at = Duration::ZERO;
                        if let Err(error) = self.in_time(Self::follow).await {
                            self.failed(&error);
                        }
                    }
                }
                Woken::Hint(Ok(Hint::Gap)) => {
                    cluster.heard.send_replace(());
                    renew_at = Duration::ZERO;
                }
                Woken::Hint(Err(error)) => {
                    self.hints = None;
                    self.failed(&error.into());
                }
            }
        }
    }

    async fn wait(&mut self, renew_at: Duration, stopping: &mut (impl Future<Output = ()> + Unpin)) -> Woken {
        let Self { cluster, hints, .. } = self;
        let due = if cluster.lease.holds() { renew_at.min(cluster.lease.shut_at()) } else { renew_at };
        let hint = async {
            match hints {
                Some(hints) => hints.next().await,
                None => std::future::pending().await,
            }
        };
        #[expect(clippy::disallowed_methods, reason = "the keeper has a beat; whoever wants it sooner says so")]
        let beat = sleep(due.saturating_sub(cluster.time.boot()));
        tokio::select! {
            biased;
            () = stopping => Woken::Stopping,
            () = beat => Woken::Due,
            hint = hint => Woken::Hint(hint),
            () = cluster.wanted.notified() => Woken::Wanted,
        }
    }

    /// Renews the lease. What is found newer is applied, and the others are told of that at once.
    async fn renew(&mut self) {
        loop {
            match self.in_time(Self::turn).await {
                Ok(()) if *self.cluster.drained.borrow() > self.told => {}
                Ok(()) => break,
                Err(error) => return self.failed(&error),
            }
        }
        if std::mem::take(&mut self.failing) {
            tracing::info!("the database is heard from again");
        }
        let snapshot = self.cluster.snapshot();
        let anchor = &self.cluster.anchor;
        if let Err(error) = anchor.remember_in_file(&self.cluster.row_key, snapshot.revision, snapshot.hash).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the newest revision is not remembered on this host"
            );
        }
    }

    /// Does something that must not outlast the lease, nor hang for long without one.
    async fn in_time<'k, F>(&'k mut self, work: impl FnOnce(&'k mut Self) -> F) -> Result<(), KeepError>
    where
        F: Future<Output = Result<(), KeepError>> + 'k,
    {
        let lease = &self.cluster.lease;
        let left = lease.shut_at().saturating_sub(self.cluster.time.boot());
        let patience = if lease.holds() { lease.terms.renewal_timeout().min(left) } else { CONNECT_WITHIN };
        timeout(patience, work(self)).await.unwrap_or(Err(KeepError::TimedOut))
    }

    /// One renewal: sent, committed, and counted once the revision that it answered is applied and drained here.
    async fn turn(&mut self) -> Result<(), KeepError> {
        let cluster = Arc::clone(&self.cluster);
        if self.hints.is_none() {
            self.hints = Some(self.store.hints().await?);
        }
        let carried = *cluster.drained.borrow();
        let sent = cluster.time.boot();
        let mut tx = self.writer.begin().await?;
        let time = tx.time().await?;
        let Some(newest) = tx.renew(cluster.node, carried).await? else {
            tx.rollback().await?;
            return self.rejoin().await;
        };
        let members = tx.members().await?;
        if carried > self.told {
            tx.hint(Hint::Applied).await?;
        }
        tx.commit().await?;
        self.told = carried;
        if let Some(time) = time {
            cluster.time.count(time);
        }
        let snapshot = cluster.snapshot();
        if newest.revision < carried || (newest.revision == snapshot.revision && newest.hash != snapshot.hash) {
            cluster.diverge(&newest);
            return Ok(());
        }
        if newest.revision > *cluster.drained.borrow() {
            self.follow().await?;
        }
        self.count(sent, newest.revision)?;
        metrics::gauge!("keyward_members").set(u32::try_from(members.len()).map_or(f64::MAX, f64::from));
        for member in cluster.silent(&members).into_iter().filter(|member| member.node != cluster.node) {
            let mut tx = self.writer.begin().await?;
            let expelled = tx.expel_member(member).await?;
            tx.hint(Hint::Applied).await?;
            tx.commit().await?;
            if expelled {
                tracing::warn!(member.id = %member.node, "a node was silent for a whole lease: it is a member no longer");
            }
        }
        Ok(())
    }

    fn count(&mut self, sent: Duration, newest: Revision) -> Result<(), KeepError> {
        let cluster = &self.cluster;
        let (now, terms) = (cluster.time.boot(), cluster.lease.terms);
        if *cluster.drained.borrow() < newest || now >= sent.saturating_add(terms.open()) {
            return Err(KeepError::TooLate);
        }
        // The kernel first: if this process is stopped here, the older end of the lease is the one that counts.
        self.timer.arm(sent.saturating_add(terms.life()))?;
        cluster.lease.count(sent);
        self.shut = false;
        cluster.renewed.send_replace(());
        Ok(())
    }

    /// Applies and drains what others have committed.
    async fn follow(&mut self) -> Result<(), KeepError> {
        let followed = self.cluster.catch_up(&self.store).await;
        if let Err(LoadError::Altered { revision, .. }) = &followed {
            self.cluster.diverge(&Newest { revision: *revision, hash: [0; 32] });
        }
        Ok(followed?)
    }

    /// Others have seen this node silent for a whole lease. Its own is over, so it may begin anew.
    async fn rejoin(&mut self) -> Result<(), KeepError> {
        let cluster = &self.cluster;
        let Some(joining) = &cluster.joining else { return Ok(()) };
        membership::join(&self.store, cluster.node, joining, cluster.now()).await?;
        self.told = Revision(0);
        tracing::warn!("others had given this node up; it is a member again");
        Ok(())
    }

    /// Waits until nothing leaves any more, then takes the kernel's hand away.
    async fn shut(&mut self) {
        self.cluster.epochs.turn_over();
        self.cluster.epochs.drained().await;
        if let Err(error) = self.timer.disarm() {
            tracing::error!(error = &error as &dyn std::error::Error, "the kernel's timer cannot be disarmed");
        }
        self.shut = true;
    }

    fn failed(&mut self, error: &KeepError) {
        self.writer.discard();
        metrics::counter!("keyward_lease_renewals_failed_total").increment(1);
        if !std::mem::replace(&mut self.failing, true) {
            tracing::warn!(error = error as &dyn std::error::Error, "the lease was not renewed");
        }
    }
}
