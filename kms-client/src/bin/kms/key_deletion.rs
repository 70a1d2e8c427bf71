//! The end of a key: who still uses it, and its destruction after a waiting period.

use std::io::{self, BufRead as _, IsTerminal as _};

use clap::Args;
use kms_client::{
    client::Client,
    wire::{
        key::KeyChanged,
        lifecycle::{DEFAULT_WAITING_DAYS, KeyUsage, KeyUsageQuery, ScheduleDeletion},
        name::{KeyName, Reason},
    },
};

use crate::{
    failure::Failure,
    output::{Output, line, table, time},
};

#[derive(Debug, Args)]
pub(crate) struct Usage {
    /// The key: an id or alias/NAME
    key: KeyName,
    /// Look back so many days; 90 unless given
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=3650))]
    days: Option<u16>,
}

#[derive(Debug, Args)]
pub(crate) struct Schedule {
    /// The key: an id or alias/NAME
    key: KeyName,
    /// Why; it is kept on record
    #[arg(long)]
    reason: Reason,
    /// How many days to wait, 7 to 30
    #[arg(long, value_name = "NUMBER", default_value_t = DEFAULT_WAITING_DAYS, value_parser = clap::value_parser!(u16).range(7..=30))]
    days: u16,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

impl Usage {
    pub(crate) async fn run(self, client: &Client, output: Output) -> Result<(), Failure> {
        let usage = client.key_usage(&self.key, KeyUsageQuery { days: self.days }).await?;
        output.print(&usage, show)
    }
}

impl Schedule {
    /// Shows who used the key, asks, and schedules its destruction.
    pub(crate) async fn run(self, client: &Client, output: Output) -> Result<KeyChanged, Failure> {
        let Self { key, reason, days, yes } = self;
        if !yes {
            let usage = client.key_usage(&key, KeyUsageQuery::default()).await?;
            confirm(&key, &usage, output)?;
        }
        Ok(client.schedule_key_deletion(&key, &ScheduleDeletion { reason, waiting_days: days }).await?)
    }
}

fn confirm(key: &KeyName, usage: &KeyUsage, output: Output) -> Result<(), Failure> {
    if output == Output::Json || !io::stdin().is_terminal() {
        let detail = "nobody can be asked here: look at `kms key usage`, and give --yes to schedule the deletion";
        return Err(Failure::Usage(detail.to_owned()));
    }
    line(&show(usage))?;
    line(
        "What is wrapped under a destroyed key is lost for ever. Until then the key does nothing, and the deletion can be cancelled.",
    )?;
    line(&format!("To go on, type {key}:"))?;
    let mut typed = String::new();
    io::stdin().lock().read_line(&mut typed).map_err(Failure::Input)?;
    if typed.trim() == key.to_string() {
        Ok(())
    } else {
        Err(Failure::Usage("that is not the key: nothing was changed".to_owned()))
    }
}

fn show(usage: &KeyUsage) -> String {
    let uses = usage.uses.iter().map(|used| {
        let who = used.name.as_ref().map_or_else(|| used.principal.to_string(), ToString::to_string);
        [who, used.action.to_string(), used.count.to_string(), time(used.first_at), time(used.last_at)]
    });
    let versions =
        usage.versions.iter().map(|version| [version.version.to_string(), version.wraps_reserved.to_string()]);
    format!(
        "Uses of key {} since {}\n{}\n{}",
        usage.key,
        time(usage.since),
        table(["principal", "action", "times", "first", "last"], uses),
        table(["version", "wraps (at most)"], versions)
    )
}
