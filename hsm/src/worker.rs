//! The threads that call the token, and the queue that feeds them. Requests and answers are plain data, so that the threads
//! can later move into a process of their own.
//!
//! A thread keeps the answers of encryptions and decryptions back while more requests wait, up to [`HELD`]: waking a caller
//! costs a good part of what the token costs, and callers woken together come back together.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use tokio::sync::oneshot;

use crate::error::Error;
use crate::gcm::{Decrypt, Encrypt};
use crate::keys::{Keys, Proof};
use crate::lifecycle::Loaded;
use crate::object::{Canary, ObjectId, ObjectInfo};
use crate::secret::Secret;
use crate::session::{Settings, Status, Token};
use crate::signing::{PublicKey, SignatureAlgorithm};
use crate::watch::{self, Call, Watch};

/// Where the answer to a request goes. Nobody may be listening any more.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, Error>>;

/// The result of each item of a batch, in its order.
pub(crate) type Batch<T> = Vec<Result<T, Error>>;

/// What can be asked of the token.
#[derive(Debug)]
pub(crate) enum Request {
    Encrypt(Encrypt, Reply<Vec<u8>>),
    Decrypt(Decrypt, Reply<Secret>),
    EncryptBatch(Vec<Encrypt>, Reply<Batch<Vec<u8>>>),
    DecryptBatch(Vec<Decrypt>, Reply<Batch<Secret>>),
    Random(usize, Reply<Secret>),
    CreateKey(ObjectId, String, Reply<Canary>),
    LoadKey(ObjectId, Proof, Reply<()>),
    LoadKeys(Vec<(ObjectId, Canary)>, Reply<Loaded>),
    DestroyKey(ObjectId, Reply<bool>),
    CreateSigningKey(ObjectId, String, Option<SignatureAlgorithm>, Reply<PublicKey>),
    Sign(ObjectId, Vec<u8>, Reply<Vec<u8>>),
    Objects(Reply<Vec<ObjectInfo>>),
    ReadData(String, Reply<Option<Vec<u8>>>),
    WriteData(String, Vec<u8>, Reply<()>),
}

/// A request, and when it was made.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) asked: Duration,
    pub(crate) request: Request,
}

/// Says when all threads have ended.
#[derive(Debug)]
pub(crate) struct Threads {
    ended: Receiver<()>,
    watch: Arc<Watch>,
    #[expect(dead_code, reason = "ends the watcher when dropped")]
    watched: Sender<()>,
}

/// Opens the token on the profile's number of threads and tests it on the first. Blocks until they serve or one has failed.
pub(crate) fn start(
    settings: &Arc<Settings>,
    keys: &Arc<Keys>,
    status: &Arc<Mutex<Status>>,
    watch: &Arc<Watch>,
) -> Result<(Sender<Queued>, Threads), Error> {
    let (queue, requests) = bounded(settings.queue.max(1));
    let (running, ended) = bounded(0);
    let (watched, until) = bounded(0);
    watch::start(watch, until, format!("hsm-{}-watch", settings.profile.as_str()))?;
    for (index, call) in watch.calls().enumerate() {
        let (ready, opened) = bounded(1);
        let call = Arc::clone(call);
        let (settings, keys, status) = (Arc::clone(settings), Arc::clone(keys), Arc::clone(status));
        let (requests, running, watching) = (requests.clone(), running.clone(), Arc::clone(watch));
        let name = format!("hsm-{}-{index}", settings.profile.as_str());
        let run = move || {
            // Dropped last: its end tells that the token's sessions are closed.
            let _running = running;
            match open(&settings, &keys, &status, &call, index == 0) {
                Ok(mut token) => {
                    call.rests();
                    // Whoever waited may have given up; the queue is closed then, and this thread ends.
                    let _ = ready.send(Ok(()));
                    serve(&mut token, &requests, &call, &watching);
                }
                Err(error) => {
                    call.rests();
                    let _ = ready.send(Err(error));
                }
            }
        };
        thread::Builder::new().name(name).spawn(run).map_err(Error::Thread)?;
        wait_for(&opened, watch)?;
    }
    Ok((queue, Threads { ended, watch: Arc::clone(watch), watched }))
}

/// Waits until a thread has opened the token, but not for a call that does not return.
fn wait_for(opened: &Receiver<Result<(), Error>>, watch: &Watch) -> Result<(), Error> {
    loop {
        match opened.recv_timeout(watch::EVERY) {
            Ok(result) => return result,
            Err(RecvTimeoutError::Timeout) if watch.is_stuck() => return Err(Error::Stuck),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(Error::Closed),
        }
    }
}

