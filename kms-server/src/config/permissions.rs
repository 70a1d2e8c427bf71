//! Who may read and write the files that the server stands on. A secret is for the server's user alone; what the server
//! believes must not be another's to write, nor must the folders above it.

use std::{
    fs::{self, Metadata},
    os::unix::fs::MetadataExt as _,
    path::Path,
};

use nix::unistd::geteuid;

use super::Problem;

/// What others may do with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shared {
    /// Nothing: it holds a secret, or the data itself.
    Nothing,
    /// Read it.
    Read,
}

/// What is wrong with the permissions and owners of this file and of the folders above it. One that is not there is not
/// looked at.
#[must_use]
pub fn permissions(field: &'static str, path: &Path, shared: Shared) -> Vec<Problem> {
    let Ok(found) = fs::metadata(path) else { return Vec::new() };
    let mut problems = Vec::new();
    let (kind, mode) = if found.is_dir() { ("folder", "700") } else { ("file", "600") };
    let (open, group) = match shared {
        Shared::Nothing => (found.mode() & (OTHERS | GROUP_WRITE), found.mode() & GROUP_READ),
        Shared::Read => (found.mode() & (OTHERS_WRITE | GROUP_WRITE), 0),
    };
    let shown = found.mode() & 0o777;
    let mode = if shared == Shared::Read && !found.is_dir() { "644" } else { mode };
    if open != 0 {
        let what = format!("the {kind} is open to others (mode {shown:03o})");
        problems.push(Problem::error(field, what, format!("`chmod {mode} {}`", path.display())).in_file(path));
    } else if group != 0 {
        let what = format!("its group may read the {kind} (mode {shown:03o})");
        let advice = format!("`chmod {mode} {}`, unless the group is the server's alone", path.display());
        problems.push(Problem::warning(field, what, advice).in_file(path));
    }
    if !is_ours(&found) {
        let what = format!("the {kind} belongs to user {}, who can change it", found.uid());
        let advice = format!("`chown {} {}`", geteuid(), path.display());
        problems.push(Problem::error(field, what, advice).in_file(path));
    }
    problems.extend(parents(field, path));
    problems
}

/// A folder in which anybody may put one file in place of another.
fn parents(field: &'static str, path: &Path) -> Option<Problem> {
    let whole = fs::canonicalize(path).ok()?;
    let open = whole.ancestors().skip(1).find(|folder| {
        fs::metadata(folder).is_ok_and(|found| found.mode() & OTHERS_WRITE != 0 && found.mode() & STICKY == 0)
    })?;
    let what = "anybody may replace what is in this folder above it";
    Some(Problem::error(field, what, format!("`chmod o-w {}`", open.display())).in_file(open))
}

/// Whether the file belongs to who runs this, or to root, who can do anything anyway.
fn is_ours(found: &Metadata) -> bool {
    found.uid() == 0 || found.uid() == geteuid().as_raw()
}

const OTHERS: u32 = 0o007;
const OTHERS_WRITE: u32 = 0o002;
const GROUP_READ: u32 = 0o050;
const GROUP_WRITE: u32 = 0o020;
const STICKY: u32 = 0o1000;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::config::Severity;

    #[test]
    fn only_what_others_may_do_is_a_problem() {
        let file = std::env::temp_dir().join(format!("keyward-permissions-{}", std::process::id()));
        fs::write(&file, "secret").unwrap();
        let look = |mode, shared| {
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            permissions("f", &file, shared).iter().map(|problem| problem.severity).collect::<Vec<_>>()
        };
        assert_eq!(look(0o600, Shared::Nothing), []);
        assert_eq!(look(0o400, Shared::Nothing), []);
        assert_eq!(look(0o640, Shared::Nothing), [Severity::Warning]);
        for mode in [0o644, 0o604, 0o660, 0o602, 0o601] {
            assert_eq!(look(mode, Shared::Nothing), [Severity::Error], "{mode:o}");
        }
        assert_eq!(look(0o644, Shared::Read), []);
        assert_eq!(look(0o646, Shared::Read), [Severity::Error]);
        assert_eq!(look(0o664, Shared::Read), [Severity::Error]);
        fs::remove_file(&file).unwrap();
        assert_eq!(permissions("f", &file, Shared::Nothing), []);
    }
}
