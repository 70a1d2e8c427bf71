//! What the host's administrator gives to get back in: a name, a proof, and the token's PIN, asked for anew. The PIN in the
//! configuration lets a server start; it does not let somebody who found the machine open become an administrator.

use std::{
    fs, io,
    io::{BufRead as _, IsTerminal as _, Write as _},
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use kms_client::{format::record::PrincipalKind, id::PrincipalId};
use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use secrecy::SecretString;

use crate::{
    authn::{Moment, PeerCertificates},
    init,
    model::{
        ControlState, CredentialMatch, Error, GrantedRole, Name, Operation, PrincipalState, Revision, Role, Row, Scope,
    },
};

/// An administrator to be made or reinstated.
#[derive(Debug, Clone)]
pub struct Recovery {
    /// Its name; a principal of this name is reinstated.
    pub name: Name,
    /// How it will prove who it is.
    pub proof: RecoveryProof,
}

/// How a recovered administrator proves who it is.
#[derive(Debug, Clone)]
pub enum RecoveryProof {
    /// By the certificate in this file, under an authority that is trusted already.
    Certificate(PathBuf),
    /// By tokens with this subject, of an issuer that is trusted already.
    Subject {
        /// The `iss`.
        issuer: String,
        /// The `sub`.
        subject: String,
    },
}

impl Recovery {
    /// The one change that does it, chosen in full from this state.
    ///
    /// # Errors
    ///
    /// Why the proof proves nothing here.
    pub fn operation(&self, state: &ControlState, now: Timestamp) -> Result<Operation, Error> {
        let mut steps = Vec::new();
        let principal = match state.principal_by_name(&self.name) {
            Some(existing) => {
                if existing.state == PrincipalState::Suspended {
                    let reason = "recovered on the host".parse()?;
                    steps.push(Operation::ReinstatePrincipal { principal: existing.id, reason });
                }
                existing.id
            }
            None => init::principal(&mut steps, &self.name, PrincipalKind::User, now),
        };
        let matches = self.proof.matches(state)?;
        let has =
            state.credential(&matches).filter(|(owner, _)| *owner == principal).is_some_and(|(owner, credential)| {
                state.principal(owner).is_some_and(|principal| principal.credential(credential).is_some())
            });
        if !has {
            steps.push(init::credential(principal, matches, now));
        }
        if !administers(state, principal, now) {
            steps.push(init::binding(principal, Role::KeyAdmin, now));
        }
        if steps.is_empty() {
            let detail = format!("`{}` is an administrator with this proof already", self.name);
            return Err(Error::conflict(crate::model::Refusal::InvalidState, detail));
        }
        Ok(Operation::RecoverAdmin { principal, steps })
    }

    /// Whether the proof is good at the state that the change leads to: a certificate may be under no trusted authority.
    ///
    /// # Errors
    ///
    /// That it is not.
    pub fn check(&self, state: &ControlState, rows: &[Row], revision: Revision, now: Timestamp) -> Result<(), Error> {
        let RecoveryProof::Certificate(file) = &self.proof else { return Ok(()) };
        let mut after = state.clone();
        for row in rows {
            after.put(row.clone());
        }
        let moment = Moment { state: &after, revision, now };
        certificates(file)?.caller(moment).map(drop).map_err(|refused| {
            Error::invalid(format!(
                "`{}` would prove nothing: {refused}; it must be a client certificate under an authority that is trusted",
                file.display()
            ))
        })
    }
}

impl RecoveryProof {
    fn matches(&self, state: &ControlState) -> Result<CredentialMatch, Error> {
        match self {
            Self::Certificate(file) => {
                let sha256 = hex::encode(certificates(file)?.fingerprint());
                Ok(CredentialMatch::CertificateFingerprint { sha256 })
            }
            Self::Subject { issuer, subject } => {
                let trusted = state.trusted_issuer(issuer);
                let issuer = trusted.ok_or_else(|| Error::invalid(format!("`{issuer}` is no trusted issuer")))?.id;
                Ok(CredentialMatch::JwtSubject { issuer, subject: subject.clone() })
            }
        }
    }
}

fn administers(state: &ControlState, principal: PrincipalId, now: Timestamp) -> bool {
    state.bindings_of(principal).any(|binding| {
        binding.role == GrantedRole::BuiltIn(Role::KeyAdmin)
            && binding.scope == Scope::All
            && binding.is_effective(now)
            && binding.period.until.is_none()
    })
}

fn certificates(file: &Path) -> Result<PeerCertificates, Error> {
    let chain: Vec<_> = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect)
        .map_err(|error| Error::invalid(format!("`{}` is not a certificate in PEM: {error}", file.display())))?;
    PeerCertificates::parse(&chain).map_err(|refused| Error::invalid(refused.to_string()))
}

/// The token's PIN, from a file, or from whoever sits there.
///
/// # Errors
///
/// That none was given.
pub fn pin(file: Option<&Path>) -> Result<SecretString, Error> {
    let text = match file {
        Some(file) => fs::read_to_string(file)
            .map_err(|error| Error::invalid(format!("`{}` cannot be read: {error}", file.display())))?,
        None => prompt().map_err(|error| Error::invalid(format!("the PIN cannot be read: {error}")))?,
    };
    let pin = text.trim_end_matches(['\r', '\n']);
    if pin.is_empty() {
        return Err(Error::invalid("the token's PIN is needed: type it, or name a file with `--pin-file`"));
    }
    Ok(SecretString::from(pin.to_owned()))
}

fn prompt() -> io::Result<String> {
    let stdin = io::stdin();
    let mut line = String::new();
    if !stdin.is_terminal() {
        stdin.lock().read_line(&mut line)?;
        return Ok(line);
    }
    let before = tcgetattr(&stdin)?;
    let mut silent = before.clone();
    silent.local_flags.remove(LocalFlags::ECHO);
    eprint!("PIN of the token: ");
    io::stderr().flush()?;
    tcsetattr(&stdin, SetArg::TCSAFLUSH, &silent)?;
    let read = stdin.lock().read_line(&mut line);
    tcsetattr(&stdin, SetArg::TCSAFLUSH, &before)?;
    eprintln!();
    read.map(|_| line)
}
