//! Refusals that anybody can cause at any rate: recorded singly up to a rate, counted beyond it.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use kms_client::{
    format::record::{Outcome, Surface},
    id::RequestId,
};

use super::Draft;

/// A token bucket, and the counts of what did not fit.
#[derive(Debug, Default)]
pub(super) struct Notes(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// When the bucket was last looked at; `None` before the first time, when it is full.
    at: Option<Duration>,
    tokens: f64,
    counts: BTreeMap<Kind, Draft>,
}

type Kind = (Surface, String, Outcome, String);

impl Notes {
    /// Whether one more may have a record of its own.
    pub(super) fn allows_one(&self, now: Duration) -> bool {
        let mut inner = self.lock();
        let gained = inner.at.map_or(BURST, |at| now.saturating_sub(at).as_secs_f64() * PER_SECOND);
        inner.at = Some(now);
        inner.tokens = (inner.tokens + gained).min(BURST);
        let allowed = inner.tokens >= 1.0;
        if allowed {
            inner.tokens -= 1.0;
        }
        allowed
    }

    /// Counts one, or as many as the draft says.
    pub(super) fn count(&self, draft: Draft) {
        let mut inner = self.lock();
        let mut kind = (draft.surface, draft.action.clone(), draft.outcome, draft.reason.clone());
        if inner.counts.len() >= KINDS && !inner.counts.contains_key(&kind) {
            // Actions and reasons are our own words, so this does not happen; if it did, memory would still have a bound.
            "other".clone_into(&mut kind.3);
        }
        let (revision, added) = (draft.revision, draft.count);
        let reason = kind.3.clone();
        let counted = inner.counts.entry(kind).or_insert_with(|| Draft { reason, count: 0, ..anonymous(draft) });
        counted.count = counted.count.saturating_add(added);
        counted.revision = counted.revision.max(revision);
    }

    /// Takes every count out, each as the draft of a record.
    pub(super) fn take(&self) -> Vec<Draft> {
        std::mem::take(&mut self.lock().counts).into_values().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What many of a kind have in common.
fn anonymous(draft: Draft) -> Draft {
    Draft {
        surface: draft.surface,
        outcome: draft.outcome,
        reason: draft.reason,
        ..Draft::system(RequestId::from_bytes([0; 16]), &draft.action, &draft.region, draft.revision)
    }
}

/// Records a second that refusals may have.
const PER_SECOND: f64 = 100.0;
/// How many they may have at once after a quiet second.
const BURST: f64 = 100.0;
/// How many kinds are counted apart.
const KINDS: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_empties_and_fills_with_time() {
        let notes = Notes::default();
        let now = Duration::from_secs(5);
        assert_eq!((0..200).filter(|_| notes.allows_one(now)).count(), 100);
        assert_eq!((0..200).filter(|_| notes.allows_one(now + Duration::from_millis(500))).count(), 50);
    }

    #[test]
    fn counts_are_by_kind_and_name_nobody() {
        let notes = Notes::default();
        let mut draft = Draft::system(RequestId::from_bytes([1; 16]), "unwrap", "eu-1", 3);
        draft.outcome = Outcome::Denied;
        draft.reason = "unauthenticated".to_owned();
        draft.source = Some([10, 0, 0, 1].into());
        notes.count(draft.clone());
        notes.count(draft.clone());
        notes.count(Draft { reason: "overloaded".to_owned(), ..draft });
        let counted = notes.take();
        let summary: Vec<_> = counted.iter().map(|draft| (draft.reason.as_str(), draft.count, draft.source)).collect();
        assert_eq!(summary, [("overloaded", 1, None), ("unauthenticated", 2, None)]);
        assert!(notes.take().is_empty());
    }
}
