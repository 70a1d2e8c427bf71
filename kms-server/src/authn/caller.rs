//! A caller whose proof was checked, and what it asks for.

use std::{net::IpAddr, sync::Arc, time::Duration};

use jiff::Timestamp;
use kms_client::{
    format::{context::EncryptionContext, record::Surface},
    id::{ClientCaId, CredentialId, IssuerId, PrincipalId, RequestId},
};

use crate::model::{Action, ControlState, Error, Principal, Target, TrustState};

/// What is known of a request before anything is decided about it.
#[derive(Debug, Clone)]
pub struct Request {
    /// Its identity, the same in all its records.
    pub id: RequestId,
    /// Where it came from.
    pub source: Option<IpAddr>,
    /// By which surface.
    pub surface: Surface,
    /// The moment on [`Clock::boot`](crate::model::Clock::boot) after which nobody waits for the answer.
    pub deadline: Duration,
}

/// Somebody whose proof of identity was checked against trusted anchors.
#[derive(Debug)]
pub struct Caller {
    pub(super) principal: PrincipalId,
    pub(super) credential: CredentialId,
    pub(super) proof: Proof,
    pub(crate) assurance: Assurance,
}

/// How a caller was authenticated, as its issuer says. A certificate says nothing of that.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Assurance {
    /// The methods: `amr`, RFC 8176.
    pub amr: Vec<String>,
    /// The class: `acr`, as `OpenID Connect Core` section 2 has it.
    pub acr: Option<String>,
}

impl Assurance {
    /// Whether more than one factor was used. RFC 8176 section 2: `mfa` stands for "Multiple-factor authentication".
    #[must_use]
    pub fn is_multi_factor(&self) -> bool {
        self.amr.iter().any(|method| method == "mfa")
    }
}

/// By what a caller proved who it is, as far as it must still hold when the answer leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// A client certificate under a trusted authority.
    Certificate {
        /// The authority at the end of its chain.
        client_ca: ClientCaId,
        /// The first moment at which some certificate of the chain is no longer valid.
        expires_at: Timestamp,
    },
    /// A token of a trusted issuer.
    Token {
        /// The issuer.
        issuer: IssuerId,
        /// Its `exp`, with the leeway.
        expires_at: Timestamp,
    },
}

/// One thing that a caller asks for: what is authorised is what is recorded.
#[derive(Debug, Clone)]
pub struct Intent {
    /// Who asks.
    pub caller: Arc<Caller>,
    /// In which request.
    pub request: Arc<Request>,
    /// In which place of a batch, from 0.
    pub item: u32,
    /// For what.
    pub action: Action,
    /// To what.
    pub target: Target,
    /// With which encryption context, where one belongs to the action.
    pub context: Option<Arc<EncryptionContext>>,
}

impl Caller {
    /// The principal that the credential belongs to.
    #[must_use]
    pub fn principal(&self) -> PrincipalId {
        self.principal
    }

    /// The credential that was shown.
    #[must_use]
    pub fn credential(&self) -> CredentialId {
        self.credential
    }

    /// By what the caller proved who it is.
    #[must_use]
    pub fn proof(&self) -> &Proof {
        &self.proof
    }

    /// How the caller was authenticated, as its issuer says.
    #[must_use]
    pub fn assurance(&self) -> &Assurance {
        &self.assurance
    }

    /// The principal, if it and the proof still stand at this state and moment of cluster time.
    ///
    /// # Errors
    ///
    /// `unauthenticated` if the principal is suspended, the credential removed, the anchor no longer trusted, or the
    /// proof's time over.
    pub fn stands<'a>(&self, state: &'a ControlState, now: Timestamp) -> Result<&'a Arc<Principal>, Error> {
        const NO_LONGER: Error = Error::Unauthenticated("the credential is no longer accepted");
        let principal = state.principal(self.principal).filter(|principal| principal.is_active()).ok_or(NO_LONGER)?;
        principal.credential(self.credential).ok_or(NO_LONGER)?;
        let (trusted, expires_at) = match &self.proof {
            Proof::Certificate { client_ca, expires_at } => {
                (state.client_ca(*client_ca).map(|ca| ca.state), *expires_at)
            }
            Proof::Token { issuer, expires_at } => (state.issuer(*issuer).map(|issuer| issuer.state), *expires_at),
        };
        if trusted != Some(TrustState::Trusted) || now >= expires_at {
            return Err(NO_LONGER);
        }
        Ok(principal)
    }

    /// States that this caller asks for `action` on `target`.
    #[must_use]
    pub fn intends(self: &Arc<Self>, request: &Arc<Request>, action: Action, target: Target) -> Intent {
        Intent { caller: Arc::clone(self), request: Arc::clone(request), item: 0, action, target, context: None }
    }
}

#[cfg(test)]
impl Caller {
    /// A caller as if its proof had been checked.
    pub(crate) fn for_test(principal: PrincipalId, credential: CredentialId, proof: Proof) -> Arc<Self> {
        Arc::new(Self { principal, credential, proof, assurance: Assurance::default() })
    }
}
