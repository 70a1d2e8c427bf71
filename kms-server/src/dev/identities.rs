//! Who there is in a development installation: two administrators, an auditor and a storage service, an authority for
//! certificates and an issuer of tokens.

use std::{net::SocketAddr, path::PathBuf};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use kms_client::{
    format::record::PrincipalKind,
    id::{ClientCaId, IssuerId},
};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};
use serde::Serialize;

use super::{DevError, files::Folder, read};
use crate::{
    init::{binding, credential, principal},
    model::{Clock, CredentialMatch, Error, Ids, JwksSource, Name, Operation, Role},
};

const ISSUER: &str = "https://keyward.localhost/dev";
const AUDIENCE: &str = "keyward";
const KEY_ID: &str = "dev";
const TOKEN_SECONDS: i64 = 24 * 60 * 60;
const STORAGE_URI: &str = "spiffe://keyward.localhost/storage";

const ADMINISTRATORS: [&str; 2] = ["admin-1", "admin-2"];
const AUDITOR: &str = "auditor";
const STORAGE: &str = "storage";

/// The authority's certificate and the issuer's key. Leaf certificates and tokens are made anew at every start.
#[derive(Debug)]
pub(super) struct Identities {
    ca_pem: String,
    issuer: KeyPair,
}

/// The claims of a token (RFC 7519 section 4.1).
#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: &'a str,
    iat: i64,
    exp: i64,
}

impl Identities {
    /// Reads the authority's and the issuer's keys, or makes them, and makes the leaf certificates.
    pub(super) fn open(folder: &Folder, clock: &dyn Clock) -> Result<Self, DevError> {
        let ca_key = key(folder, "tls/ca.key")?;
        let mut authority = CertificateParams::default();
        authority.distinguished_name.push(DnType::CommonName, "Keyward development authority");
        authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let ca_pem = if folder.join("tls/ca.pem").exists() {
            read(&folder.join("tls/ca.pem"))?
        } else {
            let pem = authority.self_signed(&ca_key)?.pem();
            folder.write_secret("tls/ca.pem", pem.as_bytes())?;
            pem
        };
        // The names and the key are the same at every start, so this signs as the certificate that is on the disk.
        let signer = Issuer::new(authority, ca_key);

        let mut server =
            CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()])?;
        server.distinguished_name.push(DnType::CommonName, "localhost");
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        leaf(folder, "tls/server", server, &signer, clock)?;

        let mut storage = CertificateParams::default();
        storage.distinguished_name.push(DnType::CommonName, STORAGE);
        storage.subject_alt_names = vec![SanType::URI(STORAGE_URI.try_into()?)];
        storage.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        leaf(folder, "tls/storage", storage, &signer, clock)?;

        Ok(Self { ca_pem, issuer: key(folder, "issuer/issuer.key")? })
    }

    /// The operations of the first change.
    pub(super) fn operations(&self, clock: &dyn Clock) -> Result<Vec<Operation>, DevError> {
        let now = clock.now();
        let client_ca = ClientCaId::new(Ids.fresh(now));
        let issuer = IssuerId::new(Ids.fresh(now));
        let mut operations = vec![
            Operation::AddClientCa { client_ca, name: name("dev")?, certificate_pem: self.ca_pem.clone() },
            Operation::AddIssuer {
                issuer,
                iss: ISSUER.to_owned(),
                audiences: vec![AUDIENCE.to_owned()],
                jwks: JwksSource::Inline(self.key_set()),
            },
        ];
        let people = ADMINISTRATORS.map(|name| (name, Role::KeyAdmin)).into_iter().chain([(AUDITOR, Role::Auditor)]);
        for (person, role) in people {
            let id = principal(&mut operations, &name(person)?, PrincipalKind::User, now);
            operations.push(credential(id, CredentialMatch::JwtSubject { issuer, subject: person.to_owned() }, now));
            operations.push(binding(id, role, now));
        }
        let id = principal(&mut operations, &name(STORAGE)?, PrincipalKind::Service, now);
        operations.push(credential(id, CredentialMatch::JwtSubject { issuer, subject: STORAGE.to_owned() }, now));
        let san = format!("uri:{STORAGE_URI}");
        operations.push(credential(id, CredentialMatch::CertificateSan { client_ca, san }, now));
        Ok(operations)
    }

    /// What clients need to know.
    pub(super) fn variables(
        &self,
        folder: &Folder,
        api: SocketAddr,
        operations: SocketAddr,
        clock: &dyn Clock,
    ) -> Result<Vec<(&'static str, String)>, DevError> {
        let now = clock.now();
        let path = |name: &str| folder.join(name).display().to_string();
        let [first, second] = ADMINISTRATORS;
        Ok(vec![
            ("KMS_URL", format!("https://{api}")),
            ("KMS_HEALTH_URL", format!("http://{operations}")),
            ("KMS_CA_FILE", path("tls/ca.pem")),
            ("KMS_ADMIN_TOKEN", self.token(first, now)?),
            ("KMS_ADMIN2_TOKEN", self.token(second, now)?),
            ("KMS_AUDITOR_TOKEN", self.token(AUDITOR, now)?),
            ("KMS_STORAGE_TOKEN", self.token(STORAGE, now)?),
            ("KMS_STORAGE_CERT_FILE", path("tls/storage.pem")),
            ("KMS_STORAGE_KEY_FILE", path("tls/storage.key")),
        ])
    }

    fn token(&self, subject: &str, now: Timestamp) -> Result<String, DevError> {
        let iat = now.as_second();
        let claims = Claims { iss: ISSUER, aud: AUDIENCE, sub: subject, iat, exp: iat + TOKEN_SECONDS };
        let header = Header { kid: Some(KEY_ID.to_owned()), ..Header::new(Algorithm::ES256) };
        let key = EncodingKey::from_ec_der(&self.issuer.serialize_der());
        Ok(jsonwebtoken::encode(&header, &claims, &key)?)
    }

    /// The issuer's key set (RFC 7517): one P-256 key, whose point is uncompressed (SEC 1 section 2.3.3).
    fn key_set(&self) -> String {
        let point = self.issuer.public_key_raw();
        let (x, y) = point.get(1..).and_then(|point| point.split_at_checked(32)).unwrap_or_default();
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        format!(
            r#"{{"keys":[{{"kty":"EC","crv":"P-256","alg":"ES256","use":"sig","kid":"{KEY_ID}","x":"{x}","y":"{y}"}}]}}"#
        )
    }
}