/// Opens the token, again after a moment if the failure is one that passes.
fn open(
    settings: &Arc<Settings>,
    keys: &Arc<Keys>,
    status: &Arc<Mutex<Status>>,
    call: &Arc<Call>,
    self_test: bool,
) -> Result<Token, Error> {
    let mut pause = FIRST_PAUSE;
    loop {
        let opened = Token::open(Arc::clone(settings), Arc::clone(keys), Arc::clone(status), Arc::clone(call));
        let opened = opened.and_then(|mut token| {
            if self_test {
                token.self_test()?;
            }
            Ok(token)
        });
        match opened {
            Ok(token) => {
                status.lock().unwrap_or_else(PoisonError::into_inner).last_error = None;
                return Ok(token);
            }
            Err(error) if error.is_transient() && pause < LAST_PAUSE => {
                thread::sleep(pause);
                pause *= 2;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Serves until every handle is gone and the queue is empty.
fn serve(token: &mut Token, requests: &Receiver<Queued>, call: &Call, watch: &Watch) {
    let mut held = Held::default();
    loop {
        let pause = if token.is_lost() { watch::EVERY } else { PROBE_AFTER };
        match requests.recv_timeout(pause) {
            Ok(Queued { asked, request }) => {
                if held.len() == 0 {
                    call.takes(asked);
                }
                if !request.is_abandoned() {
                    handle(token, request, &mut held);
                }
            }
            Err(RecvTimeoutError::Timeout) if token.is_lost() => token.recover(),
            Err(RecvTimeoutError::Timeout) => token.probe(),
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if watch.is_stuck() {
            // The call came back after all. What else the token forgot meanwhile is not known.
            token.discard(&Error::Stuck);
        }
        if held.len() >= HELD || requests.is_empty() {
            held.release();
            call.rests();
        }
    }
}

fn handle(token: &mut Token, request: Request, held: &mut Held) {
    if !matches!(request, Request::Encrypt(..) | Request::Decrypt(..)) {
        // These take longer; nobody's answer waits for them.
        held.release();
    }
    match request {
        Request::Encrypt(item, reply) => held.encrypted.push((reply, token.encrypt(&item))),
        Request::Decrypt(item, reply) => held.decrypted.push((reply, token.decrypt(&item))),
        Request::EncryptBatch(items, reply) => {
            send(reply, Ok(items.into_iter().map(|item| token.encrypt(&item)).collect()));
        }
        Request::DecryptBatch(items, reply) => {
            send(reply, Ok(items.into_iter().map(|item| token.decrypt(&item)).collect()));
        }
        Request::Random(len, reply) => send(reply, token.random(len)),
        Request::CreateKey(id, label, reply) => {
            let created = token.create_key(id, &label);
            if let Err(Ok(_)) = reply.send(created) {
                token.take_back(id);
            }
        }
        Request::LoadKey(id, proof, reply) => send(reply, token.load(id, proof)),
        Request::LoadKeys(keys, reply) => send(reply, token.load_keys(keys)),
        Request::DestroyKey(id, reply) => send(reply, token.destroy_key(id)),
        Request::CreateSigningKey(id, label, algorithm, reply) => {
            let created = token.create_signing_key(id, &label, algorithm);
            if let Err(Ok(_)) = reply.send(created) {
                token.take_back(id);
            }
        }
        Request::Sign(id, message, reply) => send(reply, token.sign(id, &message)),
        Request::Objects(reply) => send(reply, token.objects()),
        Request::ReadData(label, reply) => send(reply, token.read_data(&label)),
        Request::WriteData(label, bytes, reply) => send(reply, token.write_data(&label, &bytes)),
    }
}

impl Request {
    /// Whether nobody waits for the answer any more. What was not begun for them is not begun.
    fn is_abandoned(&self) -> bool {
        match self {
            Self::Encrypt(_, reply) | Self::Sign(_, _, reply) => reply.is_closed(),
            Self::Decrypt(_, reply) | Self::Random(_, reply) => reply.is_closed(),
            Self::EncryptBatch(_, reply) => reply.is_closed(),
            Self::DecryptBatch(_, reply) => reply.is_closed(),
            Self::CreateKey(_, _, reply) => reply.is_closed(),
            Self::LoadKey(_, _, reply) | Self::WriteData(_, _, reply) => reply.is_closed(),
            Self::LoadKeys(_, reply) => reply.is_closed(),
            Self::DestroyKey(_, reply) => reply.is_closed(),
            Self::CreateSigningKey(_, _, _, reply) => reply.is_closed(),
            Self::Objects(reply) => reply.is_closed(),
            Self::ReadData(_, reply) => reply.is_closed(),
        }
    }
}

fn send<T>(reply: Reply<T>, result: Result<T, Error>) {
    // An answer that nobody waits for is dropped, and a secret in it wiped.
    let _ = reply.send(result);
}

type Answers<T> = Vec<(Reply<T>, Result<T, Error>)>;

/// Answers kept back for a moment.
#[derive(Debug, Default)]
struct Held {
    encrypted: Answers<Vec<u8>>,
    decrypted: Answers<Secret>,
}

impl Held {
    fn len(&self) -> usize {
        self.encrypted.len() + self.decrypted.len()
    }

    fn release(&mut self) {
        self.encrypted.drain(..).for_each(|(reply, result)| send(reply, result));
        self.decrypted.drain(..).for_each(|(reply, result)| send(reply, result));
    }
}

impl Drop for Threads {
    /// Waits for the threads, so that a token can be opened again, or the process end, without a call still under way. A
    /// thread that hangs in the token is left behind.
    fn drop(&mut self) {
        // Nothing is ever sent: the only way this ends early is that the last thread is gone.
        if !self.watch.is_stuck() {
            let _ = self.ended.recv_timeout(GRACE);
        }
    }
}

/// Answers kept back at most: 16 decryptions take SoftHSM about 200 microseconds.
const HELD: usize = 16;

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LAST_PAUSE: Duration = Duration::from_secs(1);

/// After so long without a request the token is asked whether it is still there.
const PROBE_AFTER: Duration = Duration::from_secs(5);

/// How long a thread may take to end.
const GRACE: Duration = Duration::from_secs(5);
