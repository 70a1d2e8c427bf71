//! Authorities, certificates and tokens as a clinic would have them, made for one test.

use std::time::SystemTime;

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use serde::Serialize;

/// The `iss` of the tokens.
pub const ISSUER: &str = "https://login.clinic.example";
/// The `aud` of the tokens.
pub const AUDIENCE: &str = "keyward";
const KEY_ID: &str = "test";

/// An authority of certificates and an issuer of tokens.
#[derive(Debug)]
pub struct Identities {
    /// The authority's certificate.
    pub ca_pem: String,
    authority: CertificateParams,
    ca_key: KeyPair,
    issuer: KeyPair,
}

/// A certificate and its key, in PEM.
#[derive(Debug, Clone)]
pub struct Leaf {
    /// The certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
}

impl Leaf {
    /// The certificate's thumbprint, as RFC 8705 writes it in tokens.
    pub fn thumbprint(&self) -> String {
        let der = CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap();
        URL_SAFE_NO_PAD.encode(digest(&SHA256, &der))
    }
}

/// The claims of a token; a test changes what it is about.
#[derive(Debug, Clone, Serialize)]
pub struct TokenClaims {
    pub iss: String,
    pub aud: String,
    pub sub: String,
    pub iat: i64,
    pub exp: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nbf: Option<i64>,
}

impl Identities {
    /// New ones.
    pub fn new() -> Self {
        let ca_key = KeyPair::generate().unwrap();
        let mut authority = CertificateParams::default();
        authority.distinguished_name.push(DnType::CommonName, "Clinic authority");
        authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let ca_pem = authority.self_signed(&ca_key).unwrap().pem();
        Self { ca_pem, authority, ca_key, issuer: KeyPair::generate().unwrap() }
    }

    /// The same, with this key of the issuer, in PEM.
    pub fn with_issuer(key: &str) -> Self {
        Self { issuer: KeyPair::from_pem(key).unwrap(), ..Self::new() }
    }

    /// A server's certificate for loopback.
    pub fn server(&self) -> Leaf {
        self.server_until(Timestamp::from_second(4_000_000_000).unwrap())
    }

    /// The same, valid until this moment.
    pub fn server_until(&self, until: Timestamp) -> Leaf {
        let mut params = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        params.not_after = SystemTime::from(until).into();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.leaf(params)
    }

    /// A client's certificate with this URI as its name.
    pub fn client(&self, uri: &str) -> Leaf {
        self.client_until(uri, Timestamp::from_second(4_000_000_000).unwrap())
    }

    /// The same, valid until this moment.
    pub fn client_until(&self, uri: &str, until: Timestamp) -> Leaf {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.not_after = SystemTime::from(until).into();
        self.leaf(params)
    }

    fn leaf(&self, params: CertificateParams) -> Leaf {
        let key = KeyPair::generate().unwrap();
        let signer = Issuer::from_params(&self.authority, &self.ca_key);
        let certificate = params.signed_by(&key, &signer).unwrap().pem();
        Leaf { certificate, key: key.serialize_pem() }
    }

    /// The claims of a good token for an hour.
    pub fn claims(&self, subject: &str, now: Timestamp) -> TokenClaims {
        let iat = now.as_second();
        let (iss, aud, sub) = (ISSUER.to_owned(), AUDIENCE.to_owned(), subject.to_owned());
        TokenClaims { iss, aud, sub, iat, exp: iat + 3600, nbf: None }
    }

    /// A token with these claims.
    pub fn token(&self, claims: &impl Serialize) -> String {
        let header = Header { kid: Some(KEY_ID.to_owned()), ..Header::new(Algorithm::ES256) };
        jsonwebtoken::encode(&header, claims, &EncodingKey::from_ec_der(&self.issuer.serialize_der())).unwrap()
    }

    /// The issuer's key set (RFC 7517).
    pub fn key_set(&self) -> String {
        let point = self.issuer.public_key_raw();
        let (x, y) = (URL_SAFE_NO_PAD.encode(&point[1..33]), URL_SAFE_NO_PAD.encode(&point[33..65]));
        serde_json::json!({ "keys": [{
            "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": KEY_ID, "x": x, "y": y,
        }] })
        .to_string()
    }
}

impl Default for Identities {
    fn default() -> Self {
        Self::new()
    }
}
