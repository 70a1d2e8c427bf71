//! What the tests of the cut judge by: when each success was in the kernel and under which revision, and when each change's
//! receipt was complete. A file of lines, written only by builds with the feature `flush-trace`, which no release has, and
//! only where `KEYWARD_FLUSH_TRACE` names one.
//!
//! A line is one `write` to a file that is appended to, so it outlives the process whatever ends it. Times are nanoseconds
//! of `CLOCK_MONOTONIC`, which is the same for all processes of a host.

use kms_client::id::{ChangeId, RequestId};

use crate::model::Revision;

/// The last byte of a success is in the kernel, and its release section still open.
#[cfg(feature = "flush-trace")]
pub(crate) fn flushed(request: RequestId, revision: Revision) {
    on::write("flush", &request, revision);
}

/// As with the feature, but nothing.
#[cfg(not(feature = "flush-trace"))]
pub(crate) const fn flushed(_request: RequestId, _revision: Revision) {}

/// From here on nothing leaves any node under the rules before this change.
#[cfg(feature = "flush-trace")]
pub(crate) fn acknowledged(change: ChangeId, revision: Revision) {
    on::write("receipt", &change, revision);
}

/// As with the feature, but nothing.
#[cfg(not(feature = "flush-trace"))]
pub(crate) const fn acknowledged(_change: ChangeId, _revision: Revision) {}

#[cfg(feature = "flush-trace")]
mod on {
    use std::{
        fmt::Display,
        fs::{File, OpenOptions},
        io::Write as _,
        sync::OnceLock,
    };

    use nix::time::{ClockId, clock_gettime};

    use super::Revision;

    static FILE: OnceLock<Option<File>> = OnceLock::new();

    pub(super) fn write(what: &str, id: &dyn Display, revision: Revision) {
        let Some(mut file) = FILE.get_or_init(open).as_ref() else { return };
        let Ok(now) = clock_gettime(ClockId::CLOCK_MONOTONIC) else { return };
        let line = format!("{what} {id} {revision} {}{:09}\n", now.tv_sec(), now.tv_nsec());
        // A line that is missing is found by whoever reads the file: an answer came, and no flush of it.
        let _written = file.write_all(line.as_bytes());
    }

    #[expect(clippy::disallowed_methods, reason = "a test's switch, not configuration")]
    fn open() -> Option<File> {
        let path = std::env::var("KEYWARD_FLUSH_TRACE").ok()?;
        OpenOptions::new().create(true).append(true).open(path).ok()
    }
}
