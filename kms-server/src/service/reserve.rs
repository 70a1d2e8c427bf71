//! A reserve of disk is kept for control changes: below it those who use keys are refused first, so that a cut can still be
//! committed and recorded. The file system is asked again and again, so the node recovers by itself.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
};

use super::Service;
use crate::{
    model::{Action, Error, Refusal},
    store::free_bytes,
};

/// The disk that is watched.
#[derive(Debug, Default)]
pub struct Reserve {
    folders: Vec<PathBuf>,
    bytes: u64,
    below: AtomicBool,
}

impl Reserve {
    /// So many bytes where each of these folders is. Without a folder there is nothing to watch.
    #[must_use]
    pub fn new(folders: Vec<PathBuf>, bytes: u64) -> Self {
        Self { folders, bytes, below: AtomicBool::new(false) }
    }
}

impl Service {
    /// Asks the file system how much room is left.
    pub fn look_at_disk(&self) {
        let reserve = &self.inner.reserve;
        let free = reserve.folders.iter().filter_map(|folder| match free_bytes(folder) {
            Ok(free) => Some(free),
            Err(error) => {
                tracing::warn!(folder = %folder.display(), %error, "the file system does not say how much room is left");
                None
            }
        });
        let Some(free) = free.min() else { return };
        let below = free < reserve.bytes;
        if reserve.below.swap(below, Ordering::SeqCst) != below {
            if below {
                tracing::error!(
                    disk.free_bytes = free,
                    disk.reserve_bytes = reserve.bytes,
                    "ALARM: the disk is almost full; keys are not used until there is room again"
                );
            } else {
                tracing::info!(disk.free_bytes = free, "there is room on the disk again");
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        metrics::gauge!("keyward_disk_free_bytes").set(free as f64);
        metrics::gauge!("keyward_disk_below_reserve").set(if below { 1.0 } else { 0.0 });
    }

    /// Whether there is less room than the reserve.
    #[must_use]
    pub fn is_disk_low(&self) -> bool {
        self.inner.reserve.below.load(Ordering::SeqCst)
    }

    /// Whether there is room for what this action records. Every surface asks before it calls a use case, so that a refusal
    /// for want of room is counted like one for load, and does not itself fill the disk.
    ///
    /// # Errors
    ///
    /// `disk_reserve` for the use of keys while there is less room than the reserve.
    pub fn check_room(&self, action: Option<Action>) -> Result<(), Error> {
        if action.is_some_and(Action::is_data) && self.is_disk_low() {
            return Err(Error::unavailable(
                Refusal::DiskReserve,
                "the server's disk is almost full; what is left is kept for control changes",
            ));
        }
        Ok(())
    }
}
