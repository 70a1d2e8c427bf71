//! Everything about a configuration that can be found wrong without opening the database or the token, all of it at once.

use std::{
    fs,
    path::{Path, PathBuf},
};

use hsm::ProfileName;
use jiff::{Timestamp, ToSpan as _};
use nix::unistd::{AccessFlags, access};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

use super::{Config, ConfigError, Problem, Shared, permissions};
use crate::telemetry::{self, TracesSection};

impl Config {
    /// What is wrong with it, as of this moment.
    #[must_use]
    pub fn problems(&self, now: Timestamp) -> Vec<Problem> {
        let mut problems = Vec::new();
        self.check_listen(&mut problems);
        self.check_tls(now, &mut problems);
        self.check_database(&mut problems);
        self.check_key_store(&mut problems);
        self.check_anchor(&mut problems);
        self.check_rest(&mut problems);
        problems
    }

    fn check_listen(&self, problems: &mut Vec<Problem>) {
        let (api, operations) = (self.listen.api, self.listen.operations);
        if api == operations && api.port() != 0 {
            let advice = "give health and metrics an address of their own";
            problems.push(Problem::error("listen.operations", format!("`{api}` is the API's address too"), advice));
        }
        if !operations.ip().is_loopback() {
            let what = format!("`{operations}` is not a loopback address, and is served in plain");
            let advice = "see that only operators reach it";
            problems.push(Problem::warning("listen.operations", what, advice));
        }
    }

    fn check_tls(&self, now: Timestamp, problems: &mut Vec<Problem>) {
        const CERTIFICATE: &str = "tls.certificate";
        let (certificate, key) = (&self.tls.certificate, &self.tls.key);
        let chain = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let leaf = match &chain {
            Ok(chain) => chain.first(),
            Err(error) => {
                let what = format!("it cannot be read as a certificate chain in PEM: {error}");
                problems.push(
                    Problem::error(CERTIFICATE, what, "name the server's chain, leaf first").in_file(certificate),
                );
                None
            }
        };
        if chain.as_ref().is_ok_and(Vec::is_empty) {
            let advice = "name the server's chain, leaf first";
            problems.push(Problem::error(CERTIFICATE, "it holds no certificate", advice).in_file(certificate));
        }
        let private = PrivateKeyDer::from_pem_file(key);
        if let Err(error) = &private {
            let what = format!("it cannot be read as a private key in PEM: {error}");
            problems.push(Problem::error("tls.key", what, "name the key of `tls.certificate`").in_file(key));
        }
        problems.extend(permissions(CERTIFICATE, certificate, Shared::Read));
        problems.extend(permissions("tls.key", key, Shared::Nothing));
        let Some(leaf) = leaf else { return };
        problems.extend(validity(leaf, now).map(|problem| problem.in_file(certificate)));
        if private.is_ok() && self.tls.server_certificate().is_err() {
            let what = format!("it does not belong to the key `{}`", key.display());
            let advice = "name the certificate and the key that were made together";
            problems.push(Problem::error(CERTIFICATE, what, advice).in_file(certificate));
        }
    }

    fn check_database(&self, problems: &mut Vec<Problem>) {
        if let Err(error) = self.database.database() {
            let advice = "name a SQLite file, or a file with a PostgreSQL URL that the server's user can read";
            problems.push(Problem::error("database", error.to_string(), advice));
            return;
        }
        if let Some(file) = &self.database.postgres_url_file {
            problems.extend(permissions("database.postgres_url_file", file, Shared::Nothing));
            if let Ok(database) = self.database.database()
                && let Err(error) = database.check()
            {
                let advice = "write `postgres://USER:PASSWORD@HOST/DATABASE?sslmode=verify-full` into it";
                problems.push(Problem::error("database.postgres_url_file", error.to_string(), advice).in_file(file));
            }
        }
        if let Some(file) = &self.database.sqlite {
            problems.extend(writable("database.sqlite", file));
            for file in self.sqlite_files() {
                problems.extend(permissions("database.sqlite", &file, Shared::Nothing));
            }
        }
    }

