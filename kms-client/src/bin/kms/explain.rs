//! `kms explain` and `kms key who-can`: who may do what, and why, without doing it.

use std::net::IpAddr;

use clap::Args;
use kms_client::{
    client::Client,
    wire::{
        explain::{AccessList, AccessQuery, Explain, ExplainedNewKey, Explanation},
        key::Environment,
        name::{ActionName, DataClass, KeyName, PrincipalRef, Region},
    },
};

use crate::{
    failure::Failure,
    output::{Output, fields, table, text},
    page,
    parse::{ContextArgs, When},
};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kms explain unwrap --key alias/records --context data_group=prescription\n  kms explain unwrap --key alias/records --principal pharmacy-1 --source 10.20.0.7 --amr mfa\n  kms explain create_key --class imaging"
)]
pub(crate) struct ExplainArgs {
    /// The action, such as `unwrap`
    action: ActionName,
    /// Who would ask: an id or a name; you unless given
    #[arg(long)]
    principal: Option<PrincipalRef>,
    /// With which key: an id or alias/NAME
    #[arg(long, conflicts_with = "data_class")]
    key: Option<KeyName>,
    /// For `create_key`: the class of the key about to be
    #[arg(long = "class", value_name = "CLASS")]
    data_class: Option<DataClass>,
    /// For `create_key`: its region; the node's unless given
    #[arg(long, requires = "data_class")]
    region: Option<Region>,
    /// For `create_key`: its environment; production unless given
    #[arg(long, requires = "data_class")]
    environment: Option<Environment>,
    #[command(flatten)]
    context: ContextArgs,
    /// From which address; for yourself, yours unless given
    #[arg(long, value_name = "ADDRESS")]
    source: Option<IpAddr>,
    /// How one would be authenticated (`amr`); repeat it for more. For yourself, as you are unless given
    #[arg(long, value_name = "METHOD")]
    amr: Vec<String>,
    /// The same (`acr`)
    #[arg(long, value_name = "CLASS")]
    acr: Option<String>,
    /// When, as `2026-11-22T14:00:00Z`, or `7d` from now; now unless given
    #[arg(long, value_name = "TIME")]
    at: Option<When>,
}

#[derive(Debug, Args)]
pub(crate) struct WhoCan {
    /// The key: an id or alias/NAME
    key: KeyName,
    /// The action, such as `unwrap`
    action: ActionName,
    /// The most to list; all unless given
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
}

impl ExplainArgs {
    pub(crate) async fn run(self, client: &Client, output: Output) -> Result<(), Failure> {
        let context = if self.context.is_given() { Some(self.context.read()?.into()) } else { None };
        let new_key = self.data_class.map(|data_class| ExplainedNewKey {
            data_class,
            region: self.region,
            environment: self.environment,
        });
        let request = Explain {
            principal: self.principal,
            action: self.action,
            key: self.key,
            new_key,
            context,
            source: self.source,
            amr: Some(self.amr).filter(|amr| !amr.is_empty()),
            acr: self.acr,
            at: self.at.map(When::future),
        };
        output.print(&client.explain(&request).await?, show)
    }
}

impl WhoCan {
    pub(crate) async fn run(self, client: &Client, output: Output) -> Result<(), Failure> {
        let Self { key, action, limit } = self;
        let query = AccessQuery { action, limit: None, cursor: None };
        let list = page::collect(limit, async |limit, cursor| {
            client.key_access(&key, &AccessQuery { limit, cursor, ..query.clone() }).await
        });
        output.print(&list.await?, |list: &AccessList| {
            let rows = list.access.iter().map(|access| {
                let bindings: Vec<_> = access.bindings.iter().map(|binding| binding.role.to_string()).collect();
                [
                    access.name.to_string(),
                    access.kind.to_string(),
                    access.decision.to_string(),
                    access.depends_on.join(", "),
                    bindings.join(", "),
                    access.policies.join(", "),
                ]
            });
            table(["principal", "kind", "decision", "depends on", "bindings", "policies"], rows)
        })
    }
}

fn show(explanation: &Explanation) -> String {
    let key = explanation.key.as_ref();
    let bindings: Vec<_> =
        explanation.bindings.iter().map(|binding| format!("{} ({})", binding.id, binding.role)).collect();
    fields([
        ("principal", explanation.principal.to_string()),
        ("action", explanation.action.to_string()),
        ("decision", explanation.decision.to_string()),
        ("reason", text(explanation.reason.as_ref())),
        ("depends on", explanation.depends_on.join(", ")),
        ("policies", explanation.policies.join(", ")),
        ("bindings", bindings.join(", ")),
        ("key", text(key.map(|key| key.id))),
        ("key state", text(key.map(|key| key.state))),
        ("obstacle", text(key.and_then(|key| key.obstacle.as_ref()))),
        ("revision", explanation.revision.to_string()),
    ])
}
