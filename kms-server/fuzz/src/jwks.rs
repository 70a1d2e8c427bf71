//! Any text is a key set, or is refused in words.

use kms_server::{authn::check_key_source, model::JwksSource};

/// Checks it for these bytes.
pub fn check(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let inline = JwksSource::Inline(text.to_owned());
    if let Err(error) = check_key_source(&inline) {
        assert_eq!(error.code(), "invalid_request", "{error}");
    }
    let (url, ca_pem) = text.split_once('\n').map_or((text, None), |(url, pem)| (url, Some(pem.to_owned())));
    match check_key_source(&JwksSource::Url { url: url.to_owned(), ca_pem }) {
        Ok(()) => assert!(url.starts_with("https://") && !url.contains(char::is_control), "{url}"),
        Err(error) => assert_eq!(error.code(), "invalid_request", "{error}"),
    }
}