    fn check_key_store(&self, problems: &mut Vec<Problem>) {
        let store = &self.key_store;
        if let Err(error) = store.check() {
            problems.push(Problem::error("key_store.call_timeout_seconds", error.to_string(), "give it more"));
        }
        if let Err(error) = store.name() {
            problems.push(Problem::error("key_store.name", error.to_string(), "choose another name"));
        }
        if store.token_label.is_empty() || store.token_label.len() > TOKEN_LABEL {
            let what = format!("`{}` is not 1 to {TOKEN_LABEL} bytes long", store.token_label);
            problems.push(Problem::error("key_store.token_label", what, "name the token's label"));
        }
        if let Err(error) = hsm::check_module(&store.module) {
            let why = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            let what = format!("it cannot be loaded as a PKCS#11 module: {}", one_line(&why));
            let advice = "name the shared library of your HSM's vendor";
            problems.push(Problem::error("key_store.module", what, advice).in_file(&store.module));
        }
        problems.extend(permissions("key_store.module", &store.module, Shared::Read));
        if let Err(error) = store.pin() {
            let advice = "put the token's user PIN, and nothing else, where the server's user can read it";
            problems.push(Problem::error("key_store.pin_file", error.to_string(), advice));
        }
        if let Some(file) = &store.pin_file {
            problems.extend(permissions("key_store.pin_file", file, Shared::Nothing));
        }
        match store.profile {
            ProfileName::Softhsm => self.check_softhsm(problems),
        }
    }

    fn check_softhsm(&self, problems: &mut Vec<Problem>) {
        const FIELD: &str = "key_store.softhsm_conf";
        let set = std::env::var_os("SOFTHSM2_CONF").map(PathBuf::from);
        let Some(file) = self.key_store.softhsm_conf.clone().or(set) else { return };
        let text = match fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) => {
                let what = format!("it cannot be read: {error}");
                problems.push(Problem::error(FIELD, what, "name SoftHSM's configuration file").in_file(file));
                return;
            }
        };
        problems.extend(permissions(FIELD, &file, Shared::Read));
        let folder = text.lines().filter_map(|line| line.trim().strip_prefix("directories.tokendir")).next_back();
        let folder = folder.and_then(|rest| rest.trim_start().strip_prefix('=')).map(str::trim);
        let Some(folder) = folder else {
            let advice = "give it a line `directories.tokendir = FOLDER`";
            problems.push(Problem::error(FIELD, "it names no folder for tokens", advice).in_file(file));
            return;
        };
        if Path::new(folder).is_dir() {
            problems.extend(permissions(FIELD, Path::new(folder), Shared::Nothing));
        } else {
            let what = format!("its folder for tokens `{folder}` is not there");
            problems.push(Problem::error(FIELD, what, format!("`mkdir -m 700 {folder}`")).in_file(file));
        }
    }

    fn check_anchor(&self, problems: &mut Vec<Problem>) {
        if let Err(error) = self.check_places() {
            let advice = "name another folder, best on another disk";
            problems.push(Problem::error("anchor.file", error.to_string(), advice));
        }
        problems.extend(writable("anchor.file", &self.anchor.file));
        problems.extend(permissions("anchor.file", &self.anchor.file, Shared::Nothing));
    }

    fn check_rest(&self, problems: &mut Vec<Problem>) {
        let limits = &self.limits;
        for (field, value) in [
            ("limits.connections", u64::try_from(limits.connections).unwrap_or(u64::MAX)),
            ("limits.requests", u64::try_from(limits.requests).unwrap_or(u64::MAX)),
            ("limits.handshake_seconds", limits.handshake_seconds),
            ("limits.idle_seconds", limits.idle_seconds),
            ("limits.request_seconds", limits.request_seconds),
        ] {
            if value == 0 {
                problems.push(Problem::error(field, "it is 0, so nothing would be served", "leave it out or raise it"));
            }
        }
        if let Err(ConfigError::Section { detail, .. }) = self.cluster.check() {
            problems.push(Problem::error("cluster.lease_milliseconds", detail, "leave it out, or write one between"));
        }
        if let Some(traces) = &self.traces {
            problems.extend(trace_problems(traces));
        }
        if let Err(detail) = telemetry::check_filter(&self.log.filter) {
            let what = format!("`{}` is no filter: {detail}", self.log.filter);
            problems.push(Problem::warning("log.filter", what, "write one as in `info,sqlx=warn`; `info` is used now"));
        }
    }

    /// The files of an SQLite database: itself, its log and the index of that.
    fn sqlite_files(&self) -> impl Iterator<Item = PathBuf> {
        let path = self.database.sqlite.clone().unwrap_or_default().into_os_string();
        ["", "-wal", "-shm"].into_iter().map(move |end| {
            let mut file = path.clone();
            file.push(end);
            file.into()
        })
    }
}

