//! What goes wrong while the load runs: one thing at a time, at one node, but for the database, which is everybody's. After
//! each the node must come back and serve.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use keyward_tests::{Chance, Dial};
use kms_client::wire::batch::Batch;
use nix::sys::signal::Signal;
use tokio::{
    io::AsyncWriteExt as _,
    net::TcpSocket,
    process::Command,
    sync::watch,
    time::{sleep, timeout},
};

use super::{node::Node, world::World};

/// How long a lease lasts, unless configured otherwise.
const LEASE: u64 = 3_000;
/// By when a node must serve after a fault.
const BACK: Duration = Duration::from_secs(30);
/// How many unwraps a client that does not read asks for at once, how often, and on how many connections.
const ITEMS: usize = 1_000;
const REQUESTS: usize = 24;
const DEAF: usize = 3;

/// What can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// SIGSTOP, and SIGCONT before a lease has passed.
    ShortStop,
    /// SIGSTOP, and SIGCONT after: it wakes up with answers in its hands.
    LongStop,
    /// `kill -9`.
    Kill,
    /// Its connections to the database end, and no new ones come about.
    Partition,
    /// Nothing passes between it and the database; what was sent arrives when that is over.
    Silence,
    /// PostgreSQL is restarted, in order or not.
    Restart,
    /// Its wall clock is set, and later set right.
    Clock,
    /// Clients send unwraps and do not read.
    DeafClients,
}

const ALL: [Fault; 8] = [
    Fault::ShortStop,
    Fault::LongStop,
    Fault::Kill,
    Fault::Partition,
    Fault::Silence,
    Fault::Restart,
    Fault::Clock,
    Fault::DeafClients,
];

/// What happened.
#[derive(Debug, Default)]
pub(crate) struct Toll {
    pub(crate) times: BTreeMap<Fault, u32>,
    /// Nodes that did not come back.
    pub(crate) lost: Vec<String>,
}

/// Causes one fault after the other until it is over. Each kind comes once before any comes again.
pub(crate) async fn cause(world: &World, chance: &mut Chance, over: &watch::Receiver<bool>) -> Toll {
    let (mut toll, mut deck) = (Toll::default(), Vec::new());
    let database = database();
    if database.is_none() {
        println!("the PostgreSQL of KEYWARD_TEST_POSTGRES is not this run's own, so it is not restarted");
    }
    while !*over.borrow() {
        if deck.is_empty() {
            deck = ALL.iter().copied().filter(|fault| *fault != Fault::Restart || database.is_some()).collect();
        }
        let fault = deck.swap_remove(below(chance, deck.len()));
        let number = if fault == Fault::Clock { 0 } else { below(chance, world.nodes.len()) };
        let node = &world.nodes[number];
        let started = Instant::now();
        let what = happen(world, node, fault, database.as_deref(), chance).await;
        *toll.times.entry(fault).or_default() += 1;
        let back = Instant::now();
        for node in world.nodes.iter().filter(|node| fault == Fault::Restart || node.number == number) {
            if timeout(BACK, serves(world, node)).await.is_err() {
                toll.lost.push(format!("node {} does not serve {BACK:?} after: {what}", node.number));
            }
            node.recovered();
        }
        println!("{what}, for {:.1?}; serving {:.1?} later", back - started, back.elapsed());
        sleep(Duration::from_millis(chance.below(800))).await;
    }
    toll
}

async fn happen(world: &World, node: &Node, fault: Fault, database: Option<&Path>, chance: &mut Chance) -> String {
    let number = node.number;
    let mut a_while = |least: u64, most: u64| sleep(Duration::from_millis(least + chance.below(most - least)));
    match fault {
        Fault::ShortStop | Fault::LongStop => {
            let pause =
                if fault == Fault::ShortStop { a_while(50, LEASE - 500) } else { a_while(LEASE + 200, 2 * LEASE) };
            node.signal(Signal::SIGSTOP);
            pause.await;
            node.signal(Signal::SIGCONT);
            format!("node {number} stopped")
        }
        Fault::Kill => {
            node.signal(Signal::SIGKILL);
            let mut api = node.api.subscribe();
            let _gone = timeout(BACK, api.wait_for(Option::is_none)).await;
            format!("node {number} killed")
        }
        Fault::Partition | Fault::Silence => {
            let proxy = node.proxy.as_ref().unwrap();
            if fault == Fault::Partition {
                proxy.cut();
            } else {
                proxy.silence();
            }
            a_while(100, 2 * LEASE).await;
            proxy.mend();
            format!("node {number} without the database ({fault:?})")
        }
        Fault::Restart => {
            let mode = if chance.one_in(2) { "fast" } else { "immediate" };
            let mut command = Command::new(database.unwrap());
            let restarted = command.arg(mode).kill_on_drop(true).status().await.unwrap();
            assert!(restarted.success(), "PostgreSQL does not restart: {restarted}");
            format!("PostgreSQL restarted ({mode})")
        }
        Fault::Clock => {
            let seconds = i64::try_from(60 + chance.below(30 * 86_400)).unwrap();
            let ahead = if chance.one_in(2) { seconds } else { -seconds };
            let time = node.time.as_ref().unwrap();
            time.ahead_of_real(ahead);
            sleep(Duration::from_millis(500 + chance.below(2_500))).await;
            time.ahead_of_real(0);
            format!("the clock of node {number} set by {ahead} s")
        }
        Fault::DeafClients => {
            for _ in 0..DEAF {
                let (world, reader) = (world, below(chance, world.readers.len()));
                let patience = Duration::from_millis(300 + chance.below(1_500));
                let _full = timeout(patience, deaf(world, node, reader)).await;
            }
            format!("clients of node {number} did not read")
        }
    }
}

/// Sends large requests and never reads. It ends only with its connection.
async fn deaf(world: &World, node: &Node, reader: usize) -> std::io::Result<()> {
    let Some(api) = node.api.borrow().clone() else { return Ok(()) };
    let reader = &world.readers[reader];
    let leaf = reader.proof.read().unwrap().leaf.clone();
    let target = reader.targets.read().unwrap()[0].clone();
    let body = serde_json::to_string(&Batch { items: vec![target.unwrap; ITEMS] }).unwrap();
    let head = "POST /v1/data-keys/unwrap/batch HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
    let request = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(4096)?;
    let stream = socket.connect(api.parse::<SocketAddr>().unwrap()).await?;
    let dial = Dial { leaf: Some(&leaf), ..Dial::default() };
    let mut stream = world.stopped.identities.dial_over(stream, dial).await?;
    for _ in 0..REQUESTS {
        stream.write_all(request.as_bytes()).await?;
        stream.flush().await?;
    }
    std::future::pending().await
}

async fn serves(world: &World, node: &Node) {
    loop {
        let api = node.api.borrow().clone();
        if let Some(api) = api
            && matches!(timeout(Duration::from_secs(2), world.serves(&api)).await, Ok(true))
        {
            return;
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// What restarts the database, where it is this run's own.
fn database() -> Option<PathBuf> {
    std::env::var_os("KEYWARD_TEST_POSTGRES_DATA")?;
    Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/restart-postgres.sh"))
}

fn below(chance: &mut Chance, limit: usize) -> usize {
    usize::try_from(chance.below(limit as u64)).unwrap()
}
