//! The configuration and the files that it names: what `check-config` says, and who else may touch them.

use std::path::Path;

use jiff::Timestamp;

use super::{Finding, Level, Report};
use crate::config::{Config, Problem, Severity, Shared, permissions};

/// The parts of the configuration, as checks.
const CHECKS: [(&str, &str); 7] = [
    ("listen", "config.listen"),
    ("tls", "config.tls"),
    ("database", "config.database"),
    ("key_store", "config.key_store"),
    ("anchor", "config.anchor"),
    ("limits", "config.limits"),
    ("log", "config.log"),
];

pub(super) fn look(config_file: &Path, config: &Config, now: Timestamp, report: &mut Report) {
    add("config.file", "nobody else may write it", permissions("config", config_file, Shared::Read), report);
    let problems = config.problems(now);
    for (section, check) in CHECKS {
        let of_section = |problem: &&Problem| problem.field.split('.').next() == Some(section);
        let detail = "its files are there, good, and nobody else's";
        add(check, detail, problems.iter().filter(of_section).cloned().collect(), report);
    }
}

fn add(check: &'static str, good: &str, problems: Vec<Problem>, report: &mut Report) {
    if problems.is_empty() {
        report.ok(check, good);
    }
    for Problem { severity, field, file, what, advice } in problems {
        let level = match severity {
            Severity::Warning => Level::Warning,
            Severity::Error => Level::Error,
        };
        let subject = file.map_or_else(|| field.to_owned(), |file| file.display().to_string());
        report.add(Finding { level, check, subject: Some(subject), detail: what, advice: Some(advice) });
    }
}
