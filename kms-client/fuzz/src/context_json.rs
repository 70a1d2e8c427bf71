//! What is taken as an encryption context is within the limits, and says what JSON's own reading of it says.

use kms_client::format::context::{EncryptionContext, MAX_CANONICAL_BYTES, MAX_PAIRS};

/// Checks it for these bytes.
pub fn check(bytes: &[u8]) {
    let Ok(context) = serde_json::from_slice::<EncryptionContext>(bytes) else { return };
    assert!(context.len() <= MAX_PAIRS);
    assert!(context.canonical().len() <= MAX_CANONICAL_BYTES);
    assert!(context.iter().all(|(key, _)| !key.is_empty()));
    let json = serde_json::from_slice::<serde_json::Value>(bytes).expect("it was JSON a moment ago");
    assert_eq!(serde_json::to_value(&context).expect("a context has JSON"), json);
}
