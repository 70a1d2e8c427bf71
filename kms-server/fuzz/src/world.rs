//! An issuer whose key is known, and one principal that it vouches for.

use std::sync::{Arc, LazyLock};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use kms_client::id::{CredentialId, IssuerId, PrincipalId};
use kms_server::{
    authn::{Authenticator, Moment},
    model::{
        ControlState, Credential, CredentialMatch, Environment, Issuer, JwksSource, Principal, PrincipalState,
        Revision, Row, SystemClock, TrustState,
    },
    supervisor::Supervisor,
};
use serde_json::json;

/// Whom the issuer vouches for.
pub(crate) const ALICE: PrincipalId = PrincipalId::from_bytes([2; 16]);
/// The subject that she is.
pub(crate) const SUBJECT: &str = "alice";
/// The issuer.
pub(crate) const ISSUER: &str = "https://login.example";
/// Whom its tokens are for.
pub(crate) const AUDIENCE: &str = "keyward";
/// Cluster time, in seconds.
pub(crate) const NOW: i64 = 1_800_000_000;

/// All of it.
pub(crate) struct World {
    pub(crate) state: ControlState,
    pub(crate) authenticator: Authenticator,
    key: Ed25519KeyPair,
}

/// The only one; nothing changes it.
pub(crate) static WORLD: LazyLock<World> = LazyLock::new(World::new);

impl World {
    fn new() -> Self {
        let key = Ed25519KeyPair::from_seed_unchecked(&[5; 32]).expect("any 32 bytes are a seed");
        let x = BASE64_URL_SAFE_NO_PAD.encode(key.public_key());
        let keys = json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "kid": "a", "x": x }] });
        let issuer = IssuerId::from_bytes([1; 16]);
        let created_at = "2026-01-01T00:00:00Z".parse().expect("it is a time");
        let mut state = ControlState::default();
        state.put(Row::Issuer(Arc::new(Issuer {
            id: issuer,
            issuer: ISSUER.to_owned(),
            audiences: vec![AUDIENCE.to_owned()],
            jwks: JwksSource::Inline(keys.to_string()),
            state: TrustState::Trusted,
            created_at,
            revision: Revision(1),
        })));
        state.put(Row::Principal(Arc::new(Principal {
            id: ALICE,
            name: "alice".parse().expect("it is a name"),
            kind: "user".parse().expect("it is a kind"),
            person: None,
            environment: Environment::Production,
            team: None,
            description: kms_server::model::Text::default(),
            state: PrincipalState::Active,
            reason: None,
            credentials: vec![Credential {
                id: CredentialId::from_bytes([3; 16]),
                matches: CredentialMatch::JwtSubject { issuer, subject: SUBJECT.to_owned() },
                created_at,
                removed_at: None,
            }],
            created_at,
            revision: Revision(1),
        })));
        let authenticator = Authenticator::new(Arc::new(SystemClock), Supervisor::default());
        authenticator.prepare(&state);
        Self { state, authenticator, key }
    }

    /// A moment in it.
    pub(crate) fn moment(&self) -> Moment<'_> {
        let now = jiff::Timestamp::from_second(NOW).expect("it is a time");
        Moment { state: &self.state, revision: Revision(1), now }
    }

    /// A token of the issuer with exactly this header and these claims.
    pub(crate) fn token(&self, header: &[u8], claims: &[u8]) -> String {
        let message = [header, claims].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part)).join(".");
        let signature = BASE64_URL_SAFE_NO_PAD.encode(self.key.sign(message.as_bytes()));
        format!("{message}.{signature}")
    }
}
