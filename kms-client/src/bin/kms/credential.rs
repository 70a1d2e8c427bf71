//! `kms credential`: how principals prove who they are.

use std::path::PathBuf;

use aws_lc_rs::digest::{SHA256, digest};
use clap::{Args, Subcommand};
use kms_client::{
    client::Client,
    id::{ClientCaId, CredentialId, IssuerId},
    wire::{
        name::{PrincipalRef, Subject},
        principal::{Fingerprint, Proof, SubjectAltName},
    },
};
use rustls::pki_types::{CertificateDer, pem::PemObject};

use crate::{
    failure::Failure,
    output::Output,
    parse,
    principal::print_changed,
    terms::{IfRevision, Once},
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Add a credential to a principal
    Add {
        #[command(subcommand)]
        add: Add,
        #[command(flatten)]
        if_revision: IfRevision,
        #[command(flatten)]
        once: Once,
    },
    /// Take a credential away from a principal
    #[command(
        after_help = "When this returns, no node accepts it any more.\n\nExample:\n  kms credential remove storage-1 019abcde-0000-7000-8000-000000000000"
    )]
    Remove {
        /// The principal: an id or a name
        principal: PrincipalRef,
        /// The credential, from `kms principal show`
        credential: CredentialId,
        #[command(flatten)]
        if_revision: IfRevision,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Add {
    /// A token of a trusted issuer with this subject
    #[command(
        after_help = "Example:\n  kms credential add jwt ada --issuer 019abcde-0000-7000-8000-000000000000 --subject ada@example.org"
    )]
    Jwt {
        /// The principal: an id or a name
        principal: PrincipalRef,
        /// The trusted issuer, from `kms trust issuer list`
        #[arg(long, value_name = "ID")]
        issuer: IssuerId,
        /// The `sub` of its tokens, to the letter
        #[arg(long)]
        subject: Subject,
    },
    /// A client certificate of a trusted CA with this subject alternative name
    #[command(
        after_help = "Example:\n  kms credential add san storage-1 --san dns:storage-1.example.org --client-ca 019abcde-0000-7000-8000-000000000000"
    )]
    San {
        /// The principal: an id or a name
        principal: PrincipalRef,
        /// The name: uri:URI or dns:HOST
        #[arg(long)]
        san: SubjectAltName,
        /// The trusted CA, from `kms trust ca list`
        #[arg(long, value_name = "ID")]
        client_ca: ClientCaId,
    },
    /// One client certificate
    #[command(after_help = "Example:\n  kms credential add fingerprint storage-1 --cert-file storage-1.pem")]
    Fingerprint(ByFingerprint),
}

#[derive(Debug, Args)]
pub(crate) struct ByFingerprint {
    /// The principal: an id or a name
    principal: PrincipalRef,
    /// The SHA-256 of the certificate's DER, in hexadecimal
    #[arg(long, required_unless_present = "cert_file", conflicts_with = "cert_file")]
    sha256: Option<Fingerprint>,
    /// The certificate itself, in PEM
    #[arg(long, value_name = "FILE")]
    cert_file: Option<PathBuf>,
}

pub(crate) async fn run(command: Command, client: &Client, output: Output) -> Result<(), Failure> {
    match command {
        Command::Add { add, if_revision, once } => {
            let (principal, proof) = add.proof()?;
            let client = once.bind(&if_revision.bind(client));
            print_changed(&client.add_credential(&principal, &proof).await?, output)
        }
        Command::Remove { principal, credential, if_revision } => {
            let client = if_revision.bind(client);
            print_changed(&client.remove_credential(&principal, credential).await?, output)
        }
    }
}

impl Add {
    fn proof(self) -> Result<(PrincipalRef, Proof), Failure> {
        Ok(match self {
            Self::Jwt { principal, issuer, subject } => (principal, Proof::JwtSubject { issuer, subject }),
            Self::San { principal, san, client_ca } => (principal, Proof::CertificateSan { san, client_ca }),
            Self::Fingerprint(by) => {
                let sha256 = by.fingerprint()?;
                (by.principal, Proof::CertificateFingerprint { sha256 })
            }
        })
    }
}

impl ByFingerprint {
    fn fingerprint(&self) -> Result<Fingerprint, Failure> {
        match (&self.sha256, &self.cert_file) {
            (Some(sha256), _) => Ok(*sha256),
            (None, Some(path)) => of_certificate(&parse::read(path)?)
                .ok_or_else(|| Failure::Usage(format!("`{}` holds no certificate in PEM", path.display()))),
            (None, None) => Err(Failure::Usage("give --sha256 or --cert-file".to_owned())),
        }
    }
}

/// The fingerprint of the first certificate.
fn of_certificate(pem: &[u8]) -> Option<Fingerprint> {
    let certificate = CertificateDer::from_pem_slice(pem).ok()?;
    digest(&SHA256, &certificate).as_ref().try_into().ok().map(Fingerprint::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_of_the_der() {
        let pem = "-----BEGIN CERTIFICATE-----\nYWJj\n-----END CERTIFICATE-----\n";
        let fingerprint = of_certificate(pem.as_bytes()).unwrap().to_string();
        assert_eq!(fingerprint, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert!(of_certificate(b"abc").is_none());
    }
}
