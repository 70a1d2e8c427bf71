//! Where SoftHSM is and where it keeps its tokens. It learns its folder only from the file that `SOFTHSM2_CONF` names, and
//! reads it once per process; setting that variable is for whoever starts the process, never done here.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Makes `dir/tokens` (mode 0700) and `dir/softhsm2.conf`, and returns the latter's absolute path for `SOFTHSM2_CONF`.
///
/// Missing folders are made. Tokens that are there already stay.
///
/// # Errors
///
/// The folder cannot be made or written, or its path cannot stand in SoftHSM's file (not UTF-8, or a line break in it).
pub fn write_config(dir: &Path) -> io::Result<PathBuf> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(dir.join("tokens"))?;

    let dir = fs::canonicalize(dir)?;
    let tokens = dir.join("tokens");
    let tokens = tokens.to_str().filter(|path| !path.contains(['\n', '\r']));
    let tokens = tokens.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "path is not one line of UTF-8"))?;
    let config = format!(
        "directories.tokendir = {tokens}\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = false\n"
    );

    // A process that starts meanwhile reads the old file or the new one.
    let path = dir.join("softhsm2.conf");
    let draft = dir.join(format!("softhsm2.conf.{}", std::process::id()));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(config.as_bytes())?;
    file.sync_all()?;
    fs::rename(&draft, &path)?;
    Ok(path)
}

/// SoftHSM's module, where distributions put it; `None` when it is not installed.
#[must_use]
pub fn find_module() -> Option<PathBuf> {
    MODULES.iter().map(PathBuf::from).find(|path| path.is_file())
}

const MODULES: &[&str] = &[
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/lib64/libsofthsm2.so",
    "/usr/lib/pkcs11/libsofthsm2.so",
    "/usr/lib/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
];

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_folder_is_its_owners_alone() {
        let dir = std::env::temp_dir().join(format!("keyward-softhsm-{}", std::process::id()));
        let config = write_config(&dir.join("new/folder")).unwrap();
        assert_eq!(write_config(&dir.join("new/folder")).unwrap(), config);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let tokens = config.with_file_name("tokens");
        assert_eq!((mode(&tokens), mode(&config)), (0o700, 0o600));
        let text = fs::read_to_string(&config).unwrap();
        assert!(text.contains(&format!("directories.tokendir = {}\n", tokens.display())), "{text}");
        assert!(write_config(&dir.join("two\nlines")).is_err());
        fs::remove_dir_all(dir).unwrap();
    }
}
