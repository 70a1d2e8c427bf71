//! `kms binding`: who may do what, with which keys, and until when.

use clap::{Args, Subcommand};
use kms_client::{
    client::Client,
    id::BindingId,
    wire::{
        binding::{Binding, BindingAnswer, BindingChanged, BindingList, BindingQuery, CreateBinding, Scope},
        name::{DataClass, Description, KeyName, PrincipalRef, Reason, RoleName},
    },
};

use crate::{
    failure::Failure,
    output::{Output, fields, receipt, table, text, time},
    page,
    parse::When,
    terms::{IfRevision, Once},
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Give a principal a role
    #[command(
        after_help = "Examples:\n  kms binding create storage-1 wrapper --key alias/records\n  kms binding create storage-1 unwrapper --class imaging\n  kms binding create contractor-7 unwrapper --key alias/records --until 30d --sponsor ada --purpose 'migration of the archive'"
    )]
    Create(Create),
    /// List bindings
    #[command(after_help = "Example:\n  kms binding list --key alias/records --role unwrapper")]
    List(List),
    /// Show a binding
    #[command(after_help = "Example:\n  kms binding show 019abcde-0000-7000-8000-000000000000")]
    Show {
        /// The binding, from `kms binding list`
        binding: BindingId,
    },
    /// End a binding
    #[command(
        after_help = "When this returns, no node lets the principal act by it any more.\n\nExample:\n  kms binding end 019abcde-0000-7000-8000-000000000000 --reason 'moved to another team'"
    )]
    End {
        /// The binding, from `kms binding list`
        binding: BindingId,
        /// Why; it is kept on record
        #[arg(long)]
        reason: Reason,
        #[command(flatten)]
        if_revision: IfRevision,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// Who gets the role: an id or a name
    principal: PrincipalRef,
    /// The role: key-admin, wrapper, unwrapper, rewrapper, auditor, offboarder, approver, or a custom one
    role: RoleName,
    #[command(flatten)]
    scope: ScopeArgs,
    /// When it begins, as `2026-11-22`, `2026-11-22T14:00:00Z`, or `7d` from now; now unless given
    #[arg(long, value_name = "TIME")]
    from: Option<When>,
    /// When it ends, written alike. Needed for a contractor
    #[arg(long, value_name = "TIME")]
    until: Option<When>,
    /// Who answers for it: an id or a name. Needed for a contractor
    #[arg(long, value_name = "PRINCIPAL")]
    sponsor: Option<PrincipalRef>,
    /// What it is for. Needed for a contractor
    #[arg(long)]
    purpose: Option<Description>,
    #[command(flatten)]
    once: Once,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct ScopeArgs {
    /// For one key: an id or alias/NAME
    #[arg(long)]
    key: Option<KeyName>,
    /// For all keys of a data class, and those to come
    #[arg(long = "class", value_name = "CLASS")]
    data_class: Option<DataClass>,
    /// For everything
    #[arg(long)]
    all: bool,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only those of this principal: an id or a name
    #[arg(long)]
    principal: Option<PrincipalRef>,
    /// Only those of this role
    #[arg(long)]
    role: Option<RoleName>,
    /// Only those whose scope is this key: an id or alias/NAME
    #[arg(long)]
    key: Option<KeyName>,
    /// The most to list; all unless given
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
}

pub(crate) async fn run(command: Command, client: &Client, output: Output) -> Result<(), Failure> {
    let changed = match command {
        Command::Create(create) => create.once.bind(client).create_binding(&create.request()).await?,
        Command::List(list) => return list.run(client, output).await,
        Command::Show { binding } => {
            let answer = client.binding(binding).await?;
            return output.print(&answer, |BindingAnswer { binding, .. }| show(binding));
        }
        Command::End { binding, reason, if_revision } => if_revision.bind(client).end_binding(binding, reason).await?,
    };
    output.print(&changed, |changed: &BindingChanged| show(&changed.binding) + &receipt(&changed.receipt))
}

impl Create {
    fn request(self) -> CreateBinding {
        let Self { principal, role, scope, from, until, sponsor, purpose, once: _ } = self;
        CreateBinding {
            principal,
            role,
            scope: scope.into(),
            from: from.map(When::future),
            until: until.map(When::future),
            sponsor,
            purpose,
        }
    }
}

impl From<ScopeArgs> for Scope {
    fn from(scope: ScopeArgs) -> Self {
        // The group lets exactly one of them through.
        match scope {
            ScopeArgs { key: Some(key), .. } => Self::Key(key),
            ScopeArgs { data_class: Some(class), .. } => Self::DataClass(class),
            ScopeArgs { key: None, data_class: None, all: _ } => Self::All,
        }
    }
}

impl List {
    async fn run(self, client: &Client, output: Output) -> Result<(), Failure> {
        let Self { principal, role, key, limit } = self;
        let query = BindingQuery { principal, role, key, limit: None, cursor: None };
        let list = page::collect(limit, async |limit, cursor| {
            client.list_bindings(&BindingQuery { limit, cursor, ..query.clone() }).await
        });
        output.print(&list.await?, |list: &BindingList| table_of(&list.bindings))
    }
}

pub(crate) fn table_of(bindings: &[Binding]) -> String {
    let rows = bindings.iter().map(|binding| {
        [
            binding.id.to_string(),
            binding.principal.to_string(),
            binding.role.to_string(),
            scope(&binding.scope),
            time(binding.from),
            binding.until.map(time).unwrap_or_default(),
            binding.ended.as_ref().map(|ended| time(ended.at)).unwrap_or_default(),
        ]
    });
    table(["binding", "principal", "role", "scope", "from", "until", "ended"], rows)
}

fn show(binding: &Binding) -> String {
    fields([
        ("id", binding.id.to_string()),
        ("principal", binding.principal.to_string()),
        ("role", binding.role.to_string()),
        ("scope", scope(&binding.scope)),
        ("from", time(binding.from)),
        ("until", text(binding.until.map(time))),
        ("sponsor", text(binding.sponsor)),
        ("purpose", text(binding.purpose.as_ref())),
        ("ended", text(binding.ended.as_ref().map(|ended| format!("{}: {}", time(ended.at), ended.reason)))),
        ("created", time(binding.created_at)),
        ("revision", binding.revision.to_string()),
    ])
}

fn scope(scope: &Scope) -> String {
    match scope {
        Scope::Key(key) => format!("key {key}"),
        Scope::DataClass(class) => format!("class {class}"),
        Scope::All => "all".to_owned(),
    }
}
