//! What is printed: tables for people, JSON for scripts.

use std::io::{self, Write};

use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table, presets};
use jiff::Timestamp;
use kms_client::wire::receipt::{NodeOutcome, Receipt};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::failure::Failure;

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// Tables for people
    #[default]
    Table,
    /// JSON for scripts, as the API answers it
    Json,
}

impl Output {
    /// Prints an answer: as JSON, or as the table that is made of it.
    pub(crate) fn print<A: Serialize>(self, answer: &A, table: impl FnOnce(&A) -> String) -> Result<(), Failure> {
        let text = match self {
            Self::Table => Zeroizing::new(table(answer)),
            Self::Json => {
                let json = serde_json::to_string_pretty(answer).map_err(|error| Failure::Output(error.into()))?;
                Zeroizing::new(json)
            }
        };
        line(text.trim_end())
    }
}

/// Prints bytes as they are.
pub(crate) fn raw(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(Failure::Output)
}

/// Prints one text and ends its line.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).map_err(Failure::Output)
}

/// A table with a heading, or a word where there is nothing to show.
pub(crate) fn table<const N: usize>(heading: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = bare();
    table.set_header(heading.map(str::to_uppercase));
    table.add_rows(rows);
    if table.is_empty() { "none\n".to_owned() } else { finish(&table) }
}

/// Names and values, one pair a line; pairs with an empty value are left out.
pub(crate) fn fields<'a>(pairs: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let mut table = bare();
    let pairs = pairs.into_iter().filter(|(_, value)| !value.is_empty());
    table.add_rows(pairs.map(|(name, value)| [name.to_owned(), value]));
    finish(&table)
}

/// That a change is in force, and where.
pub(crate) fn receipt(receipt: &Receipt) -> String {
    let Receipt { change_id, revision, committed_at, nodes } = receipt;
    let nodes = nodes.iter().map(|node| {
        let how = match node.outcome {
            NodeOutcome::Acknowledged => "acknowledged",
            NodeOutcome::Expired => "without lease",
        };
        format!("  node {} {how} after {} ms", node.node, node.milliseconds)
    });
    let when = time(*committed_at);
    let head = format!("\nIn force since revision {revision}, committed {when} (change {change_id})");
    std::iter::once(head).chain(nodes).collect::<Vec<_>>().join("\n")
}

/// A moment in UTC, to the second.
pub(crate) fn time(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// Whatever it displays as, or nothing.
pub(crate) fn text(value: Option<impl ToString>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

fn bare() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table
}

fn finish(table: &Table) -> String {
    // Each cell is padded by a space on either side.
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.strip_prefix(' ').unwrap_or(&line).trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_line_up_and_have_no_trailing_spaces() {
        let text =
            table(["name", "state"], [["a".to_owned(), "enabled".to_owned()], ["bcd efgh".to_owned(), String::new()]]);
        assert_eq!(text, "NAME      STATE\na         enabled\nbcd efgh\n");
        assert_eq!(table(["name"], []), "none\n");
    }

    #[test]
    fn fields_leave_out_what_is_empty() {
        assert_eq!(fields([("id", 1.to_string()), ("note", String::new())]), "id  1\n");
    }

    #[test]
    fn a_moment_is_utc() {
        assert_eq!(time(Timestamp::UNIX_EPOCH), "1970-01-01 00:00:00Z");
    }
}
