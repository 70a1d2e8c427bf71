//! `kms change`: the control changes that were made.

use clap::Subcommand;
use kms_client::{
    client::Client,
    id::ChangeId,
    wire::change::{ChangeAnswer, ChangeList, ChangeQuery},
};
use serde_json::Value;

use crate::{
    failure::Failure,
    output::{Output, fields, receipt, table, text, time},
    page,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List control changes, newest first
    #[command(after_help = "Example:\n  kms change list --limit 20")]
    List {
        /// The most to list
        #[arg(long, default_value_t = 100, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
        /// List all there are
        #[arg(long, conflicts_with = "limit")]
        all: bool,
    },
    /// Show a control change: what it touched, before and after
    #[command(
        after_help = "By the change id that an error gave you, this also tells whether a change was made whose outcome was unknown.\n\nExample:\n  kms change show 019abcde-0000-7000-8000-000000000000"
    )]
    Show {
        /// The change
        change: ChangeId,
    },
}

pub(crate) async fn run(command: Command, client: &Client, output: Output) -> Result<(), Failure> {
    match command {
        Command::List { limit, all } => {
            let limit = (!all).then_some(limit);
            let list =
                page::collect(limit, async |limit, cursor| client.list_changes(&ChangeQuery { limit, cursor }).await);
            output.print(&list.await?, table_of)
        }
        Command::Show { change } => output.print(&client.change(change).await?, show),
    }
}

fn table_of(list: &ChangeList) -> String {
    let rows = list.changes.iter().map(|change| {
        [
            change.revision.to_string(),
            time(change.committed_at),
            change.kind.clone(),
            text(change.principal),
            change.change_id.to_string(),
        ]
    });
    table(["revision", "committed", "kind", "principal", "change"], rows)
}

fn show(answer: &ChangeAnswer) -> String {
    let change = &answer.change;
    let mut shown = fields([
        ("change", change.change_id.to_string()),
        ("revision", change.revision.to_string()),
        ("committed", time(change.committed_at)),
        ("kind", change.kind.clone()),
        ("principal", text(change.principal)),
    ]);
    for (heading, value) in [("Before", &change.before), ("After", &change.after)] {
        if let Some(value) = value {
            shown.push_str(&["\n", heading, ":\n", &pretty(value), "\n"].concat());
        }
    }
    shown + &receipt(&change.receipt)
}

fn pretty(value: &Value) -> String {
    format!("{value:#}")
}
