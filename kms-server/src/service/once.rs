//! Changes that are to be made once, however often they are asked for: a caller names its request, and who names it again
//! gets the answer of the first. The name is kept in the change's own transaction for a day, so neither a crash nor another
//! node makes a second of anything; a request that was refused leaves no name behind.

use std::{
    collections::HashMap,
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use kms_client::id::{ChangeId, PrincipalId};
use serde::Serialize;

use super::{Call, Changed, Outcome, Service};
use crate::{
    cluster::Receipt,
    gate::{Asked, Attempt, Decision, Facts, Unaudited},
    model::{Change, Error, Refusal, Revision, Row},
    policy,
    store::{ControlChange, IdempotencyKey},
};

/// How long a name stands for its request.
const KEPT: Duration = Duration::from_hours(24);
/// The longest name.
const LONGEST: usize = 255;

/// On which terms a change is asked for.
#[derive(Debug, Clone, Default)]
pub struct Terms {
    /// The revision that what it touches must still have; `None`: whatever it has.
    pub expected: Option<Revision>,
    /// The name under which it is made once; `None`: as often as it is asked for.
    pub once: Option<Once>,
    /// Whether the caller is content with an acceptance.
    pub later: bool,
}

/// A request that is to be carried out once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Once {
    /// What the caller calls it.
    pub name: OnceName,
    /// The digest of all that was asked.
    pub digest: [u8; 32],
}

/// What a caller calls a request: 1 to 255 printable characters of ASCII.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OnceName(String);

/// The named requests that are under way on this node.
#[derive(Debug, Clone, Default)]
pub(super) struct UnderWay(Arc<Mutex<Names>>);

/// Whose name it is, the name, and the digest of the request.
type Names = HashMap<(PrincipalId, OnceName), [u8; 32]>;

/// One of them, until it is dropped.
#[derive(Debug)]
struct Turn {
    under_way: UnderWay,
    key: (PrincipalId, OnceName),
}

impl Service {
    /// Makes a change by `make`, or answers what came of it when it was made before under the same name.
    pub(super) async fn once(
        &self,
        call: &Call,
        change: Change,
        once: Option<Once>,
        make: impl AsyncFnOnce(Change) -> Outcome<Changed>,
    ) -> Outcome<Changed> {
        let Some(once) = once else { return make(change).await };
        let intent = call.caller.intends(&call.request, change.operation.action(), change.operation.target());
        if policy::authorise(&self.cluster().snapshot(), self.cluster().now(), &intent).is_err() {
            // It will be refused, and on record; whoever has no right learns nothing of names.
            return make(change).await;
        }
        let _turn = match self.inner.under_way.begin(call.caller.principal(), &once) {
            Ok(turn) => turn,
            Err(error) => return self.failed_change(call, &change, error).await,
        };
        match self.made_before(call, &once).await {
            Ok(Some(earlier)) => self.repeat(call, earlier).await,
            Ok(None) => make(change).await,
            Err(error) => self.failed_change(call, &change, error).await,
        }
    }

    /// Whether no request under this name is under way.
    pub(super) fn is_free(&self, call: &Call, once: &Once) -> Result<(), Error> {
        self.inner.under_way.begin(call.caller.principal(), once).map(drop)
    }

    /// The change that was made under this name.
    pub(super) async fn made_before(&self, call: &Call, once: &Once) -> Result<Option<ControlChange>, Error> {
        let mut tx = self.inner.store.read().await?;
        let principal = call.caller.principal();
        let Some(kept) = tx.idempotency_key(principal, &once.name.0, self.cluster().now()).await? else {
            return Ok(None);
        };
        if kept.digest != once.digest {
            return Err(reused());
        }
        let made = tx.change(kept.change).await?.filter(|made| made.principal == Some(principal));
        made.map(Some).ok_or_else(|| Error::internal("an idempotency key names a change that its caller did not make"))
    }

    /// The answer of a change that was made before, to a caller who may still make it.
    pub(super) async fn repeat(&self, call: &Call, made: ControlChange) -> Outcome<Changed> {
        let (snapshot, now) = (self.cluster().snapshot(), self.cluster().now());
        let change: Change = match serde_json::from_str(&made.body) {
            Ok(change) => change,
            Err(error) => return Err(crate::gate::Refused { error: Error::internal(error), record: None }),
        };
        let intent = call.caller.intends(&call.request, change.operation.action(), change.operation.target());
        // The record does not count as the change's own: that one must be there besides.
        let facts = Facts { key: change.operation.key(), detail: detail(change.id), ..Facts::default() };
        let attempt = match policy::authorise(&snapshot, now, &intent) {
            Ok(permit) => {
                let result = Changed::of(&made).map(Unaudited::new);
                Attempt { asked: vec![Asked { intent, decision: Decision::Permitted(permit), facts }], result }
            }
            Err(denial) => Attempt::denied(intent, denial, facts),
        };
        self.gate().release_one(&snapshot, attempt).await
    }

