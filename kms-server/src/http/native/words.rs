//! The closed vocabularies that model and wire share, matched word for word: a word that only one of them has does not
//! compile.

use kms_client::wire::{binding, key, principal};

use crate::model;

macro_rules! same_words {
    ($($model:ty = $wire:ty { $($word:ident),+ })+) => {$(
        impl From<$model> for $wire {
            fn from(word: $model) -> Self {
                match word {
                    $(<$model>::$word => Self::$word,)+
                }
            }
        }

        impl From<$wire> for $model {
            fn from(word: $wire) -> Self {
                match word {
                    $(<$wire>::$word => Self::$word,)+
                }
            }
        }
    )+};
}

same_words! {
    model::Environment = key::Environment { Production, Test, Development }
    model::KeyState = key::KeyState { Enabled, Disabled, Revoked, PendingDeletion, Destroyed }
    model::VersionState = key::VersionState { Enabled, Revoked, Destroyed }
    model::Purpose = key::Purpose { Wrap }
    model::Algorithm = key::Algorithm { Aes256 }
    model::Origin = key::Origin { Hsm }
    model::PrincipalState = principal::PrincipalState { Active, Suspended }
    model::Role = binding::Role { KeyAdmin, Wrapper, Unwrapper, Rewrapper, Auditor, Offboarder, Approver }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_spelt_the_same_on_both_sides() {
        for state in model::KeyState::ALL {
            assert_eq!(state.as_str(), key::KeyState::from(*state).as_str());
        }
        for role in model::Role::ALL {
            assert_eq!(role.as_str(), binding::Role::from(*role).as_str());
        }
        for environment in model::Environment::ALL {
            assert_eq!(environment.as_str(), key::Environment::from(*environment).as_str());
        }
    }
}