/// What is wrong with where traces go.
fn trace_problems(traces: &TracesSection) -> Option<Problem> {
    const ENDPOINT: &str = "traces.endpoint";
    if let Err((field, detail)) = traces.check() {
        return Some(match field {
            "ratio" => Problem::error("traces.ratio", detail, "write a number from 0 to 1"),
            _ => Problem::error(ENDPOINT, detail, "write one as in `http://127.0.0.1:4318/v1/traces`"),
        });
    }
    let advice = "use `https`, or a collector on this host";
    traces.is_in_plain().then(|| Problem::warning(ENDPOINT, "traces leave this host in plain", advice))
}

/// What is wrong with the time for which a certificate is valid.
fn validity(leaf: &CertificateDer<'_>, now: Timestamp) -> Option<Problem> {
    const FIELD: &str = "tls.certificate";
    let Ok((_, leaf)) = X509Certificate::from_der(leaf) else {
        return Some(Problem::error(FIELD, "its first certificate cannot be understood", "name another"));
    };
    let moment = |seconds| Timestamp::from_second(seconds).unwrap_or(now);
    let (from, until) = (moment(leaf.validity.not_before.timestamp()), moment(leaf.validity.not_after.timestamp()));
    let soon = now.checked_add(24.hours() * SOON_DAYS).unwrap_or(now);
    if now < from {
        return Some(Problem::error(
            FIELD,
            format!("it is valid only from {from} on"),
            "check it, and the host's clock",
        ));
    }
    if until <= now {
        return Some(Problem::error(FIELD, format!("it expired on {until}"), "have it renewed"));
    }
    (until <= soon).then(|| Problem::warning(FIELD, format!("it expires on {until}"), "have it renewed"))
}

/// Whether a file can be made or written there.
fn writable(field: &'static str, file: &Path) -> Option<Problem> {
    let advice = "name a place where the server's user may write";
    let existing = file.ancestors().find(|path| fs::symlink_metadata(path).is_ok()).unwrap_or(Path::new("."));
    let existing = if existing.as_os_str().is_empty() { Path::new(".") } else { existing };
    if existing != file && !existing.is_dir() {
        let what = format!("it cannot be made there: `{}` is no folder", existing.display());
        return Some(Problem::error(field, what, advice).in_file(file));
    }
    let flags = AccessFlags::W_OK | if existing.is_dir() { AccessFlags::X_OK } else { AccessFlags::R_OK };
    let error = access(existing, flags).err()?;
    let what = format!("`{}` cannot be written: {}", existing.display(), error.desc());
    Some(Problem::error(field, what, advice).in_file(file))
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Bytes in a token's label (PKCS#11 2.40, `CK_TOKEN_INFO`).
const TOKEN_LABEL: usize = 32;
/// A certificate that expires within so many days is one to renew.
const SOON_DAYS: i64 = 30;
