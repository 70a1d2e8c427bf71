//! What a caller may do. Only this module makes a [`Permit`], and [`authorise`] is the one decision: whether the
//! caller still stands, whether what it asks for exists, and what the Cedar policies beside this file say, in this
//! order. It refuses to know where control state comes from and what a permitted operation then does.
//!
//! Rights come from bindings. For each request a principal is in those Cedar roles that its bindings give it *for this
//! target* and *now*; what a role may do, and what no role may do, is said in `cedar/roles.cedar` and
//! `cedar/guards.cedar`. Nobody is in a role that is not mentioned there, so the default is to deny. Any policy that
//! fails to evaluate denies too: Cedar alone would skip a `forbid` that fails.

mod asking;
mod bundle;
mod circumstance;
mod custom;
mod cut;
mod decision;
mod explain;
mod prepared;
mod roles;
mod standing;
#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc};

use bundle::Bundle;
use cedar_policy::Entities;
pub use custom::{Fault, Statement};
pub use decision::{Denial, Permit, authorise, may_describe};
pub use explain::{Explanation, Finding, Hypothesis, access, explain};
use kms_client::id::PrincipalId;
use prepared::Prepared;
pub use roles::actions_of;
use standing::{SliceKey, Standing};

use crate::model::{self, ControlState, CustomPolicy, Refusal, Region};

/// What policy derives from control state at one revision.
#[derive(Debug)]
pub struct Policies {
    bundle: Arc<Bundle>,
    /// Filled as principals come, from the state of this revision alone. INVARIANT: never carried over to another
    /// revision, so that nothing here can outlive a cut.
    standings: Prepared<PrincipalId, Standing>,
    slices: Prepared<SliceKey, Entities>,
}

impl Policies {
    /// The built-in policies, for a node in this region.
    ///
    /// # Errors
    ///
    /// What is wrong with the schema or a policy.
    pub fn built_in(node_region: Region) -> Result<Self, Error> {
        Ok(Self::of(Arc::new(Bundle::built_in(node_region)?)))
    }

    /// The same policies over a newer state.
    ///
    /// # Errors
    ///
    /// A custom policy that is not valid; the older ones then stay in force. None is committed that this would refuse.
    pub fn derive(&self, state: &ControlState) -> Result<Self, Error> {
        // What is derived from rows is prepared when it is first asked for: most principals do not come at most
        // revisions, and a cut waits for this function. Policies are compiled when they change, and only those that do.
        Ok(match self.bundle.with_custom(state)? {
            Some(bundle) => Self::of(Arc::new(bundle)),
            None => Self::of(Arc::clone(&self.bundle)),
        })
    }

    /// What the statements of a custom policy are about.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the text, with its place.
    pub fn read(
        &self,
        name: &model::PolicyName,
        text: &str,
        state: &ControlState,
    ) -> Result<Vec<Statement>, Vec<Fault>> {
        let compiled = self.bundle.read(name, text)?;
        compiled.check_names(text, state)?;
        Ok(compiled.statements())
    }

    /// The refusal that says what is wrong with a custom policy.
    #[must_use]
    pub fn refusal(faults: &[Fault]) -> model::Error {
        custom::refusal(faults)
    }

    fn of(bundle: Arc<Bundle>) -> Self {
        Self { bundle, standings: Prepared::default(), slices: Prepared::default() }
    }
}

/// The id of a policy, as it stands in records. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyName(Arc<str>);

impl PolicyName {
    /// The id, for example `role.unwrapper`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PolicyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for PolicyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Why policies cannot be put in force.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The schema cannot be read.
    #[error("the policy schema is not valid: {0}")]
    Schema(String),
    /// A policy cannot be read.
    #[error("a policy cannot be read: {0}")]
    Syntax(String),
    /// A policy does not fit the schema.
    #[error("a policy does not fit the schema: {0}")]
    Validation(String),
    /// A policy lacks what every one of ours carries.
    #[error("policy `{policy}` {fault}")]
    Policy {
        /// Its id, or where it stands.
        policy: String,
        /// What is wrong with it.
        fault: &'static str,
    },
    /// A custom policy is not valid.
    #[error("the custom policy `{policy}` is not valid: {fault}")]
    Custom {
        /// Its name.
        policy: String,
        /// What is wrong, and where.
        fault: String,
    },
    /// Custom policies have too many statements.
    #[error(
        "custom policies have at most {} statements altogether, and there would be {_0}",
        CustomPolicy::MAX_STATEMENTS
    )]
    Statements(usize),
}

impl From<Error> for model::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Custom { .. } | Error::Statements(_) => {
                Self::Invalid { code: Refusal::InvalidPolicy, detail: error.to_string() }
            }
            error => Self::internal(error),
        }
    }
}
