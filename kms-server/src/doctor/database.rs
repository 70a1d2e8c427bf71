//! The database: can it be opened, does it promise what a commit must, are its tables those of this program.

use std::{collections::BTreeMap, error::Error as _};

use super::Report;
use crate::{
    config::Config,
    store::{ExaminedKind, Schema, Store},
};

/// PostgreSQL of which the community no longer mends faults.
const OLD_POSTGRES: i64 = 140_000;

pub(super) async fn look(config: &Config, report: &mut Report) -> Option<Store> {
    const OPEN: &str = "database.open";
    let database = match config.database.database() {
        Ok(database) => database,
        Err(error) => {
            report.error(OPEN, error.to_string(), "see [database] in the configuration");
            return None;
        }
    };
    let opened = match Store::open_to_read(&database).await {
        Ok(store) => store.examine().await.map(|examined| (store, examined)),
        Err(error) => Err(error),
    };
    let (store, examined) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            let why = error.source().map(|source| format!(": {source}")).unwrap_or_default();
            let advice = "see [database] in the configuration; a new installation is made by `kms-server init`";
            report.error(OPEN, format!("{error}{why}"), advice);
            return None;
        }
    };
    report.ok(OPEN, "it can be read");
    schema(&examined.schema, report);
    match examined.kind {
        ExaminedKind::Sqlite { journal_mode, integrity } => sqlite(&journal_mode, &integrity, report),
        ExaminedKind::Postgres { version, settings, tls, local, synchronous_standbys } => {
            postgres(version, &settings, report);
            standbys(&settings, synchronous_standbys, config.database.single, report);
            connection(tls, local, report);
        }
    }
    Some(store)
}

fn schema(schema: &Schema, report: &mut Report) {
    const CHECK: &str = "database.schema";
    let Schema { pending, unknown, altered } = schema;
    if !unknown.is_empty() {
        let detail = format!("a newer program made steps that this one does not know: {unknown:?}");
        report.error(CHECK, detail, "run the newer program");
    }
    if !altered.is_empty() {
        let detail = format!("steps were done otherwise than this program does them: {altered:?}");
        report.error(CHECK, detail, "run the program that made the database, or restore a backup of its own");
    }
    if !pending.is_empty() {
        let detail = format!("steps are not yet done: {pending:?}");
        report.warning(CHECK, detail, "they are done at the next start, or by `kms-server migrate`");
    }
    if unknown.is_empty() && altered.is_empty() && pending.is_empty() {
        report.ok(CHECK, "its tables are those of this program");
    }
}

fn sqlite(journal_mode: &str, integrity: &str, report: &mut Report) {
    if journal_mode == "wal" {
        report.ok("database.journal_mode", "WAL; the server syncs each commit (`synchronous=FULL`)");
    } else {
        let detail = format!("the journal mode is `{journal_mode}`, not `wal`: somebody else has changed it");
        report.warning(
            "database.journal_mode",
            detail,
            "let nothing but the server write the file; it sets WAL at its start",
        );
    }
    if integrity == "ok" {
        report.ok("database.integrity", "`PRAGMA quick_check` finds nothing");
    } else {
        report.error("database.integrity", integrity, "stop the server, keep the files, restore a backup");
    }
}

fn postgres(version: i64, settings: &BTreeMap<&'static str, String>, report: &mut Report) {
    let major = version / 10_000;
    if version < OLD_POSTGRES {
        report.warning("database.version", format!("PostgreSQL {major} is no longer mended"), "move to a newer one");
    } else {
        report.ok("database.version", format!("PostgreSQL {major}"));
    }
    let setting = |name| settings.get(name).map(String::as_str).unwrap_or_default();
    for (check, name) in [("database.fsync", "fsync"), ("database.full_page_writes", "full_page_writes")] {
        match setting(name) {
            "on" => report.ok(check, format!("`{name}` is on")),
            value => {
                let detail = format!("`{name}` is `{value}`: what was acknowledged can be lost with the power");
                report.error(check, detail, format!("`ALTER SYSTEM SET {name} = on`, and reload"));
            }
        }
    }
    match setting("synchronous_commit") {
        "on" | "remote_apply" => report.ok("database.synchronous_commit", "commits wait for the disk"),
        value => {
            let detail = format!("its default is `{value}`; the server asks for `on`, others that write do not");
            let advice = "`ALTER SYSTEM SET synchronous_commit = on`, and reload";
            report.warning("database.synchronous_commit", detail, advice);
        }
    }
}

/// A server that takes this one's place must have every commit, or a cut that was acknowledged is lost with this one.
fn standbys(settings: &BTreeMap<&'static str, String>, connected: i64, single: bool, report: &mut Report) {
    const CHECK: &str = "database.standbys";
    let names = settings.get("synchronous_standby_names").map(String::as_str).unwrap_or_default();
    match (names.is_empty(), connected, single) {
        (true, _, true) => report.ok(CHECK, "none, as declared: nothing ever takes this server's place"),
        (true, _, false) => {
            let detail = "no standby is synchronous: if one takes this server's place, what was acknowledged is lost";
            let advice = "set `synchronous_standby_names`, or declare `[database] single = true`";
            report.warning(CHECK, detail, advice);
        }
        (false, 0, _) => {
            let detail = format!("`{names}` are required and none is connected: every commit waits");
            report.error(CHECK, detail, "connect a standby, or do without");
        }
        (false, count, _) => report.ok(CHECK, format!("{count} have every commit")),
    }
}

fn connection(tls: bool, local: bool, report: &mut Report) {
    const CHECK: &str = "database.connection";
    match (tls, local) {
        (true, _) => report.ok(CHECK, "encrypted"),
        (false, true) => report.ok(CHECK, "in plain, within this host"),
        (false, false) => {
            let detail = "it goes over the network in plain";
            report.error(CHECK, detail, "add `sslmode=verify-full` to the URL, and TLS to the server");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    fn connected(tls: bool, local: bool) -> Level {
        let mut report = Report::default();
        connection(tls, local, &mut report);
        report.result()
    }

    /// The tests have no database on another host.
    #[test]
    fn only_a_plain_connection_over_the_network_is_found() {
        assert_eq!(connected(false, false), Level::Error);
        for (tls, local) in [(true, true), (true, false), (false, true)] {
            assert_eq!(connected(tls, local), Level::Ok, "{tls} {local}");
        }
    }
}
