//! The PKCS#11 modules of this process: loading, `C_Initialize`, finding and initialising tokens, and logging in.
//!
//! PKCS#11 makes `C_Initialize` and the login states of the whole process, so what is kept here is global because they are.
//! It refuses to finalise a module while any of us is using it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error as Pkcs11Error, RvError};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::{Slot, TokenInfo};
use secrecy::{ExposeSecret, SecretString};

use crate::error::Error;

/// Makes a token of this label in the module's first free slot and sets its two PINs.
///
/// A set-up that was cut off between the two PINs is completed by calling this again with the same SO PIN. Blocks; call it
/// on no async thread. Tokens that another process made after this process first used the module are not seen (SoftHSM).
///
/// # Errors
///
/// [`Error::TokenExists`] if the module shows a token of that label with a user PIN, [`Error::InvalidLabel`],
/// [`Error::NoFreeSlot`], [`Error::PinUnacceptable`] when the token wants a longer or shorter PIN, [`Error::PinIncorrect`]
/// when the SO PIN of a half-made token differs, [`Error::Module`], [`Error::Unavailable`].
pub fn initialise_token(module: &Path, label: &str, so_pin: &SecretString, pin: &SecretString) -> Result<(), Error> {
    if label.is_empty() || label.len() > LABEL_LEN || label.ends_with(' ') {
        return Err(Error::InvalidLabel { label: label.to_owned() });
    }
    let mut modules = lock(&MODULES);
    // The lock is held to the end: of two set-ups at once, both would take the same free slot.
    let pkcs11 = load(&mut modules, &canonical(module)?)?.pkcs11.clone();

    match find_token(&pkcs11, label) {
        Ok((_, token)) if token.user_pin_initialized() => {
            return Err(Error::TokenExists { label: label.to_owned() });
        }
        Ok(_half_made) => {}
        Err(Error::TokenNotFound { .. }) => {
            let slot = free_slot(&pkcs11)?;
            pkcs11.init_token(slot, so_pin, label).map_err(Error::token)?;
        }
        Err(error) => return Err(error),
    }

    // SoftHSM may give an initialised token another slot, so it is looked for again.
    let (slot, _) = find_token(&pkcs11, label)?;
    let session = pkcs11.open_rw_session(slot).map_err(Error::token)?;
    session.login(UserType::So, Some(so_pin)).map_err(Error::token)?;
    let set = session.init_pin(pin).map_err(Error::token);
    session.logout().map_err(Error::token)?;
    set
}

/// Loads a module and looks whether it is one of PKCS#11, without calling it.
///
/// # Errors
///
/// [`Error::Module`].
pub fn check_module(path: &Path) -> Result<(), Error> {
    let path = canonical(path)?;
    Pkcs11::new(&path).map(drop).map_err(|source| Error::Module { path, source: source.into() })
}

/// The module at this path, in use as long as this lives.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) pkcs11: Pkcs11,
    path: PathBuf,
}

impl Claim {
    /// Loads and initialises the module, once per process.
    pub(crate) fn new(path: &Path) -> Result<Self, Error> {
        let path = canonical(path)?;
        let mut modules = lock(&MODULES);
        let module = load(&mut modules, &path)?;
        module.users += 1;
        Ok(Self { pkcs11: module.pkcs11.clone(), path })
    }

