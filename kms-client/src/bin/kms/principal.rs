//! `kms principal`: users, services and contractors.

use clap::{Args, Subcommand};
use kms_client::{
    client::Client,
    wire::{
        key::Environment,
        name::{Description, Person, PrincipalName, PrincipalRef, Reason, Team},
        principal::{
            CreatePrincipal, Principal, PrincipalAnswer, PrincipalChanged, PrincipalKind, PrincipalList,
            PrincipalQuery, PrincipalState, Proof, UpdatePrincipal,
        },
    },
};

use crate::{
    failure::Failure,
    output::{Output, fields, receipt, table, text, time},
    page,
    terms::{IfRevision, Once},
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create a principal; it has no credential and no right yet
    #[command(
        after_help = "Examples:\n  kms principal create storage-1 --kind service\n  kms principal create ada --kind user --person ada@example.org --team Radiology\n\nThen give it a credential and a role:\n  kms credential add --help\n  kms binding create --help"
    )]
    Create(Create),
    /// List principals
    #[command(after_help = "Example:\n  kms principal list --kind contractor --state active")]
    List(List),
    /// Show a principal and its credentials
    #[command(after_help = "Example:\n  kms principal show storage-1")]
    Show {
        /// The principal: an id or a name
        principal: PrincipalRef,
    },
    /// Change a principal's team or description
    #[command(after_help = "Example:\n  kms principal update ada --team Cardiology")]
    Update(Update),
    /// Cut all access of a principal
    #[command(
        after_help = "When this returns, no node answers the principal any more, whatever tokens it holds.\n\nExample:\n  kms principal suspend contractor-7 --reason 'contract ended'"
    )]
    Suspend {
        /// The principal: an id or a name
        principal: PrincipalRef,
        /// Why; it is kept on record
        #[arg(long)]
        reason: Reason,
        #[command(flatten)]
        if_revision: IfRevision,
    },
    /// Give a suspended principal its access back; this needs an approval
    #[command(after_help = "Example:\n  kms principal reinstate storage-1 --reason 'alarm was false'")]
    Reinstate {
        /// The principal: an id or a name
        principal: PrincipalRef,
        /// Why; it is kept on record
        #[arg(long)]
        reason: Reason,
        #[command(flatten)]
        if_revision: IfRevision,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// Its name; fixed
    name: PrincipalName,
    /// What it is: user, service or contractor; fixed
    #[arg(long)]
    kind: PrincipalKind,
    /// The human being behind a user or contractor: all accounts of one person name it alike; fixed
    #[arg(long)]
    person: Option<Person>,
    /// Where it belongs: production, test or development; fixed
    #[arg(long, default_value_t)]
    environment: Environment,
    /// Its team
    #[arg(long)]
    team: Option<Team>,
    /// What it is for
    #[arg(long)]
    description: Option<Description>,
    #[command(flatten)]
    once: Once,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only those of this kind: user, service or contractor
    #[arg(long)]
    kind: Option<PrincipalKind>,
    /// Only those in this state: active or suspended
    #[arg(long)]
    state: Option<PrincipalState>,
    /// Only the one of this name
    #[arg(long)]
    name: Option<PrincipalName>,
    /// The most to list; all unless given
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct Update {
    /// The principal: an id or a name
    principal: PrincipalRef,
    /// Its team
    #[arg(long)]
    team: Option<Team>,
    /// What it is for; '' for nothing
    #[arg(long)]
    description: Option<Description>,
    #[command(flatten)]
    if_revision: IfRevision,
}

pub(crate) async fn run(command: Command, client: &Client, output: Output) -> Result<(), Failure> {
    let changed = match command {
        Command::Create(Create { name, kind, person, environment, team, description, once }) => {
            let request = CreatePrincipal { name, kind, person, environment, team, description };
            once.bind(client).create_principal(&request).await?
        }
        Command::List(list) => return list.run(client, output).await,
        Command::Show { principal } => {
            let answer = client.principal(&principal).await?;
            return output.print(&answer, |PrincipalAnswer { principal, .. }| show(principal));
        }
        Command::Update(Update { principal, team, description, if_revision }) => {
            if team.is_none() && description.is_none() {
                return Err(Failure::Usage("nothing to change: give --team or --description".to_owned()));
            }
            let request = UpdatePrincipal { team, description };
            if_revision.bind(client).update_principal(&principal, &request).await?
        }
        Command::Suspend { principal, reason, if_revision } => {
            if_revision.bind(client).suspend_principal(&principal, reason).await?
        }
        Command::Reinstate { principal, reason, if_revision } => {
            if_revision.bind(client).reinstate_principal(&principal, reason).await?
        }
    };
    print_changed(&changed, output)
}

impl List {
    async fn run(self, client: &Client, output: Output) -> Result<(), Failure> {
        let Self { kind, state, name, limit } = self;
        let query = PrincipalQuery { kind, state, name, limit: None, cursor: None };
        let list = page::collect(limit, async |limit, cursor| {
            client.list_principals(&PrincipalQuery { limit, cursor, ..query.clone() }).await
        });
        output.print(&list.await?, |list: &PrincipalList| {
            let heading = ["id", "name", "kind", "person", "team", "environment", "state", "created"];
            let rows = list.principals.iter().map(|principal| {
                [
                    principal.id.to_string(),
                    principal.name.to_string(),
                    principal.kind.to_string(),
                    text(principal.person.as_ref()),
                    text(principal.team.as_ref()),
                    principal.environment.to_string(),
                    principal.state.to_string(),
                    time(principal.created_at),
                ]
            });
            table(heading, rows)
        })
    }
}

pub(crate) fn print_changed(changed: &PrincipalChanged, output: Output) -> Result<(), Failure> {
    output.print(changed, |changed| show(&changed.principal) + &receipt(&changed.receipt))
}

fn show(principal: &Principal) -> String {
    let head = fields([
        ("id", principal.id.to_string()),
        ("name", principal.name.to_string()),
        ("kind", principal.kind.to_string()),
        ("person", text(principal.person.as_ref())),
        ("team", text(principal.team.as_ref())),
        ("description", principal.description.to_string()),
        ("environment", principal.environment.to_string()),
        ("state", principal.state.to_string()),
        ("reason", text(principal.reason.as_ref())),
        ("created", time(principal.created_at)),
        ("revision", principal.revision.to_string()),
    ]);
    let credentials = principal.credentials.iter().map(|credential| {
        let (kind, what) = match &credential.proof {
            Proof::JwtSubject { issuer, subject } => ("token", format!("`{subject}` of issuer {issuer}")),
            Proof::CertificateSan { san, client_ca } => ("certificate", format!("`{san}` of CA {client_ca}")),
            Proof::CertificateFingerprint { sha256 } => ("certificate", format!("SHA-256 {sha256}")),
        };
        [credential.id.to_string(), kind.to_owned(), what, time(credential.created_at)]
    });
    format!("{head}\n{}", table(["credential", "kind", "proves", "created"], credentials))
}
