//! The network between a server and PostgreSQL, in the test's hands: it can be cut, and it can lose the answer to a COMMIT
//! that the database has carried out, or the COMMIT itself.

use std::{
    collections::HashSet,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use kms_server::config::Config;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{oneshot, watch},
};

/// Whose COMMIT is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transaction {
    /// That of a control change.
    Change,
    /// That of audit records.
    Records,
}

/// What is lost of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// The COMMIT itself: nothing happened.
    Commit,
    /// The answer: it happened.
    Answer,
}

/// Protocol 3.0, as the start-up message names it.
const START_UP: u32 = 3 << 16;

/// A network between a server and its database.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Where the database really is.
    database: String,
    up: AtomicBool,
    /// Whether nothing passes, and no connection ends.
    silent: watch::Sender<bool>,
    /// Counts the cuts: whatever is older than the newest ends.
    cuts: watch::Sender<u32>,
    trap: Mutex<Option<Trap>>,
}

#[derive(Debug)]
struct Trap {
    of: Transaction,
    lost: Lost,
    sprung: oneshot::Sender<()>,
}

impl Proxy {
    /// Puts itself between a server that is yet to start and the PostgreSQL database of its configuration.
    pub async fn between(config: &Config) -> Self {
        let file = config.database.postgres_url_file.as_deref().unwrap();
        let url = std::fs::read_to_string(file).unwrap();
        let (before, rest) = url.trim().split_once('@').unwrap();
        let (database, after) = rest.split_once('/').unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        std::fs::write(file, format!("{before}@{address}/{after}")).unwrap();
        let shared = Arc::new(Shared {
            database: database.to_owned(),
            up: AtomicBool::new(true),
            silent: watch::Sender::new(false),
            cuts: watch::Sender::new(0),
            trap: Mutex::default(),
        });
        tokio::spawn(serve(listener, Arc::clone(&shared)));
        Self { address, shared }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends every connection, and lets none come about until [`Proxy::mend`].
    pub fn cut(&self) {
        self.shared.up.store(false, Ordering::SeqCst);
        self.shared.end_all();
    }

    /// Lets nothing pass until [`Proxy::mend`], and ends nothing: what is sent arrives late.
    pub fn silence(&self) {
        self.shared.silent.send_replace(true);
    }

    /// Lets connections come about again, and pass what they hold.
    pub fn mend(&self) {
        self.shared.up.store(true, Ordering::SeqCst);
        self.shared.silent.send_replace(false);
    }

    /// Loses the next COMMIT of this kind, or its answer, and ends every connection with it. Resolves when that happened.
    pub fn lose(&self, of: Transaction, lost: Lost) -> impl Future<Output = ()> + use<> {
        let (sprung, waiting) = oneshot::channel();
        *self.shared.trap.lock().unwrap() = Some(Trap { of, lost, sprung });
        async { waiting.await.unwrap() }
    }
}

impl Shared {
    fn end_all(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Waits until something may pass.
    async fn passes(&self) {
        // Whoever could say so is here as long as we are.
        let mut silent = self.silent.subscribe();
        let _passes = silent.wait_for(|silent| !silent).await.is_ok();
    }

    fn trap_for(&self, of: Transaction) -> Option<Trap> {
        self.trap.lock().unwrap().take_if(|trap| trap.of == of)
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        if shared.up.load(Ordering::SeqCst) {
            tokio::spawn(connect(client, Arc::clone(&shared)));
        }
    }
}

async fn connect(client: TcpStream, shared: Arc<Shared>) {
    let mut cuts = shared.cuts.subscribe();
    let Ok(database) = TcpStream::connect(&shared.database).await else { return };
    for stream in [&client, &database] {
        // A message goes on as it came, and does not wait for the next.
        let _undelayed = stream.set_nodelay(true);
    }
    let (from_client, mut to_client) = client.into_split();
    let (mut from_database, to_database) = database.into_split();
    let sprung = Arc::new(AtomicBool::new(false));
    let (carried_out, passing) = (Arc::clone(&sprung), Arc::clone(&shared));
    let answers = async {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let read = from_database.read(&mut buffer).await;
            passing.passes().await;
            match read {
                Ok(0) | Err(_) => return,
                // What the database says after the trap was sprung is its answer to the COMMIT: it is carried out.
                Ok(_) if carried_out.load(Ordering::SeqCst) => return,
                Ok(read) if to_client.write_all(&buffer[..read]).await.is_err() => return,
                Ok(_) => {}
            }
        }
    };
    let watch = Watch { from_client, to_database, shared: Arc::clone(&shared), known: HashSet::new(), of: None };
    tokio::select! {
        () = answers => {}
        // It ends when the client does, and never after a trap: then the answers do.
        () = watch.run(&sprung) => {}
        _cut = cuts.changed() => {}
    }
    if sprung.load(Ordering::SeqCst) {
        shared.end_all();
    }
}

/// What the client says, message by message (PostgreSQL documentation, "Message Formats").
struct Watch {
    from_client: OwnedReadHalf,
    to_database: OwnedWriteHalf,
    shared: Arc<Shared>,
    /// The names of prepared statements that only one kind of transaction has.
    known: HashSet<(Transaction, Vec<u8>)>,
    of: Option<Transaction>,
}

impl Watch {
    async fn run(mut self, sprung: &AtomicBool) {
        // The first messages have no type: perhaps a request for TLS, which this database declines, then the start-up.
        loop {
            match self.forward_untyped().await {
                Some(START_UP) => break,
                Some(_) => {}
                None => return,
            }
        }
        while let Some(message) = self.message().await {
            self.shared.passes().await;
            let (kind, body) = (message[0], &message[5..]);
            match kind {
                b'P' => self.prepared(body),
                b'B' => self.bound(body),
                _ => {}
            }
            if kind == b'Q'
                && body == b"COMMIT\0"
                && let Some(trap) = self.of.take().and_then(|of| self.shared.trap_for(of))
            {
                if trap.lost == Lost::Commit {
                    trap.sprung.send(()).unwrap();
                    self.shared.end_all();
                    return;
                }
                sprung.store(true, Ordering::SeqCst);
                self.to_database.write_all(&message).await.unwrap();
                trap.sprung.send(()).unwrap();
                // The database's answer ends the connection, from the other side.
                std::future::pending::<()>().await;
            }
            if self.to_database.write_all(&message).await.is_err() {
                return;
            }
        }
    }