fn name(text: &str) -> Result<Name, DevError> {
    text.parse().map_err(|error: crate::model::InvalidName| DevError::Model(Error::from(error)))
}

/// Reads a private key, or makes a P-256 one.
fn key(folder: &Folder, file: &str) -> Result<KeyPair, DevError> {
    let path = folder.join(file);
    if path.exists() {
        return Ok(KeyPair::from_pem(&read(&path)?)?);
    }
    let key = KeyPair::generate()?;
    folder.write_secret(file, key.serialize_pem().as_bytes())?;
    Ok(key)
}

/// Makes a certificate for ninety days and its key.
fn leaf(
    folder: &Folder,
    place: &str,
    mut params: CertificateParams,
    signer: &Issuer<'_, KeyPair>,
    clock: &dyn Clock,
) -> Result<(PathBuf, PathBuf), DevError> {
    let key = KeyPair::generate()?;
    let day = std::time::Duration::from_hours(24);
    let now = std::time::UNIX_EPOCH + std::time::Duration::from_secs(clock.now().as_second().unsigned_abs());
    params.not_before = (now - day).into();
    params.not_after = (now + 90 * day).into();
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(&key, signer)?;
    let certificate = folder.write_secret(&format!("{place}.pem"), certificate.pem().as_bytes())?;
    Ok((certificate, folder.write_secret(&format!("{place}.key"), key.serialize_pem().as_bytes())?))
}
