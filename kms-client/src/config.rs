//! Where the server is and who we are: from the command line, the environment, or a profile in the user's configuration
//! folder, whichever says it first.
//!
//! A profile that is named explicitly comes before the environment, the default one after it. The credential always comes
//! from one place as a whole: a token of the environment is never sent together with the certificate of a profile.
//!
//! ```toml
//! # ~/.config/keyward/config.toml
//! [profiles.default]
//! url = "https://kms.example.org:8443"
//! ca_file = "ca.pem"                  # relative to this file
//! token_file = "/run/secrets/token"   # or cert_file and key_file
//! ```

mod profile;

use std::{
    io,
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use self::profile::Profile;
use crate::client::{Builder, Client, innermost};

/// Why no client could be made. Each says what to set.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing says where the server is.
    #[error(
        "no server address: set KMS_URL, pass --url, or write `url` into a profile of `~/.config/keyward/config.toml`"
    )]
    NoUrl,
    /// Nothing says who we are.
    #[error(
        "no credential: set KMS_TOKEN, KMS_TOKEN_FILE, or KMS_CERT_FILE and KMS_KEY_FILE, or write them into a profile"
    )]
    NoCredential,
    /// Two tokens from one place.
    #[error("two tokens: set only one of KMS_TOKEN and KMS_TOKEN_FILE")]
    TwoTokens,
    /// A certificate without its key, or a key without its certificate.
    #[error("a client certificate takes two files: set both KMS_CERT_FILE and KMS_KEY_FILE")]
    HalfCertificate,
    /// The address is not one that we connect to.
    #[error("`{url}` is not an address of a server: {why}, as in `https://kms.example.org:8443`")]
    Url {
        /// The address.
        url: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The token is not one word.
    #[error("the token in KMS_TOKEN is not one: it is a single word without spaces")]
    TokenForm,
    /// The file holds something else.
    #[error("`{}` holds no token: it is a single word without spaces", .0.display())]
    TokenFile(PathBuf),
    /// A file that was named is not there, or may not be read.
    #[error("cannot read the {what} file `{}`: {source}", path.display())]
    Unreadable {
        /// What it holds.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// A profile file that is not one.
    #[error("`{}` is not a profile file: {source}", path.display())]
    ProfileForm {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<toml::de::Error>,
    },
    /// A profile that was named is not there.
    #[error("there is no profile `{name}` in `{}`", path.display())]
    NoProfile {
        /// Its name.
        name: String,
        /// The file that was looked into.
        path: PathBuf,
    },
    /// A file without a certificate.
    #[error("the {0} file holds no certificate in PEM")]
    NoCertificate(&'static str),
    /// The client certificate or its key.
    #[error("the client certificate or its key is not valid PEM: {}", innermost(.0))]
    Certificate(#[source] reqwest::Error),
    /// The CA or the TLS library.
    #[error("cannot set up TLS with this CA file, certificate and key: {}", innermost(.0))]
    Tls(#[source] reqwest::Error),
}

/// What the command line says.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// Where the server is.
    pub url: Option<String>,
    /// The CAs whose certificates the server may show.
    pub ca_file: Option<PathBuf>,
    /// The profile to use.
    pub profile: Option<String>,
}

/// Everything that makes a client.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    url: Option<String>,
    ca_file: Option<PathBuf>,
    credential: Credential,
}

impl Settings {
    /// Finds out what applies.
    ///
    /// # Errors
    /// When a profile is named that is not there, or a profile file cannot be read.
    pub fn load(choice: &Choice) -> Result<Self, Error> {
        Self::resolve(choice, &environment)
    }

    /// The client that these settings describe.
    ///
    /// # Errors
    /// When something is missing, cannot be read, or is not what it should be.
    pub fn client(self) -> Result<Client, Error> {
        self.builder()?.build()
    }

    /// The same, to be described further.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn builder(self) -> Result<Builder, Error> {
        let mut builder = Client::builder();
        if let Some(url) = self.url {
            builder = builder.url(url);
        }
        if let Some(path) = &self.ca_file {
            builder = builder.ca_pem(read("CA", path)?);
        }
        if let Some(token) = &self.credential.token {
            builder = builder.token(token.0.as_str());
        }
        if let Some(path) = self.credential.token_file {
            builder = builder.token_file(path);
        }
        match (&self.credential.cert_file, &self.credential.key_file) {
            (Some(cert), Some(key)) => {
                let mut key = Zeroizing::new(read("private key", key)?);
                builder = builder.certificate(read("certificate", cert)?, std::mem::take(&mut *key));
            }
            (Some(_), None) | (None, Some(_)) => return Err(Error::HalfCertificate),
            (None, None) => {}
        }
        Ok(builder)
    }

    fn resolve(choice: &Choice, variable: &dyn Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let of_environment = Self {
            url: variable("KMS_URL"),
            ca_file: variable("KMS_CA_FILE").map(PathBuf::from),
            credential: Credential {
                token: variable("KMS_TOKEN").map(|token| Token(Zeroizing::new(token))),
                token_file: variable("KMS_TOKEN_FILE").map(PathBuf::from),
                cert_file: variable("KMS_CERT_FILE").map(PathBuf::from),
                key_file: variable("KMS_KEY_FILE").map(PathBuf::from),
            },
        };
        let of_command = Self { url: choice.url.clone(), ca_file: choice.ca_file.clone(), ..Self::default() };
        let file = profile::file(variable);
        let named = choice.profile.as_deref();
        let settings = match (named, file) {
            (Some(name), Some(file)) => {
                let profile = Profile::load(&file, name)?.ok_or_else(|| no_profile(name, &file))?;
                of_command.or(profile.into()).or(of_environment)
            }
            (Some(name), None) => return Err(no_profile(name, Path::new("~/.config/keyward/config.toml"))),
            (None, Some(file)) => {
                let name = variable("KMS_PROFILE");
                let profile = Profile::load(&file, name.as_deref().unwrap_or("default"))?;
                match (profile, name) {
                    (None, Some(name)) => return Err(no_profile(&name, &file)),
                    (profile, _) => of_command.or(of_environment).or(profile.map(Self::from).unwrap_or_default()),
                }
            }
            (None, None) => of_command.or(of_environment),
        };
        settings.credential.check()?;
        Ok(settings)
    }

    fn or(self, other: Self) -> Self {
        Self {
            url: self.url.or(other.url),
            ca_file: self.ca_file.or(other.ca_file),
            credential: if self.credential.is_empty() { other.credential } else { self.credential },
        }
    }
}

/// Who we are: a token, a certificate, or a token that is bound to a certificate (RFC 8705).
#[derive(Clone, Debug, Default)]
struct Credential {
    token: Option<Token>,
    token_file: Option<PathBuf>,
    cert_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
}

impl Credential {
    fn is_empty(&self) -> bool {
        self.token.is_none() && self.token_file.is_none() && self.cert_file.is_none() && self.key_file.is_none()
    }

    fn check(&self) -> Result<(), Error> {
        if self.token.is_some() && self.token_file.is_some() {
            return Err(Error::TwoTokens);
        }
        if self.cert_file.is_some() != self.key_file.is_some() {
            return Err(Error::HalfCertificate);
        }
        Ok(())
    }
}

#[derive(Clone)]
struct Token(Zeroizing<String>);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(..)")
    }
}

fn no_profile(name: &str, path: &Path) -> Error {
    Error::NoProfile { name: name.to_owned(), path: path.to_owned() }
}

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|source| Error::Unreadable { what, path: path.to_owned(), source })
}

#[expect(clippy::disallowed_methods, reason = "a client is configured by its environment; this is the one place")]
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests;
