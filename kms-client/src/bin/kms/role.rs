//! `kms role`: what each role allows, and roles of one's own.

use clap::Subcommand;
use kms_client::{
    client::Client,
    wire::{
        name::{ActionName, Description, RoleName},
        role::{CreateRole, RoleAnswer, RoleChanged, RoleDescription, RoleList, UpdateRole},
    },
};

use crate::{
    failure::Failure,
    output::{Output, fields, receipt, table, text},
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the roles and what they allow
    #[command(after_help = "Example:\n  kms role list")]
    List,
    /// Show a role
    #[command(after_help = "Example:\n  kms role show unwrapper")]
    Show {
        /// Its name
        role: RoleName,
    },
    /// Make a role of data actions, `describe_key` and `list_keys`
    #[command(after_help = "Example:\n  kms role create archivist --action unwrap --action rewrap")]
    Create {
        /// Its name, never to be another's
        name: RoleName,
        /// An action it allows; repeat it for more
        #[arg(long = "action", required = true, value_name = "ACTION")]
        actions: Vec<ActionName>,
        /// What it is for
        #[arg(long)]
        description: Option<Description>,
    },
    /// Change a role, for everybody who holds it, at once
    #[command(
        after_help = "When this returns, no node lets anybody act by what was taken away.\n\nExample:\n  kms role update archivist --action unwrap"
    )]
    Update {
        /// The role
        role: RoleName,
        /// An action it allows from now on, in place of those it allowed; repeat it for more
        #[arg(long = "action", value_name = "ACTION")]
        actions: Vec<ActionName>,
        /// What it is for
        #[arg(long)]
        description: Option<Description>,
    },
    /// Take a role out of use; end its bindings first
    #[command(after_help = "Example:\n  kms role remove archivist")]
    Remove {
        /// The role
        role: RoleName,
    },
}

pub(crate) async fn run(command: Command, client: &Client, output: Output) -> Result<(), Failure> {
    let changed = match command {
        Command::List => return output.print(&client.roles().await?, list),
        Command::Show { role } => {
            return output.print(&client.role(&role).await?, |RoleAnswer { role, .. }| show(role));
        }
        Command::Create { name, actions, description } => {
            client.create_role(&CreateRole { name, description, actions }).await?
        }
        Command::Update { role, actions, description } => {
            let actions = Some(actions).filter(|actions| !actions.is_empty());
            client.update_role(&role, &UpdateRole { description, actions }).await?
        }
        Command::Remove { role } => client.remove_role(&role).await?,
    };
    output.print(&changed, |changed: &RoleChanged| show(&changed.role) + &receipt(&changed.receipt))
}

fn show(role: &RoleDescription) -> String {
    fields([
        ("name", role.name.to_string()),
        ("id", text(role.id)),
        ("description", role.description.clone()),
        ("actions", role.actions.join(", ")),
        ("revision", text(role.revision)),
    ])
}

fn list(list: &RoleList) -> String {
    let rows = list.roles.iter().map(|role| {
        let origin = if role.built_in { "built in" } else { "custom" };
        [role.name.to_string(), origin.to_owned(), role.description.clone(), role.actions.join(", ")]
    });
    table(["role", "origin", "description", "actions"], rows)
}
