//! `kms audit`: who did what, with which key, and how it ended.

use clap::{Args, Subcommand};
use kms_client::{
    client::Client,
    format::record::Outcome,
    id::{ChangeId, DataKeyId, RecordId, RequestId},
    wire::{
        audit::{AuditRecordAnswer, AuditRecords, AuditSearch, RecordView},
        name::{ActionName, KeyName, PrincipalRef},
    },
};

use crate::{
    failure::Failure,
    output::{Output, fields, table, text, time},
    page,
    parse::{ContextArgs, When},
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Search the audit log; the search itself is recorded
    #[command(
        after_help = "Examples:\n  kms audit search --key alias/records --action unwrap --from 24h\n  kms audit search --principal storage-1 --outcome denied --from 2026-11-01 --until 2026-12-01 --all\n  kms audit search --context patient=4711\n\nThe log holds no encryption context, only digests: who knows one can search for it."
    )]
    Search(Box<Search>),
    /// Show a record
    #[command(after_help = "Example:\n  kms audit show 019abcde-0000-7000-8000-000000000000-42")]
    Show {
        /// The record: every answer names its own
        record: RecordId,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Search {
    /// Who asked: an id or a name
    #[arg(long)]
    principal: Option<PrincipalRef>,
    /// The master key: an id or alias/NAME
    #[arg(long)]
    key: Option<KeyName>,
    /// The data key
    #[arg(long, value_name = "ID")]
    data_key: Option<DataKeyId>,
    /// What was asked for, such as `unwrap`; or `node_start`, `node_stop`
    #[arg(long)]
    action: Option<ActionName>,
    /// How it ended: allowed, denied, failed or withheld
    #[arg(long)]
    outcome: Option<Outcome>,
    /// The request, across all the records it left
    #[arg(long, value_name = "ID")]
    request: Option<RequestId>,
    /// The control change, from `kms change list`
    #[arg(long, value_name = "ID")]
    change: Option<ChangeId>,
    #[command(flatten)]
    context: ContextArgs,
    /// At this time or later, as `2026-11-22`, `2026-11-22T14:00:00Z`, or `24h` ago
    #[arg(long, value_name = "TIME")]
    from: Option<When>,
    /// Before this time, written alike
    #[arg(long, value_name = "TIME")]
    until: Option<When>,
    /// The most to list
    #[arg(long, default_value_t = 100, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// List all there are
    #[arg(long, conflicts_with = "limit")]
    all: bool,
}

pub(crate) async fn run(command: Command, client: &Client, output: Output) -> Result<(), Failure> {
    match command {
        Command::Search(search) => {
            let limit = (!search.all).then_some(search.limit);
            let search = search.request()?;
            let records = page::collect(limit, async |limit, cursor| {
                client.search_audit(&AuditSearch { limit, cursor, ..search.clone() }).await
            })
            .await?;
            output.print(&records, table_of)?;
            if records.next_cursor.is_some() && output == Output::Table {
                eprintln!("there are more: give --all, a larger --limit, or narrow the search");
            }
            Ok(())
        }
        Command::Show { record } => {
            let answer = client.audit_record(record).await?;
            output.print(&answer, |AuditRecordAnswer { found, .. }| show(found))
        }
    }
}

impl Search {
    fn request(self) -> Result<AuditSearch, Failure> {
        let context = self.context.is_given().then(|| self.context.read()).transpose()?;
        Ok(AuditSearch {
            principal: self.principal,
            key: self.key,
            data_key: self.data_key,
            action: self.action,
            outcome: self.outcome,
            from: self.from.map(When::past),
            until: self.until.map(When::past),
            request: self.request,
            change: self.change,
            context: context.map(Into::into),
            limit: None,
            cursor: None,
        })
    }
}

fn table_of(records: &AuditRecords) -> String {
    let rows = records.records.iter().map(|view| {
        let record = &view.record;
        [
            time(view.time),
            who(view),
            record.action.clone(),
            record.outcome.to_string(),
            record.reason.clone(),
            key(view),
            text(record.data_key),
            view.id.to_string(),
        ]
    });
    table(["time", "principal", "action", "outcome", "reason", "key/version", "data key", "record"], rows)
}

fn show(view: &RecordView) -> String {
    let record = &view.record;
    fields([
        ("record", view.id.to_string()),
        ("time", view.time.to_string()),
        ("action", record.action.clone()),
        ("outcome", record.outcome.to_string()),
        ("reason", record.reason.clone()),
        ("policies", record.policies.join(", ")),
        ("principal", who(view)),
        ("principal id", text(record.principal)),
        ("kind", text(record.principal_kind)),
        ("person", text(record.person.as_ref())),
        ("credential", text(record.credential)),
        ("source", text(record.source)),
        ("surface", record.surface.to_string()),
        ("key/version", key(view)),
        ("class", text(record.key_class.as_ref())),
        ("data key", text(record.data_key)),
        ("context digest", text(record.context_digest)),
        ("bytes in", record.bytes_in.to_string()),
        ("bytes out", record.bytes_out.to_string()),
        ("request", record.request.to_string()),
        ("item", record.item.to_string()),
        ("change", text(record.change)),
        ("revision", record.revision.to_string()),
        ("region", record.region.clone()),
        ("count", record.count.to_string()),
        ("detail", text(record.detail.as_ref())),
    ])
}

fn who(view: &RecordView) -> String {
    match (&view.principal_name, view.record.principal) {
        (Some(name), _) => name.to_string(),
        (None, id) => text(id),
    }
}

fn key(view: &RecordView) -> String {
    match (view.record.key, view.record.key_version) {
        (Some(key), Some(version)) => format!("{key}/{version}"),
        (key, _) => text(key),
    }
}
