//! Arguments that several commands take.

use std::{fs, path::PathBuf};

use jiff::{SignedDuration, Timestamp, civil::Date, tz::TimeZone};
use kms_client::{
    format::context::EncryptionContext,
    wire::{name::Alias, tags::Tags},
};

use crate::failure::Failure;

/// The encryption context of a command.
#[derive(Debug, clap::Args)]
pub(crate) struct ContextArgs {
    /// A pair of the encryption context; repeat it for more. To unwrap takes the same pairs
    #[arg(long = "context", value_name = "NAME=VALUE")]
    pairs: Vec<String>,
    /// The encryption context as a JSON object in a file: what is typed stays in the shell's history
    #[arg(long, value_name = "FILE", conflicts_with = "pairs")]
    context_file: Option<PathBuf>,
}

impl ContextArgs {
    pub(crate) fn read(&self) -> Result<EncryptionContext, Failure> {
        if let Some(path) = &self.context_file {
            let text = read(path)?;
            return serde_json::from_slice(&text)
                .map_err(|error| Failure::Usage(format!("`{}` holds no context: {error}", path.display())));
        }
        context(&self.pairs)
    }

    pub(crate) fn is_given(&self) -> bool {
        !self.pairs.is_empty() || self.context_file.is_some()
    }
}

/// A context given as `NAME=VALUE`.
pub(crate) fn context(pairs: &[String]) -> Result<EncryptionContext, Failure> {
    let mut context = EncryptionContext::empty();
    for pair in pairs {
        context.insert_pair(pair)?;
    }
    Ok(context)
}

/// A moment, or a span of time that is counted from now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    At(Timestamp),
    Span(SignedDuration),
}

impl When {
    /// The moment, or the one that long ago.
    pub(crate) fn past(self) -> Timestamp {
        match self {
            Self::At(time) => time,
            Self::Span(span) => now().checked_sub(span).unwrap_or(Timestamp::MIN),
        }
    }

    /// The moment, or the one that far ahead.
    pub(crate) fn future(self) -> Timestamp {
        match self {
            Self::At(time) => time,
            Self::Span(span) => now().checked_add(span).unwrap_or(Timestamp::MAX),
        }
    }
}

impl std::str::FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(span) = span(text) {
            return Ok(Self::Span(span));
        }
        if let Ok(time) = text.parse() {
            return Ok(Self::At(time));
        }
        // A date alone is its beginning.
        let date = text.parse::<Date>().ok().filter(|_| text.len() == 10);
        date.and_then(|date| date.to_zoned(TimeZone::UTC).ok())
            .map(|begin| Self::At(begin.timestamp()))
            .ok_or_else(|| "give a time as `2026-11-22T14:00:00Z`, `2026-11-22` (UTC), `90m`, `24h` or `7d`".to_owned())
    }
}

/// An alias with or without `alias/` before it.
pub(crate) fn alias(text: &str) -> Result<Alias, kms_client::wire::name::InvalidName> {
    text.strip_prefix("alias/").unwrap_or(text).parse()
}

/// Tags given as `NAME=VALUE`.
pub(crate) fn tags(pairs: &[String]) -> Result<Tags, Failure> {
    let mut tags = Vec::new();
    for pair in pairs {
        let (name, value) =
            pair.split_once('=').ok_or_else(|| Failure::Usage(format!("tag `{pair}`: write it as NAME=VALUE")))?;
        tags.push((name.to_owned(), value.to_owned()));
    }
    Tags::new(tags).map_err(|error| Failure::Usage(error.to_string()))
}

/// A file as a whole.
pub(crate) fn read(path: &PathBuf) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|source| Failure::File { action: "read", path: path.clone(), source })
}

fn span(text: &str) -> Option<SignedDuration> {
    let unit = match text.bytes().last()? {
        b's' => 1,
        b'm' => 60,
        b'h' => 60 * 60,
        b'd' => 24 * 60 * 60,
        b'w' => 7 * 24 * 60 * 60,
        _ => return None,
    };
    let number = text.get(..text.len() - 1)?;
    let number: u32 = number.bytes().all(|byte| byte.is_ascii_digit()).then(|| number.parse().ok()).flatten()?;
    Some(SignedDuration::from_secs(i64::from(number) * unit))
}

#[expect(clippy::disallowed_methods, reason = "spans of time on a command line count from the user's own clock")]
fn now() -> Timestamp {
    Timestamp::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_moment_a_day_or_a_span() {
        let moment = Timestamp::from_second(1_700_000_000).unwrap();
        assert_eq!("2023-11-14T22:13:20Z".parse(), Ok(When::At(moment)));
        assert_eq!("2023-11-14T23:13:20+01:00".parse(), Ok(When::At(moment)));
        assert_eq!("1970-01-01".parse(), Ok(When::At(Timestamp::UNIX_EPOCH)));
        assert_eq!("2d".parse(), Ok(When::Span(SignedDuration::from_hours(48))));
        for bad in ["", "d", "-1d", "+1d", "yesterday", "2023-11-14T22:13:20", "1.5h", "é"] {
            assert!(bad.parse::<When>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_alias_may_have_its_prefix() {
        assert_eq!(alias("alias/records"), alias("records"));
        assert!(alias("alias/alias/records").is_err());
    }
}
