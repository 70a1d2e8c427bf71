//! One thread's connection to the token: an idle session that holds the login, a session that works, and their recovery.
//!
//! A session is discarded after an error that means a fault, never after a mere refusal, and opened again at once by the
//! next request; when that fails, after pauses. It is good only once a key has shown its canary in it. A PIN that was refused
//! is never offered again, not even by recovery.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cryptoki::context::{Function, Pkcs11};
use cryptoki::error::{Error as Pkcs11Error, RvError};
use cryptoki::session::{Session, SessionState};
use cryptoki::slot::Slot;
use secrecy::SecretString;
use tracing::{info, warn};

use crate::backoff::Backoff;
use crate::error::{Error, PinRefusal};
use crate::keys::{Keys, State};
use crate::module::{self, Claim};
use crate::profile::{Profile, ProfileName, Verdict};
use crate::watch::{Call, Uptime};

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
    /// How long a caller waits and a call may last. Then the caller is told, and while the call lasts others are refused.
    pub call_timeout: Duration,
    /// How long a call may last before [`crate::Hsm::given_up`] says that it will not return.
    pub stuck_limit: Duration,
    /// The clock that both are measured with, and the pauses between attempts to regain a lost token.
    pub uptime: Uptime,
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
    /// Whether the last session is good; false from a fault until a new one was opened and proven.
    pub usable: bool,
    /// Whether a call to the token is past its deadline and has not returned.
    pub stuck: bool,
    /// The last fault of the token since it was opened, also when it has recovered.
    pub last_error: Option<String>,
}

impl Status {
    /// Whether requests are likely to be answered.
    #[must_use]
    pub const fn is_up(&self) -> bool {
        self.usable && !self.stuck
    }

    pub(crate) fn set_stuck(&mut self, stuck: bool) {
        self.stuck = stuck;
        if stuck {
            self.last_error = Some(Error::Stuck.to_string());
            metrics::counter!("keyward_hsm_stuck_calls_total").increment(1);
        }
        self.measure();
    }

    /// Says in the metrics how the token is.
    fn measure(&self) {
        metrics::gauge!("keyward_hsm_up").set(u8::from(self.is_up()));
        metrics::gauge!("keyward_hsm_stuck").set(u8::from(self.stuck));
    }
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
    /// The token has refused the PIN or locked it: nothing is tried any more.
    refused: Option<PinRefusal>,
    backoff: Backoff,
    call: Arc<Call>,
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
    pub(crate) fn open(
        settings: Arc<Settings>,
        keys: Arc<Keys>,
        status: Arc<Mutex<Status>>,
        call: Arc<Call>,
    ) -> Result<Self, Error> {
        let profile = settings.profile.profile();
        let backoff = Backoff::default();
        let mut token =
            Self { profile, keys, settings, status, session: None, login: None, refused: None, backoff, call };
        token.session()?;
        Ok(token)
    }

    /// The working session, opened if there is none. Every call to the token begins here, so here it is stamped.
    pub(crate) fn session(&mut self) -> Result<&Session, Error> {
        let now = self.call.begins();
        if self.session.is_none() {
            self.regain(now)?;
        }
        self.session.as_ref().ok_or(Error::Closed)
    }

    /// Whether the token is lost and there is hope to regain it.
    pub(crate) fn is_lost(&self) -> bool {
        self.session.is_none() && self.refused.is_none()
    }

    /// Tries to regain a lost token, if its time has come.
    pub(crate) fn recover(&mut self) {
        // Why it fails is in the status, which is where whoever waits for this looks.
        let _still_lost = self.session().is_err();
    }

    /// Asks a token that was idle for a while whether it is still there.
    pub(crate) fn probe(&mut self) {
        if self.session.is_some()
            && let Err(error) = self.prove()
        {
            warn!(%error, "the HSM was lost while nobody asked it");
        }
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
            metrics::counter!("keyward_hsm_faults_total").increment(1);
            status.measure();
            warn!(token.label = status.token_label, %error, "HSM session lost");
        }
    }

    /// Opens a session and proves it, unless it is too early or the PIN was refused.
    fn regain(&mut self, now: Duration) -> Result<(), Error> {
        if let Some(refusal) = &self.refused {
            return Err(refusal.error());
        }
        if self.backoff.holds(now) {
            return Err(Error::Lost);
        }
        if let Err(error) = self.reopen().and_then(|()| self.prove()) {
            self.refused = PinRefusal::of(&error);
            self.backoff.failed(now);
            self.discard(&error);
            return Err(error);
        }
        self.backoff.reset();
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        status.usable = true;
        metrics::counter!("keyward_hsm_sessions_total").increment(1);
        status.measure();
        info!(token.label = status.token_label, token.serial = status.serial, "HSM session opened");
        Ok(())
    }

    fn reopen(&mut self) -> Result<(), Error> {
        let login = match self.login.take() {
            Some(login) if login.holds() => {
                self.keys.doubt_all();
                login
            }
            lost => {
                drop(lost);
                self.keys.lose_all();
                match self.log_in() {
                    // The token was asked and has answered: nothing is to be gained by asking the module anew.
                    Err(error) if PinRefusal::of(&error).is_some() => return Err(error),
                    // Some modules come back to a token only after they were finalised.
                    Err(error) => {
                        module::reset(&self.settings.module)?;
                        return Err(error);
                    }
                    Ok(login) => login,
                }
            }
        };
        self.session = Some(login.module.pkcs11.open_rw_session(login.slot).map_err(Error::token)?);
        self.login = Some(login);
        Ok(())
    }

    fn log_in(&mut self) -> Result<Login, Error> {
        let module = Claim::new(&self.settings.module)?;
        let (slot, info) = module::find_token(&module.pkcs11, &self.settings.token_label)?;
        let idle = module.pkcs11.open_ro_session(slot).map_err(Error::token)?;
        module.login(slot, &idle, &self.settings.pin)?;
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        info.serial_number().clone_into(&mut status.serial);
        info.model().clone_into(&mut status.model);
        Ok(Login { slot, idle, module })
    }

    /// Lets a key show its canary. A key that is not there or not itself says nothing of the session: that is found at its
    /// own use.
    fn prove(&mut self) -> Result<(), Error> {
        let Some(id) = self.keys.any() else { return self.require_login() };
        if let Some(State::Verified(handle)) = self.keys.state(id) {
            self.keys.set(id, State::Found(handle));
        }
        match self.handle(id) {
            Err(error) if self.session.is_none() => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

impl Login {
    fn holds(&self) -> bool {
        let state = self.idle.get_session_info().map(|info| info.session_state());
        matches!(state, Ok(SessionState::RoUser | SessionState::RwUser))
    }
}
