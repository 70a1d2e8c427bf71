//! Authentication with real tokens, certificates, handshakes and key servers; only the clock is ours.

mod certificate;
mod handshake;
mod jwks;
mod parsing;
mod token;
mod token_form;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeySize,
    signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaKeyPair},
};
use axum::http::{HeaderMap, header::AUTHORIZATION};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use kms_client::{
    format::record::PrincipalKind,
    id::{ClientCaId, CredentialId, IssuerId, PrincipalId},
};
use serde_json::{Value, json};

use super::{Authenticator, Caller, Moment, PeerCertificates, Refused};
use crate::{
    model::{
        ClientCa, Clock, ControlState, Credential, CredentialMatch, Environment, Issuer, JwksSource, Principal,
        PrincipalState, Revision, Row, TrustState,
    },
    supervisor::Supervisor,
};

pub(super) const ISSUER: &str = "https://login.example";
pub(super) const AUDIENCE: &str = "keyward";
pub(super) const SUBJECT: &str = "alice";
pub(super) const ISSUER_ID: IssuerId = IssuerId::from_bytes([1; 16]);
pub(super) const ALICE: PrincipalId = PrincipalId::from_bytes([2; 16]);
pub(super) const BOB: PrincipalId = PrincipalId::from_bytes([3; 16]);

/// The moment at which every test begins.
pub(super) fn start() -> Timestamp {
    "2027-03-01T12:00:00Z".parse().unwrap()
}

/// A clock that stands still until it is moved.
#[derive(Debug, Default)]
pub(super) struct TestClock(AtomicU64);

impl TestClock {
    pub(super) fn advance(&self, seconds: u64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        start().checked_add(self.boot()).unwrap()
    }

    fn boot(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::SeqCst))
    }
}

/// An authenticator, the control state it looks at, and time.
pub(super) struct World {
    pub(super) clock: Arc<TestClock>,
    pub(super) supervisor: Supervisor,
    pub(super) authenticator: Arc<Authenticator>,
    pub(super) state: ControlState,
    pub(super) revision: u64,
}

impl World {
    pub(super) fn new() -> Self {
        let clock = Arc::new(TestClock::default());
        let supervisor = Supervisor::default();
        let authenticator = Authenticator::new(Arc::<TestClock>::clone(&clock), supervisor.clone());
        Self { clock, supervisor, authenticator: Arc::new(authenticator), state: ControlState::default(), revision: 0 }
    }

    /// A world that trusts [`ISSUER`] with these keys, in which [`SUBJECT`] is Alice.
    pub(super) fn trusting(keys: &Value) -> Self {
        let mut world = Self::new();
        world.put(issuer(JwksSource::Inline(keys.to_string()), TrustState::Trusted));
        world.put(principal(ALICE, [subject()]));
        world
    }

    /// One change of control state, published.
    pub(super) fn put(&mut self, row: Row) {
        self.revision += 1;
        self.state.put(row);
        self.authenticator.prepare(&self.state);
    }

    pub(super) fn moment(&self) -> Moment<'_> {
        Moment { state: &self.state, revision: Revision(self.revision), now: self.clock.now() }
    }

    pub(super) async fn bearer(&self, token: &str) -> Result<Arc<Caller>, Refused> {
        self.ask(&[&format!("Bearer {token}")], None).await
    }

    pub(super) async fn ask(
        &self,
        authorization: &[&str],
        peer: Option<&PeerCertificates>,
    ) -> Result<Arc<Caller>, Refused> {
        let mut headers = HeaderMap::new();
        for value in authorization {
            headers.append(AUTHORIZATION, value.parse().unwrap());
        }
        self.authenticator.caller(self.moment(), &headers, peer).await
    }
}

pub(super) fn issuer(jwks: JwksSource, state: TrustState) -> Row {
    Row::Issuer(Arc::new(Issuer {
        id: ISSUER_ID,
        issuer: ISSUER.to_owned(),
        audiences: vec!["other".to_owned(), AUDIENCE.to_owned()],
        jwks,
        state,
        created_at: start(),
        revision: Revision(1),
    }))
}

pub(super) fn client_ca(id: u8, pem: &str, state: TrustState) -> Row {
    Row::ClientCa(Arc::new(ClientCa {
        id: ClientCaId::from_bytes([id; 16]),
        name: format!("ca-{id}").parse().unwrap(),
        certificate_pem: pem.to_owned(),
        state,
        created_at: start(),
        revision: Revision(1),
    }))
}

pub(super) fn subject() -> CredentialMatch {
    CredentialMatch::JwtSubject { issuer: ISSUER_ID, subject: SUBJECT.to_owned() }
}

