#![doc = include_str!("../README.md")]

mod attributes;
mod backoff;
mod data;
mod error;
mod find;
mod gcm;
mod keys;
mod lifecycle;
mod module;
mod object;
mod profile;
mod random;
mod secret;
mod self_test;
mod session;
mod signing;
pub mod softhsm;
mod watch;
mod worker;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Sender, TrySendError};
use tokio::sync::oneshot;

use crate::keys::{Keys, Proof};
use crate::watch::Watch;
use crate::worker::{Queued, Reply, Request, Threads};

pub use crate::error::Error;
pub use crate::gcm::{Decrypt, Encrypt, TAG_LEN};
pub use crate::module::{check_module, initialise_token};
pub use crate::object::{Canary, Nonce, ObjectClass, ObjectId, ObjectInfo, ParseObjectIdError};
pub use crate::profile::ProfileName;
pub use crate::secret::Secret;
pub use crate::session::{Settings, Status};
pub use crate::signing::{PublicKey, SignatureAlgorithm};
pub use crate::watch::Uptime;

/// A token that is open and logged in. Cheap to clone; the token is closed when the last clone is dropped, after the
/// requests that wait (dropping blocks for that, at most five seconds).
///
/// Every method that asks the token can answer [`Error::Busy`] (the queue is full, nothing was begun), [`Error::Closed`],
/// [`Error::Unavailable`] (a fault of the token, after which the next request opens a new session), [`Error::Lost`] (that
/// failed and is tried again later), [`Error::Stuck`] (a call does not return), and after a fault whatever [`Hsm::open`] can
/// answer. Encryptions, decryptions and random bytes can answer [`Error::TimedOut`]; the others wait for as long as the token
/// is at work on them or on what came before. Their own errors are named at each.
///
/// A request whose future is dropped before it was begun is not begun; one that was begun runs to its end. A key that was
/// created and that nobody hears of any more is destroyed again. What is decrypted too late is wiped.
#[derive(Clone, Debug)]
pub struct Hsm(Arc<Inner>);

// INVARIANT: `queue` stands before `threads`, so that it is dropped first: its end is what ends the threads.
#[derive(Debug)]
struct Inner {
    queue: Sender<Queued>,
    #[expect(dead_code, reason = "waits for the threads when dropped")]
    threads: Threads,
    watch: Arc<Watch>,
    keys: Arc<Keys>,
    status: Arc<Mutex<Status>>,
}

impl Hsm {
    /// Opens the token: initialises the module (once per process), finds the token by its label, logs in, and runs the
    /// profile's self-test. Blocks, up to some two seconds when the token is slow to come up; call it on no async thread.
    ///
    /// # Errors
    ///
    /// [`Error::Module`], [`Error::TokenNotFound`], [`Error::AmbiguousToken`], [`Error::PinIncorrect`] and
    /// [`Error::PinLocked`] (never retried), [`Error::PinUnacceptable`] (no user PIN set), [`Error::SelfTest`],
    /// [`Error::Attribute`] (the self-test's key reads back otherwise), [`Error::Unavailable`] after some retries,
    /// [`Error::Stuck`] (a call did not return in time; its thread is left behind), [`Error::Thread`].
    pub fn open(settings: Settings) -> Result<Self, Error> {
        let keys = Arc::new(Keys::default());
        let status = Arc::new(Mutex::new(Status {
            token_label: settings.token_label.clone(),
            serial: String::new(),
            model: String::new(),
            profile: settings.profile,
            usable: false,
            stuck: false,
            last_error: None,
        }));
        let watch = Arc::new(Watch::new(&settings, &status));
        let (queue, threads) = worker::start(&Arc::new(settings), &keys, &status, &watch)?;
        Ok(Self(Arc::new(Inner { queue, threads, watch, keys, status })))
    }

    /// Creates an AES-256 key on the token, reads its attributes back, and loads it. `label` is for people. Keep the canary.
    ///
    /// # Errors
    ///
    /// [`Error::KeyExists`] if any object carries this id. [`Error::Attribute`] if the key is not what was asked for; it is
    /// destroyed again then.
    pub async fn create_key(&self, id: ObjectId, label: &str) -> Result<Canary, Error> {
        self.ask(|reply| Request::CreateKey(id, label.to_owned(), reply)).await
    }