    /// Forwards a message without a type, and answers its first number.
    async fn forward_untyped(&mut self) -> Option<u32> {
        let length = self.from_client.read_u32().await.ok()?;
        let mut rest = vec![0; usize::try_from(length).ok()?.checked_sub(4)?];
        self.from_client.read_exact(&mut rest).await.ok()?;
        self.shared.passes().await;
        self.to_database.write_all(&[&length.to_be_bytes()[..], &rest].concat()).await.ok()?;
        rest.first_chunk().map(|code| u32::from_be_bytes(*code))
    }

    async fn message(&mut self) -> Option<Vec<u8>> {
        let mut message = vec![0; 5];
        self.from_client.read_exact(&mut message).await.ok()?;
        let length = u32::from_be_bytes(message[1..5].try_into().unwrap());
        message.resize(usize::try_from(length).unwrap() + 1, 0);
        self.from_client.read_exact(&mut message[5..]).await.ok()?;
        Some(message)
    }

    /// Parse: name and text of a statement.
    fn prepared(&mut self, body: &[u8]) {
        let mut parts = body.split(|byte| *byte == 0);
        let (name, text) = (parts.next().unwrap(), String::from_utf8_lossy(parts.next().unwrap()));
        let of = if text.contains("INTO control_changes") {
            Transaction::Change
        } else if text.contains("INTO audit_records") {
            Transaction::Records
        } else {
            return;
        };
        self.known.insert((of, name.to_vec()));
    }

    /// Bind: name of a portal, name of a statement.
    fn bound(&mut self, body: &[u8]) {
        let name = body.split(|byte| *byte == 0).nth(1).unwrap().to_vec();
        for of in [Transaction::Change, Transaction::Records] {
            if self.known.contains(&(of, name.clone())) {
                self.of = Some(of);
            }
        }
    }
}
