//! The threads that call the token, and the queue that feeds them. Requests and answers are plain data, so that the threads
//! can later move into a process of their own.
//!
//! A thread keeps the answers of encryptions and decryptions back while more requests wait, up to [`HELD`]: waking a caller
//! costs a good part of what the token costs, and callers woken together come back together.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use tokio::sync::oneshot;

use crate::error::Error;
use crate::gcm::{Decrypt, Encrypt};
use crate::keys::{Keys, Proof};
use crate::lifecycle::Loaded;
use crate::object::{Canary, ObjectId, ObjectInfo};
use crate::secret::Secret;
use crate::session::{Settings, Status, Token};
use crate::signing::{PublicKey, SignatureAlgorithm};

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

/// Says when all threads have ended.
#[derive(Debug)]
pub(crate) struct Threads(Receiver<()>);

/// Opens the token on the profile's number of threads and tests it on the first. Blocks until they serve or one has failed.
pub(crate) fn start(
    settings: &Arc<Settings>,
    keys: &Arc<Keys>,
    status: &Arc<Mutex<Status>>,
) -> Result<(Sender<Request>, Threads), Error> {
    let (queue, requests) = bounded(settings.queue.max(1));
    let (running, ended) = bounded(0);
    for index in 0..settings.profile.profile().threads {
        let (ready, opened) = bounded(1);
        let (settings, keys, status) = (Arc::clone(settings), Arc::clone(keys), Arc::clone(status));
        let (requests, running) = (requests.clone(), running.clone());
        let name = format!("hsm-{}-{index}", settings.profile.as_str());
        let run = move || {
            // Dropped last: its end tells that the token's sessions are closed.
            let _running = running;
            match open(&settings, &keys, &status, index == 0) {
                Ok(mut token) => {
                    // The one who waits for this may not give up.
                    let _ = ready.send(Ok(()));
                    serve(&mut token, &requests);
                }
                Err(error) => {
                    let _ = ready.send(Err(error));
                }
            }
        };
        thread::Builder::new().name(name).spawn(run).map_err(Error::Thread)?;
        opened.recv().map_err(|_| Error::Closed)??;
    }
    Ok((queue, Threads(ended)))
}

/// Opens the token, again after a moment if the failure is one that passes.
fn open(
    settings: &Arc<Settings>,
    keys: &Arc<Keys>,
    status: &Arc<Mutex<Status>>,
    self_test: bool,
) -> Result<Token, Error> {
    let mut pause = FIRST_PAUSE;
    loop {
        let opened = Token::open(Arc::clone(settings), Arc::clone(keys), Arc::clone(status)).and_then(|mut token| {
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
fn serve(token: &mut Token, requests: &Receiver<Request>) {
    let mut held = Held::default();
    while let Ok(request) = requests.recv() {
        handle(token, request, &mut held);
        if held.len() >= HELD || requests.is_empty() {
            held.release();
        }
    }
}

fn handle(token: &mut Token, request: Request, held: &mut Held) {
    if !matches!(request, Request::Encrypt(..) | Request::Decrypt(..)) {
        // These take longer; nobody's answer waits for them.
        held.release();
    }
    match request {
        // A caller who has gone away needs no answer, and these leave nothing behind.
        Request::Encrypt(_, reply) if reply.is_closed() => {}
        Request::Decrypt(_, reply) if reply.is_closed() => {}
        Request::EncryptBatch(_, reply) if reply.is_closed() => {}
        Request::DecryptBatch(_, reply) if reply.is_closed() => {}

        Request::Encrypt(item, reply) => held.encrypted.push((reply, token.encrypt(&item))),
        Request::Decrypt(item, reply) => held.decrypted.push((reply, token.decrypt(&item))),
        Request::EncryptBatch(items, reply) => {
            send(reply, Ok(items.into_iter().map(|item| token.encrypt(&item)).collect()));
        }
        Request::DecryptBatch(items, reply) => {
            send(reply, Ok(items.into_iter().map(|item| token.decrypt(&item)).collect()));
        }
        Request::Random(len, reply) => send(reply, token.random(len)),
        Request::CreateKey(id, label, reply) => send(reply, token.create_key(id, &label)),
        Request::LoadKey(id, proof, reply) => send(reply, token.load(id, proof)),
        Request::LoadKeys(keys, reply) => send(reply, token.load_keys(keys)),
        Request::DestroyKey(id, reply) => send(reply, token.destroy_key(id)),
        Request::CreateSigningKey(id, label, algorithm, reply) => {
            send(reply, token.create_signing_key(id, &label, algorithm));
        }
        Request::Sign(id, message, reply) => send(reply, token.sign(id, &message)),
        Request::Objects(reply) => send(reply, token.objects()),
        Request::ReadData(label, reply) => send(reply, token.read_data(&label)),
        Request::WriteData(label, bytes, reply) => send(reply, token.write_data(&label, &bytes)),
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
        let _ = self.0.recv_timeout(GRACE);
    }
}

/// Answers kept back at most: 16 decryptions take SoftHSM about 200 microseconds.
const HELD: usize = 16;

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LAST_PAUSE: Duration = Duration::from_secs(1);

/// How long a thread may take to end.
const GRACE: Duration = Duration::from_secs(5);
