//! Bearer tokens: given once, or read from a file that someone else keeps fresh.

use std::{fmt, path::PathBuf, time::Duration};

use reqwest::header::HeaderValue;
use tokio::{sync::Mutex, time::Instant};
use zeroize::{Zeroize, Zeroizing};

use crate::config::Error;

/// How long a token read from a file is used before the file is read again.
const FRESH: Duration = Duration::from_secs(30);

/// Where the token comes from.
pub(super) enum Token {
    Given(HeaderValue),
    File { path: PathBuf, read: Mutex<Option<(Instant, HeaderValue)>> },
}

impl Token {
    /// A token as it is.
    pub(super) fn given(token: &str) -> Result<Self, Error> {
        header(token).map(Self::Given).ok_or(Error::TokenForm)
    }

    /// The token in this file, read again from time to time.
    pub(super) fn file(path: PathBuf) -> Self {
        Self::File { path, read: Mutex::new(None) }
    }

    /// The value of the `authorization` header.
    pub(super) async fn header(&self) -> Result<HeaderValue, Error> {
        let (path, read) = match self {
            Self::Given(header) => return Ok(header.clone()),
            Self::File { path, read } => (path, read),
        };
        let mut read = read.lock().await;
        match read.as_ref() {
            Some((since, header)) if since.elapsed() < FRESH => return Ok(header.clone()),
            Some(_) | None => {}
        }
        let unreadable = |source| Error::Unreadable { what: "token", path: path.clone(), source };
        let text = Zeroizing::new(tokio::fs::read_to_string(path).await.map_err(unreadable)?);
        let header = header(text.trim()).ok_or_else(|| Error::TokenFile(path.clone()))?;
        *read = Some((Instant::now(), header.clone()));
        Ok(header)
    }

    /// Forgets what was read: the server does not take it. Whether asking again may help.
    pub(super) async fn refused(&self) -> bool {
        match self {
            Self::Given(_) => false,
            Self::File { read, .. } => {
                // One that was read just now would be read again.
                let mut read = read.lock().await;
                let stale = read.as_ref().is_some_and(|(since, _)| since.elapsed() > Duration::from_secs(1));
                *read = None;
                stale
            }
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given(_) => f.write_str("Token(..)"),
            Self::File { path, .. } => write!(f, "Token({})", path.display()),
        }
    }
}

fn header(token: &str) -> Option<HeaderValue> {
    if token.is_empty() || token.contains(char::is_whitespace) {
        return None;
    }
    let mut text = Zeroizing::new(String::with_capacity(token.len() + 7));
    text.push_str("Bearer ");
    text.push_str(token);
    let mut header = HeaderValue::from_str(&text).ok()?;
    header.set_sensitive(true);
    text.zeroize();
    Some(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_one_word_and_not_shown() {
        assert!(Token::given("").is_err());
        assert!(Token::given("a b").is_err());
        let token = Token::given("abc.def").unwrap();
        assert_eq!(format!("{token:?}"), "Token(..)");
        assert_eq!(format!("{:?}", header("abc.def")), "Some(Sensitive)");
    }
}
