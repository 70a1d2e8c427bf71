//! `kms trust`: whose tokens and certificates are believed.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use kms_client::{
    client::Client,
    id::{ClientCaId, IssuerId},
    wire::{
        name::{Audience, ClientCaName, IssuerUrl},
        trust::{
            AddClientCa, AddIssuer, ClientCa, ClientCaChanged, ClientCaList, Issuer, IssuerChanged, IssuerList, Jwks,
        },
    },
};
use serde_json::Value;

use crate::{
    failure::Failure,
    output::{Output, fields, receipt, table, time},
    parse,
    terms::{IfRevision, Once},
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Issuers of JSON Web Tokens
    #[command(subcommand)]
    Issuer(IssuerCommand),
    /// Certification authorities of client certificates
    #[command(subcommand)]
    Ca(CaCommand),
}

#[derive(Debug, Subcommand)]
pub(crate) enum IssuerCommand {
    /// Trust an issuer
    #[command(
        after_help = "Examples:\n  kms trust issuer add https://login.example.org --audience keyward --jwks-url https://login.example.org/jwks\n  kms trust issuer add https://ci.example.org --audience keyward --jwks-file jwks.json"
    )]
    Add(AddIssuerArgs),
    /// List trusted issuers
    #[command(after_help = "Example:\n  kms trust issuer list")]
    List,
    /// Trust an issuer no more
    #[command(
        after_help = "When this returns, no node accepts its tokens any more.\n\nExample:\n  kms trust issuer remove 019abcde-0000-7000-8000-000000000000"
    )]
    Remove {
        /// The issuer, from `kms trust issuer list`
        issuer: IssuerId,
        #[command(flatten)]
        if_revision: IfRevision,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum CaCommand {
    /// Trust a certification authority
    #[command(after_help = "Example:\n  kms trust ca add storage-ca storage-ca.pem")]
    Add {
        /// A name for it
        name: ClientCaName,
        /// Its certificate, in PEM
        certificate_file: PathBuf,
        #[command(flatten)]
        once: Once,
    },
    /// List trusted certification authorities
    #[command(after_help = "Example:\n  kms trust ca list")]
    List,
    /// Trust a certification authority no more
    #[command(
        after_help = "When this returns, no node accepts its certificates any more, on open connections neither.\n\nExample:\n  kms trust ca remove 019abcde-0000-7000-8000-000000000000"
    )]
    Remove {
        /// The certification authority, from `kms trust ca list`
        client_ca: ClientCaId,
        #[command(flatten)]
        if_revision: IfRevision,
    },
}

#[derive(Debug, Args)]
pub(crate) struct AddIssuerArgs {
    /// The `iss` of its tokens, to the letter
    issuer: IssuerUrl,
    /// An `aud` of which its tokens must carry one; repeat it for more
    #[arg(long = "audience", required = true, value_name = "AUDIENCE")]
    audiences: Vec<Audience>,
    /// Its public keys, a JSON Web Key Set that is kept as it is
    #[arg(long, value_name = "FILE", required_unless_present = "jwks_url", conflicts_with = "jwks_url")]
    jwks_file: Option<PathBuf>,
    /// Where to read its public keys, again at least every five minutes
    #[arg(long, value_name = "URL")]
    jwks_url: Option<String>,
    /// The CA of that server's certificate, in PEM, if it is none of the system's
    #[arg(long, value_name = "FILE", requires = "jwks_url")]
    jwks_ca_file: Option<PathBuf>,
    #[command(flatten)]
    once: Once,
}

pub(crate) async fn run(command: Command, client: &Client, output: Output) -> Result<(), Failure> {
    match command {
        Command::Issuer(IssuerCommand::Add(add)) => {
            let client = add.once.bind(client);
            print_issuer(&client.add_issuer(&add.request()?).await?, output)
        }
        Command::Issuer(IssuerCommand::Remove { issuer, if_revision }) => {
            print_issuer(&if_revision.bind(client).remove_issuer(issuer).await?, output)
        }
        Command::Issuer(IssuerCommand::List) => output.print(&client.list_issuers().await?, issuers),
        Command::Ca(CaCommand::Add { name, certificate_file, once }) => {
            let certificate_pem = text(&certificate_file)?;
            print_ca(&once.bind(client).add_client_ca(&AddClientCa { name, certificate_pem }).await?, output)
        }
        Command::Ca(CaCommand::Remove { client_ca, if_revision }) => {
            print_ca(&if_revision.bind(client).remove_client_ca(client_ca).await?, output)
        }
        Command::Ca(CaCommand::List) => output.print(&client.list_client_cas().await?, client_cas),
    }
}

