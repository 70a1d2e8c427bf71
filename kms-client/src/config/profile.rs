//! Profiles: named sets of settings in a file of the user's.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::{Credential, Error, Settings};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Profiles {
    #[serde(default)]
    profiles: BTreeMap<String, Profile>,
}

/// One profile. A token itself does not belong into a file that people edit and copy: it has a file of its own.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Profile {
    url: Option<String>,
    ca_file: Option<PathBuf>,
    token_file: Option<PathBuf>,
    cert_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
}

impl Profile {
    /// The profile of this name; `None` when there is none, or no such file.
    pub(super) fn load(path: &Path, name: &str) -> Result<Option<Self>, Error> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::Unreadable { what: "profile", path: path.to_owned(), source }),
        };
        let malformed = |source| Error::ProfileForm { path: path.to_owned(), source: Box::new(source) };
        let mut profiles: Profiles = toml::from_str(&text).map_err(malformed)?;
        Ok(profiles.profiles.remove(name).map(|profile| profile.relative_to(path)))
    }

    fn relative_to(self, file: &Path) -> Self {
        let folder = file.parent().unwrap_or(Path::new(""));
        let resolve = |path: Option<PathBuf>| path.map(|path| folder.join(path));
        Self {
            url: self.url,
            ca_file: resolve(self.ca_file),
            token_file: resolve(self.token_file),
            cert_file: resolve(self.cert_file),
            key_file: resolve(self.key_file),
        }
    }
}

impl From<Profile> for Settings {
    fn from(profile: Profile) -> Self {
        let Profile { url, ca_file, token_file, cert_file, key_file } = profile;
        Self { url, ca_file, credential: Credential { token: None, token_file, cert_file, key_file } }
    }
}

/// Where profiles are: `keyward/config.toml` in the user's configuration folder (XDG Base Directory Specification).
pub(super) fn file(variable: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let folder = variable("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .filter(|folder| folder.is_absolute())
        .or_else(|| variable("HOME").map(|home| Path::new(&home).join(".config")))?;
    Some(folder.join("keyward").join("config.toml"))
}
