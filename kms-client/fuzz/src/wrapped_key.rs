//! What parses as a wrapped key, as bytes or as text, is spelled in the only way there is.

use kms_client::format::WrappedKey;

/// Checks it for these bytes.
pub fn check(bytes: &[u8]) {
    if let Ok(wrapped) = WrappedKey::parse(bytes) {
        assert_eq!(wrapped.to_bytes(), bytes);
        assert_eq!(wrapped.to_string().parse(), Ok(wrapped));
    }
    if let Ok(text) = str::from_utf8(bytes)
        && let Ok(wrapped) = text.parse::<WrappedKey>()
    {
        assert_eq!(wrapped.to_string(), text);
    }
}