    /// Finds a key, verifies its attributes and canary, and keeps its handle. Until then it cannot be used.
    ///
    /// # Errors
    ///
    /// [`Error::KeyNotFound`], [`Error::AmbiguousKey`], [`Error::Attribute`], [`Error::Canary`]. The key is not loaded then,
    /// also if it was before.
    pub async fn load_key(&self, id: ObjectId, canary: Canary) -> Result<(), Error> {
        self.ask(|reply| Request::LoadKey(id, Proof::Canary(canary), reply)).await
    }

    /// Loads many keys with one search of the token, for the start. The result of each is what [`Hsm::load_key`] answers,
    /// in the order given.
    ///
    /// # Errors
    ///
    /// Only if the search as a whole fails; see [`Hsm`].
    pub async fn load_keys(&self, keys: Vec<(ObjectId, Canary)>) -> Result<Vec<(ObjectId, Result<(), Error>)>, Error> {
        self.ask(|reply| Request::LoadKeys(keys, reply)).await
    }

    /// Whether this key was loaded or made here and not forgotten since, whatever became of it in the token.
    #[must_use]
    pub fn knows_key(&self, id: ObjectId) -> bool {
        self.0.keys.state(id).is_some()
    }

    /// Forgets a key's handle: from now on requests for it answer [`Error::KeyNotFound`], until it is loaded again. The key
    /// on the token is not touched. A request that is at the token already may still succeed.
    pub fn forget_key(&self, id: ObjectId) {
        self.0.keys.remove(id);
    }

    /// Encrypts with AES-256-GCM. The answer is the ciphertext, as long as the plaintext, and the 16-byte tag.
    ///
    /// # Errors
    ///
    /// [`Error::KeyNotFound`] if the key was not loaded or is gone.
    pub async fn encrypt(
        &self,
        key: ObjectId,
        nonce: Nonce,
        aad: Vec<u8>,
        plaintext: Secret,
    ) -> Result<Vec<u8>, Error> {
        self.ask_in_time(|reply| Request::Encrypt(Encrypt { key, nonce, aad, plaintext }, reply)).await
    }

    /// Decrypts what [`Hsm::encrypt`] made: ciphertext and 16-byte tag.
    ///
    /// # Errors
    ///
    /// [`Error::Authentication`] if ciphertext, tag, length, nonce, associated data or key is not as it was: one answer for
    /// all. [`Error::KeyNotFound`] if the key was not loaded or is gone.
    pub async fn decrypt(
        &self,
        key: ObjectId,
        nonce: Nonce,
        aad: Vec<u8>,
        ciphertext: Vec<u8>,
    ) -> Result<Secret, Error> {
        self.ask_in_time(|reply| Request::Decrypt(Decrypt { key, nonce, aad, ciphertext }, reply)).await
    }

    /// Encrypts many, as one request in the queue. The result of each is what [`Hsm::encrypt`] answers, in the order given;
    /// one that fails does not fail the others.
    ///
    /// # Errors
    ///
    /// Only for the batch as a whole; see [`Hsm`].
    pub async fn encrypt_batch(&self, items: Vec<Encrypt>) -> Result<Vec<Result<Vec<u8>, Error>>, Error> {
        self.ask_in_time(|reply| Request::EncryptBatch(items, reply)).await
    }

    /// Decrypts many, as one request in the queue. The result of each is what [`Hsm::decrypt`] answers, in the order given;
    /// one that fails does not fail the others.
    ///
    /// # Errors
    ///
    /// Only for the batch as a whole; see [`Hsm`].
    pub async fn decrypt_batch(&self, items: Vec<Decrypt>) -> Result<Vec<Result<Secret, Error>>, Error> {
        self.ask_in_time(|reply| Request::DecryptBatch(items, reply)).await
    }

    /// `len` random bytes, unpredictable if either the token's generator or the system's is good.
    ///
    /// # Errors
    ///
    /// [`Error::Random`] if the system's generator fails.
    pub async fn random(&self, len: usize) -> Result<Secret, Error> {
        let mut bytes = self.ask_in_time(|reply| Request::Random(len, reply)).await?;
        random::mix(&mut bytes)?;
        Ok(bytes)
    }

    /// Destroys the key of this id, AES or signing, and forgets it. False if there was none.
    ///
    /// # Errors
    ///
    /// [`Error::AmbiguousKey`] if several keys carry the id; none is destroyed then.
    pub async fn destroy_key(&self, id: ObjectId) -> Result<bool, Error> {
        self.ask(|reply| Request::DestroyKey(id, reply)).await
    }

