//! `kms-server init`: from what an operator names on the command line to the installation's first change.

use std::{
    fs,
    path::{Path, PathBuf},
    str::FromStr,
};

use jiff::Timestamp;
use kms_client::{
    format::record::PrincipalKind,
    id::{BindingId, ClientCaId, CredentialId, IssuerId, PrincipalId},
};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};

use crate::{
    authn::{PeerCertificates, check_authority, check_key_source},
    model::{
        CredentialMatch, Environment, Error, Ids, JwksSource, Name, NewCredential, Operation, Period, Role, Scope, Text,
    },
};

/// Whom and what an installation trusts from its first moment.
#[derive(Debug, Clone, Default)]
pub struct Founding {
    /// The client certification authorities.
    pub client_cas: Vec<NamedFile>,
    /// The issuer of tokens.
    pub issuer: Option<FoundingIssuer>,
    /// The administrators.
    pub administrators: Vec<Administrator>,
    /// Declared to be run by one person.
    pub solo: bool,
}

/// `NAME=FILE`.
#[derive(Debug, Clone)]
pub struct NamedFile {
    /// The name.
    pub name: Name,
    /// The file.
    pub file: PathBuf,
}

/// An issuer of tokens.
#[derive(Debug, Clone)]
pub struct FoundingIssuer {
    /// Its `iss`.
    pub issuer: String,
    /// The audiences of which a token must name one.
    pub audiences: Vec<String>,
    /// A file with its key set, or its `https:` address.
    pub jwks: String,
}

/// `NAME=CERT_OR_SUBJECT`: a file with a client certificate, or the `sub` of the issuer's tokens.
#[derive(Debug, Clone)]
pub struct Administrator {
    /// The principal's name, and the person's.
    pub name: Name,
    /// What it shows.
    pub shows: String,
}

impl FromStr for NamedFile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, file) = named(text)?;
        Ok(Self { name, file: file.into() })
    }
}

impl FromStr for Administrator {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, shows) = named(text)?;
        Ok(Self { name, shows: shows.to_owned() })
    }
}

fn named(text: &str) -> Result<(Name, &str), String> {
    let (name, rest) = text.split_once('=').filter(|(_, rest)| !rest.is_empty()).ok_or("it is written NAME=VALUE")?;
    Ok((name.parse().map_err(|error: crate::model::InvalidName| error.to_string())?, rest))
}

impl Founding {
    /// The operations of the first change.
    ///
    /// # Errors
    ///
    /// `invalid_request` for a file that cannot be read, a certificate under no named authority, or too few
    /// administrators.
    pub fn operations(&self, now: Timestamp) -> Result<Vec<Operation>, Error> {
        let needed = if self.solo { 1 } else { 2 };
        if self.administrators.len() < needed {
            return Err(Error::invalid(format!(
                "{needed} administrators are needed (`--admin NAME=CERT_OR_SUBJECT`); `--solo` declares one person"
            )));
        }
        let mut operations = Vec::new();
        for ca in &self.client_cas {
            let certificate_pem = read(&ca.file)?;
            check_authority(&certificate_pem)?;
            let client_ca = ClientCaId::new(Ids.fresh(now));
            operations.push(Operation::AddClientCa { client_ca, name: ca.name.clone(), certificate_pem });
        }
        let mut issuer = None;
        if let Some(founding) = &self.issuer {
            let id = IssuerId::new(Ids.fresh(now));
            issuer = Some(id);
            operations.push(Operation::AddIssuer {
                issuer: id,
                iss: founding.issuer.clone(),
                audiences: founding.audiences.clone(),
                jwks: jwks(&founding.jwks)?,
            });
        }
        for administrator in &self.administrators {
            let matches = administrator.matches(issuer)?;
            let principal = principal(&mut operations, &administrator.name, PrincipalKind::User, now);
            operations.push(credential(principal, matches, now));
            operations.push(binding(principal, Role::KeyAdmin, now));
        }
        Ok(operations)
    }
}

impl Administrator {
    fn matches(&self, issuer: Option<IssuerId>) -> Result<CredentialMatch, Error> {
        let file = Path::new(&self.shows);
        if file.is_file() {
            let chain: Vec<_> = CertificateDer::pem_file_iter(file).and_then(Iterator::collect).map_err(|error| {
                Error::invalid(format!("`{}` is not a certificate in PEM: {error}", file.display()))
            })?;
            let certificates =
                PeerCertificates::parse(&chain).map_err(|refused| Error::invalid(refused.to_string()))?;
            return Ok(CredentialMatch::CertificateFingerprint { sha256: hex::encode(certificates.fingerprint()) });
        }
        match issuer {
            Some(issuer) => Ok(CredentialMatch::JwtSubject { issuer, subject: self.shows.clone() }),
            None => Err(Error::invalid(format!(
                "`{}` is no certificate file, and without `--issuer` it cannot be the subject of a token",
                self.shows
            ))),
        }
    }
}

/// Adds a principal of the production environment.
pub(crate) fn principal(
    operations: &mut Vec<Operation>,
    name: &Name,
    kind: PrincipalKind,
    now: Timestamp,
) -> PrincipalId {
    let principal = PrincipalId::new(Ids.fresh(now));
    operations.push(Operation::CreatePrincipal {
        principal,
        name: name.clone(),
        kind,
        person: None,
        environment: Environment::Production,
        team: None,
        description: Text::default(),
    });
    principal
}

/// Gives a principal a credential.
pub(crate) fn credential(principal: PrincipalId, matches: CredentialMatch, now: Timestamp) -> Operation {
    let id = CredentialId::new(Ids.fresh(now));
    Operation::AddCredential { principal, credential: NewCredential { id, matches } }
}

/// Gives a principal a role over everything, for ever.
pub(crate) fn binding(principal: PrincipalId, role: Role, now: Timestamp) -> Operation {
    Operation::CreateBinding {
        binding: BindingId::new(Ids.fresh(now)),
        principal,
        role: role.into(),
        scope: Scope::All,
        period: Period::default(),
        sponsor: None,
        purpose: Text::default(),
    }
}

fn jwks(source: &str) -> Result<JwksSource, Error> {
    let source = if source.starts_with("https://") {
        JwksSource::Url { url: source.to_owned(), ca_pem: None }
    } else {
        JwksSource::Inline(read(Path::new(source))?)
    };
    check_key_source(&source)?;
    Ok(source)
}

fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|error| Error::invalid(format!("`{}` cannot be read: {error}", path.display())))
}
