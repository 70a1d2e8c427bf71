//! What Keyward knows and the rules by which it changes: pure, without input or output.
//!
//! Everything that decides access is *control state*: keys, principals, bindings and trust. It moves only by a
//! [`Change`], one revision at a time. This module refuses to know how state is stored, who is connected, or what
//! an HSM is.

mod action;
mod binding;
mod change;
mod clock;
mod error;
mod installation;
mod key;
#[cfg(test)]
mod key_machine;
mod lifecycle;
mod name;
mod policy;
mod principal;
mod row;
mod state;
mod trust;

pub use action::{Action, Target};
pub use binding::{Binding, Period, Role, Scope};
pub use change::{Change, NewCredential, NewKeyVersion, Operation};
pub use clock::{Clock, Ids, SystemClock};
pub use error::{Error, Refusal};
pub use installation::{Installation, Revision};
pub use key::{Algorithm, Environment, Key, KeyEvent, KeyState, KeyVersionRecord, Origin, Purpose, VersionState};
pub use lifecycle::{Deletion, MAX_PERIOD_DAYS, MAX_WRAPS, Rotation, RotationCause, WAITING_DAYS};
pub use name::{Alias, DataClass, InvalidName, Name, Owner, Reason, Region, Tags, Text};
pub use policy::{CustomPolicy, CustomRole, GrantedRole, PolicyName, PolicyVersion, RoleName, RuleState};
pub use principal::{Credential, CredentialMatch, Principal, PrincipalState};
pub use row::{Row, RowKind};
pub use state::ControlState;
pub use trust::{ClientCa, Issuer, JwksSource, TrustState};