impl AddIssuerArgs {
    fn request(self) -> Result<AddIssuer, Failure> {
        let jwks = match (&self.jwks_file, self.jwks_url) {
            (Some(path), _) => Jwks::Inline { inline: key_set(path)? },
            (None, Some(url)) => Jwks::Url { url, ca: self.jwks_ca_file.as_ref().map(text).transpose()? },
            (None, None) => return Err(Failure::Usage("give --jwks-file or --jwks-url".to_owned())),
        };
        Ok(AddIssuer { issuer: self.issuer, audiences: self.audiences, jwks })
    }
}

/// A key set as it is sent, as long as it holds public keys only.
fn key_set(path: &PathBuf) -> Result<Value, Failure> {
    let wrong = |why: String| Failure::Usage(format!("`{}` is no JSON Web Key Set: {why}", path.display()));
    let set: Value = serde_json::from_slice(&parse::read(path)?).map_err(|error| wrong(error.to_string()))?;
    let keys = set.get("keys").and_then(Value::as_array).ok_or_else(|| wrong("it has no list `keys`".to_owned()))?;
    // RFC 7518 section 6: `d` is the private part of an elliptic curve or RSA key, `k` a symmetric key.
    if keys.iter().any(|key| key.get("d").is_some() || key.get("k").is_some()) {
        return Err(wrong("it holds a private key, which has no business here".to_owned()));
    }
    Ok(set)
}

fn text(path: &PathBuf) -> Result<String, Failure> {
    String::from_utf8(parse::read(path)?).map_err(|_| Failure::Usage(format!("`{}` is not PEM", path.display())))
}

fn print_issuer(changed: &IssuerChanged, output: Output) -> Result<(), Failure> {
    output.print(changed, |IssuerChanged { issuer, receipt: proof, .. }| {
        let shown = fields([
            ("id", issuer.id.to_string()),
            ("issuer", issuer.issuer.to_string()),
            ("audiences", audiences(issuer)),
            ("keys", source(&issuer.jwks)),
            ("created", time(issuer.created_at)),
        ]);
        shown + &receipt(proof)
    })
}

fn print_ca(changed: &ClientCaChanged, output: Output) -> Result<(), Failure> {
    output.print(changed, |ClientCaChanged { client_ca, receipt: proof, .. }| {
        let shown = fields([
            ("id", client_ca.id.to_string()),
            ("name", client_ca.name.to_string()),
            ("SHA-256", client_ca.sha256.to_string()),
            ("created", time(client_ca.created_at)),
        ]);
        shown + &receipt(proof)
    })
}

fn issuers(list: &IssuerList) -> String {
    let row = |issuer: &Issuer| {
        let (id, name) = (issuer.id.to_string(), issuer.issuer.to_string());
        [id, name, audiences(issuer), source(&issuer.jwks), time(issuer.created_at), issuer.revision.to_string()]
    };
    table(["id", "issuer", "audiences", "keys", "created", "revision"], list.issuers.iter().map(row))
}

fn client_cas(list: &ClientCaList) -> String {
    let row = |ca: &ClientCa| {
        let (id, name, revision) = (ca.id.to_string(), ca.name.to_string(), ca.revision.to_string());
        [id, name, ca.sha256.to_string(), time(ca.created_at), revision]
    };
    table(["id", "name", "SHA-256", "created", "revision"], list.client_cas.iter().map(row))
}

fn audiences(issuer: &Issuer) -> String {
    issuer.audiences.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn source(jwks: &Jwks) -> String {
    match jwks {
        Jwks::Inline { inline } => {
            let count = inline.get("keys").and_then(Value::as_array).map_or(0, Vec::len);
            format!("{count} kept inline")
        }
        Jwks::Url { url, .. } => url.clone(),
    }
}