    /// Logs the user in. A login is the whole process's: where one holds already, the token does not look at the PIN, so we
    /// compare it with the one that made the login.
    pub(crate) fn login(&self, slot: Slot, session: &Session, pin: &SecretString) -> Result<(), Error> {
        let mut logins = lock(&LOGINS);
        let entry = (self.path.clone(), slot.id());
        let pin_bytes = pin.expose_secret().as_bytes();
        match session.login(UserType::User, Some(pin)) {
            Ok(()) => {
                let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).map_err(|_| Error::Random)?;
                let tag = hmac::sign(&key, pin_bytes);
                logins.insert(entry, (key, tag));
                Ok(())
            }
            Err(Pkcs11Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => match logins.get(&entry) {
                Some((key, tag)) => hmac::verify(key, pin_bytes, tag.as_ref()).map_err(|_| Error::PinIncorrect),
                None => Ok(()),
            },
            Err(error) => Err(Error::token(error)),
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(module) = lock(&MODULES).get_mut(&self.path) {
            module.users -= 1;
        }
    }
}

/// Finalises the module if none of us uses it, so that its next user looks at the tokens afresh. SoftHSM reads its folder at
/// `C_Initialize` alone, and overlooks a token that another process is writing at that moment, as every login does.
pub(crate) fn reset(path: &Path) -> Result<(), Error> {
    let path = canonical(path)?;
    let mut modules = lock(&MODULES);
    if modules.get(&path).is_none_or(|module| module.users > 0) {
        return Ok(());
    }
    match modules.remove(&path) {
        Some(module) => module.pkcs11.finalize().map_err(Error::token),
        None => Ok(()),
    }
}

/// The one initialised token of this label.
pub(crate) fn find_token(pkcs11: &Pkcs11, label: &str) -> Result<(Slot, TokenInfo), Error> {
    let (mut found, mut unread) = (None, None);
    for slot in pkcs11.get_slots_with_token().map_err(Error::token)? {
        let token = match pkcs11.get_token_info(slot) {
            Ok(token) => token,
            // Perhaps not the one we look for.
            Err(error) => {
                unread = Some(Error::token(error));
                continue;
            }
        };
        if !token.token_initialized() || token.label() != label {
            continue;
        }
        if found.is_some() {
            return Err(Error::AmbiguousToken { label: label.to_owned() });
        }
        found = Some((slot, token));
    }
    found.ok_or_else(|| unread.unwrap_or_else(|| Error::TokenNotFound { label: label.to_owned() }))
}

fn load<'a>(modules: &'a mut Modules, path: &Path) -> Result<&'a mut Module, Error> {
    let entry = match modules.entry(path.to_owned()) {
        Entry::Occupied(entry) => return Ok(entry.into_mut()),
        Entry::Vacant(entry) => entry,
    };
    let pkcs11 = Pkcs11::new(path).map_err(|source| Error::Module { path: path.to_owned(), source: source.into() })?;
    match pkcs11.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Ok(()) | Err(Pkcs11Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
        Err(error) => return Err(Error::token(error)),
    }
    Ok(entry.insert(Module { pkcs11, users: 0 }))
}

fn canonical(path: &Path) -> Result<PathBuf, Error> {
    path.canonicalize().map_err(|source| Error::Module { path: path.to_owned(), source: source.into() })
}

fn free_slot(pkcs11: &Pkcs11) -> Result<Slot, Error> {
    for slot in pkcs11.get_slots_with_token().map_err(Error::token)? {
        if !pkcs11.get_token_info(slot).map_err(Error::token)?.token_initialized() {
            return Ok(slot);
        }
    }
    Err(Error::NoFreeSlot)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Both maps are whole at every moment, so a panic elsewhere while one was locked does no harm.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A module that is loaded and initialised.
#[derive(Debug)]
struct Module {
    pkcs11: Pkcs11,
    /// Claims that live.
    users: usize,
}

type Modules = BTreeMap<PathBuf, Module>;

type Logins = BTreeMap<(PathBuf, u64), (hmac::Key, hmac::Tag)>;

/// Modules by canonical path.
static MODULES: Mutex<Modules> = Mutex::new(BTreeMap::new());

/// By module and slot, a keyed digest of the PIN that logged in.
static LOGINS: Mutex<Logins> = Mutex::new(BTreeMap::new());

/// Bytes in a token's label (PKCS#11 2.40, `CK_TOKEN_INFO`).
const LABEL_LEN: usize = 32;
