//! What a policy can see of a request besides who asks and about what.

use jiff::civil::Weekday;

/// What a policy can see of the circumstances. Each costs a little, so a request carries those that the policies for
/// its action mention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Circumstance {
    Time,
    Hour,
    Weekday,
    Source,
    Surface,
    NodeRegion,
    Mfa,
    Amr,
    Acr,
    EncryptionContext,
    PersonAdministers,
    PersonUses,
    PersonUnwraps,
    UnwrapsHere,
    Bound,
}

impl Circumstance {
    pub(super) const ALL: &[Self] = &[
        Self::Time,
        Self::Hour,
        Self::Weekday,
        Self::Source,
        Self::Surface,
        Self::NodeRegion,
        Self::Mfa,
        Self::Amr,
        Self::Acr,
        Self::EncryptionContext,
        Self::PersonAdministers,
        Self::PersonUses,
        Self::PersonUnwraps,
        Self::UnwrapsHere,
        Self::Bound,
    ];

    /// The name in the schema.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Time => "time",
            Self::Hour => "hour",
            Self::Weekday => "weekday",
            Self::Source => "source",
            Self::Surface => "surface",
            Self::NodeRegion => "node_region",
            Self::Mfa => "mfa",
            Self::Amr => "amr",
            Self::Acr => "acr",
            Self::EncryptionContext => "encryption_context",
            Self::PersonAdministers => "person_administers",
            Self::PersonUses => "person_uses",
            Self::PersonUnwraps => "person_unwraps",
            Self::UnwrapsHere => "unwraps_here",
            Self::Bound => "bound",
        }
    }

    /// Whether it differs from request to request; the others follow from control state.
    pub(super) const fn varies(self) -> bool {
        match self {
            Self::Time
            | Self::Hour
            | Self::Weekday
            | Self::Source
            | Self::Surface
            | Self::Mfa
            | Self::Amr
            | Self::Acr
            | Self::EncryptionContext => true,
            Self::NodeRegion
            | Self::PersonAdministers
            | Self::PersonUses
            | Self::PersonUnwraps
            | Self::UnwrapsHere
            | Self::Bound => false,
        }
    }
}

/// The day's name, as policies write it.
pub(super) const fn weekday(day: Weekday) -> &'static str {
    match day {
        Weekday::Monday => "monday",
        Weekday::Tuesday => "tuesday",
        Weekday::Wednesday => "wednesday",
        Weekday::Thursday => "thursday",
        Weekday::Friday => "friday",
        Weekday::Saturday => "saturday",
        Weekday::Sunday => "sunday",
    }
}
