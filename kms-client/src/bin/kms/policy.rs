//! `kms policy`: rules beyond roles, written in Cedar.

use std::path::PathBuf;

use clap::Subcommand;
use kms_client::{
    client::Client,
    wire::{
        name::{Description, PolicyName},
        policy::{Policy, PolicyAnswer, PolicyChanged, PolicyList, PolicyValidated, PutPolicy, ValidatePolicy},
        preview::PreviewedChange,
    },
};

use crate::{
    failure::Failure,
    output::{Output, fields, receipt, table, text, time},
    parse, preview,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Add a policy, or replace it by a new version
    #[command(
        after_help = "When this returns, no node answers under the older version any more.\n\nExample:\n  kms policy put pharmacy pharmacy.cedar --description 'prescriptions only'"
    )]
    Put {
        /// Its name
        name: PolicyName,
        /// Its text, in Cedar
        file: PathBuf,
        /// What it is for
        #[arg(long)]
        description: Option<Description>,
    },
    /// Check a text without storing it
    #[command(
        after_help = "Fails where the text could not be put in force.\n\nExample:\n  kms policy validate pharmacy.cedar"
    )]
    Validate {
        /// The text, in Cedar
        file: PathBuf,
    },
    /// Show who would gain and lose what, and which past operations would have been refused
    #[command(
        after_help = "Nothing is changed. What depends on circumstances that the audit log does not hold is counted as undetermined.\n\nExamples:\n  kms policy preview pharmacy pharmacy.cedar --days 30\n  kms policy preview pharmacy --remove"
    )]
    Preview {
        /// Its name
        name: PolicyName,
        /// The text that it would have, in Cedar
        #[arg(required_unless_present = "remove", conflicts_with = "remove")]
        file: Option<PathBuf>,
        /// See what it would be like without it
        #[arg(long)]
        remove: bool,
        /// Of how many past days operations are judged anew, at most 90
        #[arg(long, default_value_t = 7)]
        days: u32,
    },
    /// Show a policy, or an older version of it
    #[command(after_help = "Example:\n  kms policy show pharmacy --version 1")]
    Show {
        /// Its name
        name: PolicyName,
        /// The version; the newest unless given
        #[arg(long)]
        version: Option<u32>,
    },
    /// List the policies in force
    #[command(after_help = "Example:\n  kms policy list")]
    List,
    /// Take a policy out of force
    #[command(
        after_help = "When this returns, no node decides by it any more.\n\nExample:\n  kms policy remove pharmacy"
    )]
    Remove {
        /// Its name
        name: PolicyName,
    },
}

pub(crate) async fn run(command: Command, client: &Client, output: Output) -> Result<(), Failure> {
    let changed = match command {
        Command::Put { name, file, description } => {
            client.put_policy(&name, &PutPolicy { text: cedar(&file)?, description }).await?
        }
        Command::Remove { name } => client.remove_policy(&name).await?,
        Command::Preview { name, file, remove: _, days } => {
            let change = match file {
                Some(file) => PreviewedChange::PutPolicy { name, text: cedar(&file)? },
                None => PreviewedChange::RemovePolicy { name },
            };
            return preview::run(change, days, client, output).await;
        }
        Command::Validate { file } => return validate(client, output, &file).await,
        Command::Show { name, version } => {
            let answer = client.policy(&name, version).await?;
            return output.print(&answer, |PolicyAnswer { policy, .. }| show(policy) + "\n" + &policy.text);
        }
        Command::List => return output.print(&client.list_policies().await?, list),
    };
    output.print(&changed, |changed: &PolicyChanged| show(&changed.policy) + &receipt(&changed.receipt))
}

async fn validate(client: &Client, output: Output, file: &PathBuf) -> Result<(), Failure> {
    let validated = client.validate_policy(&ValidatePolicy { text: cedar(file)?, name: None }).await?;
    output.print(&validated, |validated: &PolicyValidated| {
        if validated.valid {
            let rows = validated.statements.iter().map(|statement| {
                let actions: Vec<_> = statement.actions.iter().map(ToString::to_string).collect();
                [statement.effect.clone(), actions.join(", "), statement.looks_at.join(", ")]
            });
            return table(["effect", "actions", "looks at"], rows);
        }
        let rows =
            validated.faults.iter().map(|fault| [format!("{}:{}", fault.line, fault.column), fault.message.clone()]);
        table(["line", "what is wrong"], rows)
    })?;
    if validated.valid { Ok(()) } else { Err(Failure::Usage(format!("`{}` cannot be put in force", file.display()))) }
}

fn cedar(path: &PathBuf) -> Result<String, Failure> {
    String::from_utf8(parse::read(path)?).map_err(|_| Failure::Usage(format!("`{}` is not text", path.display())))
}

fn show(policy: &Policy) -> String {
    fields([
        ("id", policy.id.to_string()),
        ("name", policy.name.to_string()),
        ("description", text(policy.description.as_ref())),
        ("version", policy.version.to_string()),
        ("in force", if policy.in_force { "yes" } else { "no" }.to_owned()),
        ("created", time(policy.created_at)),
        ("revision", policy.revision.to_string()),
    ])
}

fn list(list: &PolicyList) -> String {
    let rows = list.policies.iter().map(|policy| {
        [
            policy.name.to_string(),
            policy.version.to_string(),
            policy.bytes.to_string(),
            policy.revision.to_string(),
            text(policy.description.as_ref()),
        ]
    });
    table(["policy", "version", "bytes", "revision", "description"], rows)
}
