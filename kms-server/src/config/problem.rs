//! What is wrong with a configuration: where, what, and what to do about it.

use std::{fmt, path::PathBuf};

use serde::Serialize;

/// How much a problem matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The server works; it should not be left so.
    Warning,
    /// The server does not start, or what it protects is open to others.
    Error,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// How much it matters.
    pub severity: Severity,
    /// The field that it is about, as `section.field`.
    pub field: &'static str,
    /// The file, if there is one.
    pub file: Option<PathBuf>,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub advice: String,
}

impl Problem {
    /// Something that keeps the server from starting, or from being safe.
    pub fn error(field: &'static str, what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { severity: Severity::Error, field, file: None, what: what.into(), advice: advice.into() }
    }

    /// Something that should not be left so.
    pub fn warning(field: &'static str, what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(field, what, advice) }
    }

    /// The same, about a file.
    #[must_use]
    pub fn in_file(self, file: impl Into<PathBuf>) -> Self {
        Self { file: Some(file.into()), ..self }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        write!(f, "{severity}: {}", self.field)?;
        if let Some(file) = &self.file {
            write!(f, " `{}`", file.display())?;
        }
        write!(f, ": {}; {}", self.what, self.advice)
    }
}
