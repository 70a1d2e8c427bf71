//! What an older version of the program, or a restored database, holds under a right authentication: it is read as it was
//! written, or refused, and what was read can be put in force.

use std::sync::{Arc, LazyLock};

use kms_server::{
    authn::Authenticator,
    cluster::{
        Remembered, RowKey,
        fuzzing::{read_anchor, read_row, write_anchor},
    },
    model::{Change, Row, SystemClock},
    supervisor::Supervisor,
};

use crate::{policy::BUILT_IN, world::WORLD};

static KEY: LazyLock<RowKey> = LazyLock::new(|| RowKey::new(&vec![8; 32].into()));

/// Checks it for these bytes.
pub fn check(bytes: &[u8]) {
    assert!(read_anchor(&KEY, bytes).is_err(), "an anchor was forged");
    if let Ok(remembered) = serde_json::from_slice::<Remembered>(bytes) {
        let text = write_anchor(&KEY, remembered.clone()).expect("what was read can be written");
        assert_eq!(read_anchor(&KEY, text.as_bytes()).expect("and read again"), remembered);
    }
    if let Ok(change) = serde_json::from_slice::<Change>(bytes) {
        let json = serde_json::to_string(&change).expect("what was read can be written");
        let again: Change = serde_json::from_str(&json).expect("and read again");
        assert_eq!(again.digest().ok(), change.digest().ok());
        assert_eq!(again, change);
    }
    if let Ok(text) = str::from_utf8(bytes)
        && let Ok(row) = serde_json::from_str::<Row>(text)
    {
        let read = read_row(&KEY, row.kind(), row.id(), row.revision(), text).expect("it is authentic");
        let json = serde_json::to_string(&read).expect("what was read can be written");
        assert_eq!(serde_json::from_str::<Row>(&json).expect("and read again"), read);
        put_in_force(read);
    }
}

/// Everything that derives something from control state does so.
fn put_in_force(row: Row) {
    let mut state = WORLD.state.clone();
    state.put(row);
    let _refused = BUILT_IN.derive(&state);
    Authenticator::new(Arc::new(SystemClock), Supervisor::default()).prepare(&state);
}
