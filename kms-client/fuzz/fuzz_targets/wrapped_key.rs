//! What parses as a wrapped key, as bytes or as text, is spelled in the only way there is.
#![no_main]

use kms_client::format::WrappedKey;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(wrapped) = WrappedKey::parse(bytes) {
        assert_eq!(wrapped.to_bytes(), bytes);
        assert_eq!(wrapped.to_string().parse(), Ok(wrapped));
    }
    if let Ok(text) = str::from_utf8(bytes)
        && let Ok(wrapped) = text.parse::<WrappedKey>()
    {
        assert_eq!(wrapped.to_string(), text);
    }
});
