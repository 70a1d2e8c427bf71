//! What `doctor` finds, for people and for machines. The names of checks and the fields of the JSON are kept stable.

use std::fmt;

use serde::Serialize;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// It works, and should not be left so.
    Warning,
    /// It does not work, or what is promised does not hold.
    Error,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How much it matters.
    pub level: Level,
    /// What was looked at, as a stable name.
    pub check: &'static str,
    /// Which one, where there are several: a file, an object, a key's version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// What was found.
    pub detail: String,
    /// What to do, unless it is as it should be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

/// Everything that was found.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The form of this document: `keyward-doctor/1`.
    schema: &'static str,
    /// The worst of the findings.
    result: Level,
    /// What was found, in the order in which it was looked at.
    findings: Vec<Finding>,
}

impl Default for Report {
    fn default() -> Self {
        Self { schema: "keyward-doctor/1", result: Level::Ok, findings: Vec::new() }
    }
}

impl Report {
    /// The worst of the findings.
    #[must_use]
    pub const fn result(&self) -> Level {
        self.result
    }

    /// What was found.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    pub(super) fn add(&mut self, finding: Finding) {
        self.result = self.result.max(finding.level);
        self.findings.push(finding);
    }

    pub(super) fn ok(&mut self, check: &'static str, detail: impl Into<String>) {
        self.add(Finding { level: Level::Ok, check, subject: None, detail: detail.into(), advice: None });
    }

    pub(super) fn warning(&mut self, check: &'static str, detail: impl Into<String>, advice: impl Into<String>) {
        let (detail, advice) = (detail.into(), Some(advice.into()));
        self.add(Finding { level: Level::Warning, check, subject: None, detail, advice });
    }

    pub(super) fn error(&mut self, check: &'static str, detail: impl Into<String>, advice: impl Into<String>) {
        let (detail, advice) = (detail.into(), Some(advice.into()));
        self.add(Finding { level: Level::Error, check, subject: None, detail, advice });
    }

    /// Says of which one the newest finding is.
    pub(super) fn of(&mut self, subject: impl fmt::Display) {
        if let Some(finding) = self.findings.last_mut() {
            finding.subject = Some(subject.to_string());
        }
    }
}

impl fmt::Display for Report {
    /// A table: level, check, what was found; below it what to do.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.findings.iter().map(|finding| finding.check.len()).max().unwrap_or_default();
        for finding in &self.findings {
            let level = match finding.level {
                Level::Ok => "ok",
                Level::Warning => "WARNING",
                Level::Error => "ERROR",
            };
            write!(f, "{level:<7}  {:<width$}  ", finding.check)?;
            if let Some(subject) = &finding.subject {
                write!(f, "{subject}: ")?;
            }
            writeln!(f, "{}", finding.detail)?;
            if let Some(advice) = &finding.advice {
                writeln!(f, "{:<7}  {:<width$}  -> {advice}", "", "")?;
            }
        }
        let count = |level| self.findings.iter().filter(|finding| finding.level == level).count();
        write!(f, "{} ok, {} warnings, {} errors", count(Level::Ok), count(Level::Warning), count(Level::Error))
    }
}
