//! Any text is a custom policy that can be put in force, or is refused with the place of what is wrong.

use std::sync::{Arc, LazyLock};

use kms_client::id::PolicyId;
use kms_server::{
    model::{ControlState, CustomPolicy, PolicyVersion, Revision, Row, RuleState, Text},
    policy::{Policies, Statement},
};

use crate::world::WORLD;

/// The policies that come with the program.
pub(crate) static BUILT_IN: LazyLock<Policies> =
    LazyLock::new(|| Policies::built_in("eu-1".parse().expect("it is a region")).expect("they are valid"));

/// Checks it for these bytes.
pub fn check(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let name = "fuzzed".parse().expect("it is a name");
    match BUILT_IN.read(&name, text, &WORLD.state) {
        Ok(statements) => {
            assert!(!statements.is_empty());
            statements.iter().for_each(assert_allowed);
            // What can be read can be put in force, cut to slices.
            let derived = BUILT_IN.derive(&with(text));
            assert!(derived.is_ok() || statements.len() > CustomPolicy::MAX_STATEMENTS, "{derived:?}");
        }
        Err(faults) => {
            let lines = text.split('\n').count();
            assert!(!faults.is_empty());
            for fault in &faults {
                assert!((1..=lines).contains(&fault.line) && fault.column >= 1 && !fault.message.is_empty(), "{fault}");
            }
            assert_eq!(Policies::refusal(&faults).code(), "invalid_policy");
        }
    }
}

/// The rules of custom policies, whatever their text.
fn assert_allowed(statement: &Statement) {
    for action in &statement.actions {
        if statement.permits {
            assert!(action.is_data(), "{statement:?}");
        } else {
            assert!(!action.is_always_open() && !action.is_internal(), "{statement:?}");
        }
    }
}

fn with(text: &str) -> ControlState {
    let (created_at, revision) = ("2026-01-01T00:00:00Z".parse().expect("it is a time"), Revision(1));
    let mut state = WORLD.state.clone();
    state.put(Row::Policy(Arc::new(CustomPolicy {
        id: PolicyId::from_bytes([4; 16]),
        name: "fuzzed".parse().expect("it is a name"),
        description: Text::default(),
        text: text.to_owned(),
        version: 1,
        versions: vec![PolicyVersion { version: 1, revision, created_at }],
        state: RuleState::Active,
        created_at,
        revision,
    })));
    state
}