    /// Forgets the names whose day is over. Answers how many.
    ///
    /// # Errors
    ///
    /// That of the database.
    pub async fn forget_names(&self) -> Result<u64, Error> {
        let mut tx = self.inner.store.begin().await?;
        let forgotten = tx.forget_idempotency_keys(self.cluster().now()).await?;
        tx.commit().await?;
        Ok(forgotten)
    }
}

impl Changed {
    /// What a stored change did.
    fn of(made: &ControlChange) -> Result<Self, Error> {
        let rows: Vec<Row> = serde_json::from_str(&made.rows).map_err(Error::internal)?;
        let kept: Option<Receipt> =
            made.receipt.as_deref().map(serde_json::from_str).transpose().map_err(Error::internal)?;
        // A node that died before it wrote the receipt down served nothing afterwards either.
        let receipt = kept.unwrap_or_else(|| Receipt {
            change_id: made.change,
            revision: made.revision,
            committed_at: made.committed_at,
            nodes: Vec::new(),
        });
        Ok(Self { receipt, rows, repeated: true })
    }
}

impl Once {
    /// The row that keeps it, for a change made at `now`.
    pub(super) fn row(&self, principal: PrincipalId, change: ChangeId, now: jiff::Timestamp) -> IdempotencyKey {
        IdempotencyKey {
            principal,
            name: self.name.0.clone(),
            digest: self.digest,
            change,
            expires_at: now.checked_add(KEPT).unwrap_or(jiff::Timestamp::MAX),
        }
    }
}

impl FromStr for OnceName {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let printable = name.bytes().all(|byte| (0x20..=0x7e).contains(&byte));
        if (1..=LONGEST).contains(&name.len()) && printable {
            return Ok(Self(name.to_owned()));
        }
        Err(Error::invalid(format!("`idempotency-key`: 1 to {LONGEST} printable characters of ASCII")))
    }
}

impl UnderWay {
    fn begin(&self, principal: PrincipalId, once: &Once) -> Result<Turn, Error> {
        let key = (principal, once.name.clone());
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match names.get(&key) {
            Some(digest) if *digest != once.digest => Err(reused()),
            Some(_) => Err(Error::conflict(
                Refusal::IdempotencyInProgress,
                "the first request under this idempotency key is still under way; ask again in a moment",
            )),
            None => {
                names.insert(key.clone(), once.digest);
                Ok(Turn { under_way: self.clone(), key })
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.under_way.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

fn reused() -> Error {
    Error::conflict(
        Refusal::IdempotencyKeyReused,
        "the idempotency key was used for another request within the last day; give each request one of its own",
    )
}

fn detail(change: ChangeId) -> Option<String> {
    #[derive(Serialize)]
    struct Detail {
        repeats: ChangeId,
    }
    serde_json::to_string(&Detail { repeats: change }).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn once(name: &str, digest: u8) -> Once {
        Once { name: name.parse().unwrap(), digest: [digest; 32] }
    }

    #[test]
    fn a_name_is_short_and_printable() {
        assert!("8e03978e-40d5-43dd-bc93-6894a57f9324".parse::<OnceName>().is_ok());
        assert!("a".repeat(255).parse::<OnceName>().is_ok());
        for bad in ["", "a\tb", "grün", &"a".repeat(256)] {
            assert!(bad.parse::<OnceName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_name_is_under_way_once_for_each_principal() {
        let under_way = UnderWay::default();
        let (ada, ben) = (PrincipalId::from_bytes([1; 16]), PrincipalId::from_bytes([2; 16]));
        let turn = under_way.begin(ada, &once("a", 1)).unwrap();
        assert_eq!(under_way.begin(ada, &once("a", 1)).unwrap_err().code(), "idempotency_in_progress");
        assert_eq!(under_way.begin(ada, &once("a", 2)).unwrap_err().code(), "idempotency_key_reused");
        assert!(under_way.begin(ada, &once("b", 2)).is_ok());
        assert!(under_way.begin(ben, &once("a", 2)).is_ok());
        drop(turn);
        assert!(under_way.begin(ada, &once("a", 2)).is_ok());
    }
}
