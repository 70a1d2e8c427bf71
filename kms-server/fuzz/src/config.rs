//! Any text is a configuration, or is refused with the line that is wrong.

use std::path::Path;

use kms_server::config::Config;

/// Checks it for these bytes.
pub fn check(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    match Config::parse_text(Path::new("/etc/keyward/kms.toml"), text) {
        // Limits are read when the server starts, and must not make it panic then.
        Ok(config) => drop(config.limits.limits()),
        Err(error) => assert!(!error.to_string().contains('\n'), "an error is one line: {error}"),
    }
}
