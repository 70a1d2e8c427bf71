//! Keys under every sequence of changes: whatever administrators do in whatever order, what must hold holds.

use std::sync::Arc;

use hsm::{Canary, ObjectId};
use jiff::{SignedDuration, Timestamp};
use kms_client::id::{ChangeId, KeyId, KeyVersion};
use proptest::prelude::*;

use super::{
    Change, ControlState, Environment, Key, KeyState, NewKeyVersion, Operation, Reason, Revision, Rotation,
    RotationCause, Row, Tags, Text, VersionState,
};

const KEY: KeyId = KeyId::from_bytes([1; 16]);
const START: Timestamp = Timestamp::UNIX_EPOCH;

/// What somebody tries, at a moment so many hours later.
#[derive(Debug, Clone, Copy)]
enum Step {
    Rotate,
    Enable,
    Disable,
    Revoke,
    RevokeVersion(u32),
    Schedule(u16),
    Cancel,
    Destroy,
}

fn step() -> impl Strategy<Value = (Step, i64)> {
    let step = prop_oneof![
        Just(Step::Rotate),
        Just(Step::Enable),
        Just(Step::Disable),
        Just(Step::Revoke),
        (1..4_u32).prop_map(Step::RevokeVersion),
        (5..33_u16).prop_map(Step::Schedule),
        Just(Step::Cancel),
        Just(Step::Destroy),
    ];
    (step, 0..400_i64)
}

fn material(number: u32) -> NewKeyVersion {
    let [a, b, c, d] = number.to_be_bytes();
    let object = ObjectId::new([a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    NewKeyVersion { object, canary: Canary::from_bytes(&[]) }
}

fn create() -> Operation {
    Operation::CreateKey {
        key: KEY,
        aliases: Vec::new(),
        description: Text::default(),
        owner: None,
        tags: Tags::default(),
        data_class: "clinical".parse().unwrap(),
        region: "eu-1".parse().unwrap(),
        environment: Environment::Production,
        key_store: "default".parse().unwrap(),
        rotation: Rotation::default(),
        material: material(1),
    }
}

fn operation(step: Step, key: &Key) -> Operation {
    let reason: Reason = "because".parse().unwrap();
    match step {
        Step::Rotate => {
            let version = key.versions.last().unwrap().version.next().unwrap();
            let cause = RotationCause::Requested;
            Operation::RotateKey { key: KEY, version, cause, material: material(version.number()) }
        }
        Step::Enable => Operation::EnableKey { key: KEY },
        Step::Disable => Operation::DisableKey { key: KEY, reason },
        Step::Revoke => Operation::RevokeKey { key: KEY, reason },
        Step::RevokeVersion(version) => {
            Operation::RevokeKeyVersion { key: KEY, version: KeyVersion::new(version).unwrap(), reason }
        }
        Step::Schedule(waiting_days) => Operation::ScheduleKeyDeletion { key: KEY, waiting_days, reason },
        Step::Cancel => Operation::CancelKeyDeletion { key: KEY },
        Step::Destroy => Operation::DestroyKey { key: KEY },
    }
}

/// The state after a change, or that it was refused.
fn after(state: &ControlState, operation: Operation, revision: Revision, now: Timestamp) -> Option<ControlState> {
    let change = Change { id: ChangeId::from_bytes([2; 16]), expected: None, operation };
    let rows: Vec<Row> = change.apply(state, revision, now).ok()?;
    let mut state = state.clone();
    for row in rows {
        state.put(row);
    }
    Some(state)
}

fn holds_of_one(key: &Key) -> Result<(), TestCaseError> {
    let numbers: Vec<u32> = key.versions.iter().map(|version| version.version.number()).collect();
    prop_assert_eq!(&numbers, &(1..=u32::try_from(numbers.len()).unwrap()).collect::<Vec<_>>());
    prop_assert!(key.version(key.primary_version).is_some());
    prop_assert_eq!(key.deletion.is_some(), matches!(key.state, KeyState::PendingDeletion | KeyState::Destroyed));
    prop_assert_eq!(key.destroyed_at.is_some(), key.state == KeyState::Destroyed);
    for version in &key.versions {
        let gone = version.state == VersionState::Destroyed;
        prop_assert_eq!(gone, key.state == KeyState::Destroyed);
        let usable = key.state == KeyState::Enabled && version.state == VersionState::Enabled;
        prop_assert_eq!(key.usable_version(version.version).is_ok(), usable);
    }
    Ok(())
}

fn holds_between(before: &Key, after: &Key, now: Timestamp) -> Result<(), TestCaseError> {
    prop_assert!(after.revision > before.revision);
    prop_assert!(before.state != KeyState::Destroyed, "destroyed is the end");
    // Versions are added and never forgotten, exchanged or let out of what they were revoked for.
    prop_assert!(after.versions.len() >= before.versions.len());
    for (older, newer) in before.versions.iter().zip(&after.versions) {
        prop_assert_eq!((older.object, older.version), (newer.object, newer.version));
        prop_assert!(older.state != VersionState::Revoked || newer.state != VersionState::Enabled);
    }
    prop_assert!(after.primary_version >= before.primary_version);
    // What was revoked comes back to no use, on no way.
    let revoked =
        |key: &Key| key.state == KeyState::Revoked || key.deletion.as_ref().is_some_and(|deletion| deletion.revoked);
    prop_assert!(!revoked(before) || revoked(after), "{before:?} became {after:?}");
    // Nothing is destroyed that did not wait, and none before its time.
    if after.state == KeyState::Destroyed {
        prop_assert_eq!(before.state, KeyState::PendingDeletion);
        let deletion = before.deletion.as_ref().unwrap();
        prop_assert!(now >= deletion.scheduled_at + SignedDuration::from_hours(24 * 7));
    }
    Ok(())
}

proptest! {
    #[test]
    fn whatever_happens_to_a_key(steps in proptest::collection::vec(step(), 0..40)) {
        let mut now = START;
        let mut revision = Revision(1);
        let mut state = after(&ControlState::default(), create(), revision, now).unwrap();
        for (step, hours) in steps {
            now += SignedDuration::from_hours(hours);
            revision = revision.next();
            let before = Arc::clone(state.key(KEY).unwrap());
            if let Some(changed) = after(&state, operation(step, &before), revision, now) {
                let key = changed.key(KEY).unwrap();
                holds_of_one(key)?;
                holds_between(&before, key, now)?;
                state = changed;
            }
        }
    }
}
