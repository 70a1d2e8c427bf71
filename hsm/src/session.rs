//! One thread's connection to the token: an idle session that holds the login, a session that works, and their recovery.
//!
//! A session is discarded after an error that means a fault, never after a mere refusal, and opened again by the next
//! request, once. A PIN that was refused is never offered again, not even by recovery.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use cryptoki::context::{Function, Pkcs11};
use cryptoki::error::{Error as Pkcs11Error, RvError};
use cryptoki::session::{Session, SessionState};
use cryptoki::slot::Slot;
use secrecy::SecretString;
use tracing::{info, warn};

use crate::error::Error;
use crate::keys::Keys;
use crate::module::{self, Claim};
use crate::profile::{Profile, ProfileName, Verdict};

/// Which token, how to log in, and how much may wait for it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The PKCS#11 module, a shared library.
    pub module: PathBuf,
    /// The token's label, up to 32 bytes; it finds the slot.
    pub token_label: String,
    /// The user's PIN.
    pub pin: SecretString,
    /// The kind of token.
    pub profile: ProfileName,
    /// Requests that may wait, at least 1; past that they are refused with [`Error::Busy`]. A batch is one request.
    pub queue: usize,
}

/// How the token is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The token's label.
    pub token_label: String,
    /// Its serial number, as it tells.
    pub serial: String,
    /// Its model, as it tells.
    pub model: String,
    /// Its profile.
    pub profile: ProfileName,
    /// Whether the last session is good; false from a fault until a request has opened a new one.
    pub usable: bool,
    /// The last fault of the token since it was opened, also when it has recovered.
    pub last_error: Option<String>,
}

/// The token as one thread sees it. The verbs are in files of their own.
#[derive(Debug)]
pub(crate) struct Token {
    pub(crate) profile: &'static Profile,
    pub(crate) keys: Arc<Keys>,
    settings: Arc<Settings>,
    status: Arc<Mutex<Status>>,
    /// Dropped before `login`, so that closing it does not log the process out.
    session: Option<Session>,
    login: Option<Login>,
    /// The token has refused the PIN or locked it.
    refused: bool,
}

/// An idle session: PKCS#11 logs a process out when its last session closes.
#[derive(Debug)]
struct Login {
    slot: Slot,
    idle: Session,
    /// Dropped last: as long as there are sessions, the module is in use.
    module: Claim,
}

impl Token {
    /// Logs in and opens a session.
    pub(crate) fn open(settings: Arc<Settings>, keys: Arc<Keys>, status: Arc<Mutex<Status>>) -> Result<Self, Error> {
        let profile = settings.profile.profile();
        let mut token = Self { profile, keys, settings, status, session: None, login: None, refused: false };
        token.session()?;
        Ok(token)
    }

    /// The working session, opened if there is none.
    pub(crate) fn session(&mut self) -> Result<&Session, Error> {
        if self.session.is_none()
            && let Err(error) = self.reopen()
        {
            self.discard(&error);
            return Err(error);
        }
        self.session.as_ref().ok_or(Error::Closed)
    }

    /// The module and slot of the token, for what is asked of a slot instead of a session.
    pub(crate) fn slot(&mut self) -> Result<(&Pkcs11, Slot), Error> {
        self.session()?;
        self.login.as_ref().map(|login| (&login.module.pkcs11, login.slot)).ok_or(Error::Closed)
    }

    /// Refuses to go on when the login is gone. A token hides its private objects then, so that a search finds nothing and a
    /// handle is unknown: that must not read as a key that does not exist.
    pub(crate) fn require_login(&mut self) -> Result<(), Error> {
        let info = self.session()?.get_session_info();
        let info = info.map_err(|error| self.fault(error))?;
        match info.session_state() {
            SessionState::RoUser | SessionState::RwUser => Ok(()),
            SessionState::RoPublic | SessionState::RwPublic | SessionState::RwSecurityOfficer => {
                Err(self.fault(Pkcs11Error::Pkcs11(RvError::UserNotLoggedIn, Function::GetSessionInfo)))
            }
        }
    }

    /// Turns an error of the token into ours; discards the session if it is a fault.
    pub(crate) fn fault(&mut self, error: Pkcs11Error) -> Error {
        let verdict = self.profile.verdict(&error);
        let error = Error::token(error);
        if verdict == Verdict::Fault {
            self.discard(&error);
        }
        error
    }

    /// Gives the session up because of this error. The next request opens another.
    pub(crate) fn discard(&mut self, error: &Error) {
        self.session = None;
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        status.last_error = Some(error.to_string());
        if status.usable {
            status.usable = false;
            warn!(token.label = status.token_label, %error, "HSM session lost");
        }
    }

    fn reopen(&mut self) -> Result<(), Error> {
        if self.refused {
            return Err(Error::PinIncorrect);
        }
        match self.login.take() {
            Some(login) if login.holds() => {
                self.keys.doubt_all();
                self.start(login)
            }
            lost => {
                drop(lost);
                self.keys.lose_all();
                let login = self.log_in()?;
                self.start(login)
            }
        }
    }

    fn log_in(&mut self) -> Result<Login, Error> {
        let module = Claim::new(&self.settings.module)?;
        let (slot, info) = match module::find_token(&module.pkcs11, &self.settings.token_label) {
            Ok(found) => found,
            Err(error) => {
                drop(module);
                module::reset(&self.settings.module)?;
                return Err(error);
            }
        };
        let idle = module.pkcs11.open_ro_session(slot).map_err(Error::token)?;
        match module.login(slot, &idle, &self.settings.pin) {
            Ok(()) => {}
            Err(error) => {
                self.refused = matches!(error, Error::PinIncorrect | Error::PinLocked | Error::PinUnacceptable { .. });
                return Err(error);
            }
        }
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        info.serial_number().clone_into(&mut status.serial);
        info.model().clone_into(&mut status.model);
        Ok(Login { slot, idle, module })
    }

    fn start(&mut self, login: Login) -> Result<(), Error> {
        self.session = Some(login.module.pkcs11.open_rw_session(login.slot).map_err(Error::token)?);
        self.login = Some(login);
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        status.usable = true;
        info!(token.label = status.token_label, token.serial = status.serial, "HSM session opened");
        Ok(())
    }
}

impl Login {
    fn holds(&self) -> bool {
        let state = self.idle.get_session_info().map(|info| info.session_state());
        matches!(state, Ok(SessionState::RoUser | SessionState::RwUser))
    }
}
