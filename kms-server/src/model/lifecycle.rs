//! When a key gets a new version, and when it ends: the cryptoperiod of its versions (NIST SP 800-57 part 1, section 5.3)
//! and the waiting period before its destruction.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Error, Key, KeyState, Revision, key::text_enum};

/// The most wraps under one version. Random 96-bit nonces allow 2^32 (NIST SP 800-38D, section 8.3); half of that leaves
/// the odds of a repeated nonce below 2^-35.
pub const MAX_WRAPS: u32 = 1 << 31;

/// The longest period of rotation by age, in days.
pub const MAX_PERIOD_DAYS: u16 = 3_650;

/// Days that a key may wait for its destruction.
pub const WAITING_DAYS: std::ops::RangeInclusive<u16> = 7..=30;

/// When a key gets a new primary version by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotation {
    period_days: Option<u16>,
    max_wraps: u32,
}

text_enum! {
    /// Why a key is rotated.
    RotationCause {
        /// Somebody asked for it.
        Requested = "requested",
        /// The primary version is as old as it may become.
        Age = "age",
        /// The primary version has wrapped nearly as often as it may.
        Wraps = "wraps",
        /// A database was accepted that does not know how often the primary version has wrapped.
        Restored = "restored",
    }
}

/// A destruction that is waited for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deletion {
    /// When it was scheduled.
    pub scheduled_at: Timestamp,
    /// The change that scheduled it.
    pub scheduled: Revision,
    /// How long it waits, in days.
    pub waiting_days: u16,
    /// Whether the key was revoked before: it then is again if the deletion is cancelled.
    pub revoked: bool,
}

#[expect(clippy::derivable_impls, reason = "the macro that declares it derives no default")]
impl Default for RotationCause {
    fn default() -> Self {
        Self::Requested
    }
}

impl Rotation {
    /// A rotation after so many days, `None`: not by age, and so many wraps.
    ///
    /// # Errors
    ///
    /// `invalid_request` for days outside 1 to [`MAX_PERIOD_DAYS`] or wraps outside 1 to [`MAX_WRAPS`].
    pub fn new(period_days: Option<u16>, max_wraps: u32) -> Result<Self, Error> {
        if period_days.is_some_and(|days| !(1..=MAX_PERIOD_DAYS).contains(&days)) {
            return Err(Error::invalid(format!("`rotation.period_days` is 1 to {MAX_PERIOD_DAYS}, or left out")));
        }
        if !(1..=MAX_WRAPS).contains(&max_wraps) {
            return Err(Error::invalid(format!("`rotation.max_wraps` is 1 to {MAX_WRAPS}")));
        }
        Ok(Self { period_days, max_wraps })
    }

    /// After how many days; `None`: not by age.
    #[must_use]
    pub const fn period_days(self) -> Option<u16> {
        self.period_days
    }

    /// The most wraps under one version.
    #[must_use]
    pub const fn max_wraps(self) -> u32 {
        self.max_wraps
    }

    /// Whether so many wraps are 90% of those allowed.
    #[must_use]
    pub const fn nearly_spent(self, wraps: u32) -> bool {
        wraps as u64 * 10 >= self.max_wraps as u64 * 9
    }
}

impl Default for Rotation {
    fn default() -> Self {
        Self { period_days: None, max_wraps: MAX_WRAPS }
    }
}

impl Deletion {
    /// The moment before which nothing is destroyed.
    #[must_use]
    pub fn due_at(&self) -> Timestamp {
        self.scheduled_at.checked_add(self.waiting()).unwrap_or(Timestamp::MAX)
    }

    /// How long it waits.
    #[must_use]
    pub fn waiting(&self) -> SignedDuration {
        SignedDuration::from_hours(24 * i64::from(self.waiting_days))
    }
}

impl Key {
    /// When the primary version becomes as old as it may.
    #[must_use]
    pub fn rotates_at(&self) -> Option<Timestamp> {
        let days = self.rotation.period_days()?;
        let made = self.version(self.primary_version)?.created_at;
        Some(made.checked_add(SignedDuration::from_hours(24 * i64::from(days))).unwrap_or(Timestamp::MAX))
    }

    /// Whether it may wrap at all under its primary version: not when an accepted database has lost count of its wraps.
    #[must_use]
    pub fn knows_its_wraps(&self, accepted_at: Option<Timestamp>) -> bool {
        let made = self.version(self.primary_version).map(|version| version.created_at);
        accepted_at.is_none_or(|accepted| made.is_some_and(|made| made > accepted))
    }

    /// Why the key is to be rotated now, if it is.
    #[must_use]
    pub fn rotation_due(&self, now: Timestamp, wraps: u32, accepted_at: Option<Timestamp>) -> Option<RotationCause> {
        if self.state != KeyState::Enabled {
            None
        } else if !self.knows_its_wraps(accepted_at) {
            Some(RotationCause::Restored)
        } else if self.rotation.nearly_spent(wraps) {
            Some(RotationCause::Wraps)
        } else if self.rotates_at().is_some_and(|at| at <= now) {
            Some(RotationCause::Age)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nine_tenths_are_nearly_all() {
        let rotation = Rotation::new(None, 100).unwrap();
        assert!(!rotation.nearly_spent(89));
        assert!(rotation.nearly_spent(90));
        assert!(Rotation::default().nearly_spent(MAX_WRAPS));
        assert!(!Rotation::default().nearly_spent(MAX_WRAPS / 2));
    }

    #[test]
    fn no_version_wraps_more_than_gcm_bears() {
        assert!(Rotation::new(None, MAX_WRAPS).is_ok());
        assert!(Rotation::new(None, MAX_WRAPS + 1).is_err());
        assert!(Rotation::new(None, 0).is_err());
        assert!(Rotation::new(Some(0), 1).is_err());
        assert!(Rotation::new(Some(MAX_PERIOD_DAYS + 1), 1).is_err());
    }
}