/// An active principal with live credentials.
pub(super) fn principal(id: PrincipalId, matches: impl IntoIterator<Item = CredentialMatch>) -> Row {
    changed(id, matches, |_| {})
}

pub(super) fn changed(
    id: PrincipalId,
    matches: impl IntoIterator<Item = CredentialMatch>,
    change: impl FnOnce(&mut Principal),
) -> Row {
    let credentials = matches.into_iter().enumerate().map(|(number, matches)| Credential {
        id: CredentialId::from_bytes([u8::try_from(number).unwrap() + id.as_bytes()[0] * 16; 16]),
        matches,
        created_at: start(),
        removed_at: None,
    });
    let mut principal = Principal {
        id,
        name: format!("principal-{}", id.as_bytes()[0]).parse().unwrap(),
        kind: PrincipalKind::Service,
        person: None,
        environment: Environment::Production,
        team: None,
        description: String::new().try_into().unwrap(),
        state: PrincipalState::Active,
        reason: None,
        credentials: credentials.collect(),
        created_at: start(),
        revision: Revision(1),
    };
    change(&mut principal);
    Row::Principal(Arc::new(principal))
}

/// A key that tokens are signed with.
pub(super) enum Signer {
    Es256(EcdsaKeyPair),
    EdDsa(Ed25519KeyPair),
    Rs256(RsaKeyPair),
}

impl Signer {
    pub(super) fn es256() -> Self {
        Self::Es256(EcdsaKeyPair::generate(&signature::ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    pub(super) fn eddsa() -> Self {
        Self::EdDsa(Ed25519KeyPair::generate().unwrap())
    }

    pub(super) fn rs256() -> Self {
        Self::Rs256(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())
    }

    pub(super) fn algorithm(&self) -> &'static str {
        match self {
            Self::Es256(_) => "ES256",
            Self::EdDsa(_) => "EdDSA",
            Self::Rs256(_) => "RS256",
        }
    }

    pub(super) fn jwk(&self, kid: &str) -> Value {
        let text = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        match self {
            Self::Es256(key) => {
                let (x, y) = key.public_key().as_ref()[1..].split_at(32);
                json!({ "kty": "EC", "crv": "P-256", "kid": kid, "use": "sig", "x": text(x), "y": text(y) })
            }
            Self::EdDsa(key) => {
                let x = text(key.public_key().as_ref());
                json!({ "kty": "OKP", "crv": "Ed25519", "kid": kid, "alg": "EdDSA", "x": x })
            }
            Self::Rs256(key) => {
                let n = key.public_key().modulus().big_endian_without_leading_zero().to_vec();
                let e = key.public_key().exponent().big_endian_without_leading_zero().to_vec();
                json!({ "kty": "RSA", "kid": kid, "key_ops": ["verify"], "n": text(&n), "e": text(&e) })
            }
        }
    }

    /// A token with exactly this header and these claims.
    pub(super) fn sign(&self, header: &str, claims: &str) -> String {
        let message = format!("{}.{}", BASE64_URL_SAFE_NO_PAD.encode(header), BASE64_URL_SAFE_NO_PAD.encode(claims));
        let random = SystemRandom::new();
        let signature = match self {
            Self::Es256(key) => key.sign(&random, message.as_bytes()).unwrap().as_ref().to_vec(),
            Self::EdDsa(key) => key.sign(message.as_bytes()).as_ref().to_vec(),
            Self::Rs256(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&signature::RSA_PKCS1_SHA256, &random, message.as_bytes(), &mut signature).unwrap();
                signature
            }
        };
        format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
    }

    /// A token of key `kid` with these claims.
    pub(super) fn token(&self, kid: &str, claims: &Value) -> String {
        let header = json!({ "typ": "JWT", "alg": self.algorithm(), "kid": kid });
        self.sign(&header.to_string(), &claims.to_string())
    }
}

/// What a good token claims, valid for ten minutes.
pub(super) fn claims() -> Value {
    let now = start().as_second();
    json!({ "iss": ISSUER, "sub": SUBJECT, "aud": AUDIENCE, "exp": now + 600, "nbf": now, "iat": now })
}

/// The same with one claim set, or left out if `value` is null.
pub(super) fn claims_with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    let object = claims.as_object_mut().unwrap();
    match value {
        Value::Null => object.remove(name),
        value => object.insert(name.to_owned(), value),
    };
    claims
}

pub(super) fn after(seconds: i64) -> i64 {
    start().checked_add(SignedDuration::from_secs(seconds)).unwrap().as_second()
}

pub(super) fn refused(result: Result<Arc<Caller>, Refused>) -> Refused {
    result.unwrap_err()
}