    /// Creates a signing key, Ed25519 if the token can, else P-256, reads its attributes back, and loads it. Keep the
    /// public key: the token does not.
    ///
    /// # Errors
    ///
    /// As [`Hsm::create_key`].
    pub async fn create_signing_key(&self, id: ObjectId, label: &str) -> Result<PublicKey, Error> {
        self.ask(|reply| Request::CreateSigningKey(id, label.to_owned(), None, reply)).await
    }

    /// Creates a signing key of a given algorithm, as [`Hsm::create_signing_key`] does.
    ///
    /// # Errors
    ///
    /// As [`Hsm::create_key`]; [`Error::Unavailable`] if the token does not know the algorithm.
    pub async fn create_signing_key_with(
        &self,
        id: ObjectId,
        label: &str,
        algorithm: SignatureAlgorithm,
    ) -> Result<PublicKey, Error> {
        self.ask(|reply| Request::CreateSigningKey(id, label.to_owned(), Some(algorithm), reply)).await
    }

    /// Finds a signing key, verifies its attributes, lets it sign and verifies that with the public key, and keeps its
    /// handle.
    ///
    /// # Errors
    ///
    /// As [`Hsm::load_key`]; [`Error::Canary`] if the public key is another's.
    pub async fn load_signing_key(&self, id: ObjectId, public: PublicKey) -> Result<(), Error> {
        self.ask(|reply| Request::LoadKey(id, Proof::Public(public), reply)).await
    }

    /// Signs a message with a signing key that was loaded. The caller sets its messages apart by kind.
    ///
    /// # Errors
    ///
    /// [`Error::KeyNotFound`] if no signing key of this id was loaded or it is gone.
    pub async fn sign(&self, id: ObjectId, message: Vec<u8>) -> Result<Vec<u8>, Error> {
        self.ask_in_time(|reply| Request::Sign(id, message, reply)).await
    }

    /// Every object on the token that the user sees, ours or not. Slow on a token of many.
    ///
    /// # Errors
    ///
    /// See [`Hsm`].
    pub async fn objects(&self) -> Result<Vec<ObjectInfo>, Error> {
        self.ask(Request::Objects).await
    }

    /// Reads the small record last written under this label; `None` if there is none.
    ///
    /// # Errors
    ///
    /// See [`Hsm`].
    pub async fn read_data(&self, label: &str) -> Result<Option<Vec<u8>>, Error> {
        self.ask(|reply| Request::ReadData(label.to_owned(), reply)).await
    }

    /// Writes a small record to the token in place of the one under this label. A crash meanwhile leaves one of the two.
    ///
    /// # Errors
    ///
    /// See [`Hsm`]; after one, either record may be there.
    pub async fn write_data(&self, label: &str, bytes: Vec<u8>) -> Result<(), Error> {
        self.ask(|reply| Request::WriteData(label.to_owned(), bytes, reply)).await
    }

    /// How the token is doing, as of the last request. Does not ask it.
    #[must_use]
    pub fn status(&self) -> Status {
        self.0.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Resolves when a call to the token has lasted past [`Settings::stuck_limit`]. It cannot be cancelled, so only another
    /// process will reach the token again.
    pub async fn given_up(&self) {
        self.0.watch.hopeless().await;
    }

    /// Asks for what may take long where there is much of it: it waits while the token is at work.
    async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, Error> {
        self.send(request, |_| None).await
    }

    /// Asks for what takes no longer than a call may.
    async fn ask_in_time<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, Error> {
        self.send(request, |asked| Some(self.0.watch.deadline(asked))).await
    }

    async fn send<T>(
        &self,
        request: impl FnOnce(Reply<T>) -> Request,
        deadline: impl FnOnce(Duration) -> Option<Duration>,
    ) -> Result<T, Error> {
        let watch = &self.0.watch;
        if watch.is_stuck() {
            return Err(Error::Stuck);
        }
        let (reply, answer) = oneshot::channel();
        let asked = watch.now();
        let queued = Queued { asked, request: request(reply) };
        self.0.queue.try_send(queued).map_err(|error| match error {
            TrySendError::Full(_) => Error::Busy,
            TrySendError::Disconnected(_) => Error::Closed,
        })?;
        // Whoever gives up drops the receiving end, so that a late answer is never delivered, and wiped where it arrives.
        tokio::select! {
            biased;
            answered = answer => answered.map_err(|_| Error::Closed)?,
            () = watch.given_up(deadline(asked)) => Err(watch.error()),
        }
    }
}
