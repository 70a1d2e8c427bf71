//! The load: so many connections, each of which sends its next request as soon as the last one is answered. It all runs
//! on one thread, sends bytes made beforehand, and reads of an answer only its status, its length and the words sought.

use std::{
    cell::Cell,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::{JoinSet, LocalSet},
    time::sleep,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{Result, calls::Call, machine::Usage, server::Server};

/// How long a figure takes.
pub struct Pace {
    /// Load before anything counts.
    pub warm_up: Duration,
    /// Load that counts.
    pub measured: Duration,
}

/// What was found.
pub struct Figures {
    /// Requests answered per second.
    pub rate: f64,
    /// Half of the answers took no longer, in milliseconds.
    pub p50_ms: f64,
    /// 99 of 100 answers took no longer, in milliseconds.
    pub p99_ms: f64,
    /// CPU time of the server for one request, in microseconds.
    pub cpu_us: f64,
    /// CPU time of the load for one request, in microseconds.
    pub load_us: f64,
    /// How many cores something else kept busy.
    pub elsewhere: f64,
    /// The place of a call, and the body of an answer to it.
    pub sample: (usize, Vec<u8>),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    WarmUp,
    Measured,
    Over,
}

/// What one connection saw.
#[derive(Default)]
struct Seen {
    latencies: Vec<Duration>,
    sample: Option<(usize, Vec<u8>)>,
}

/// One connection, spoken by hand.
struct Connection {
    stream: TlsStream<TcpStream>,
    received: Vec<u8>,
}

/// Puts load on the server, and measures.
pub async fn run(server: &Server, calls: &Rc<[Call]>, connections: usize, pace: &Pace) -> Result<Figures> {
    LocalSet::new().run_until(measure(server, calls, connections, pace)).await
}

async fn measure(server: &Server, calls: &Rc<[Call]>, connections: usize, pace: &Pace) -> Result<Figures> {
    let tls = server.tls()?;
    let phase = Rc::new(Cell::new(Phase::WarmUp));
    let mut opened = Vec::new();
    for _ in 0..connections {
        opened.push(Connection::open(server, &tls).await?);
    }
    let mut tasks = JoinSet::new();
    for (number, connection) in opened.into_iter().enumerate() {
        // Each begins elsewhere in the round.
        let start = number * calls.len() / connections;
        tasks.spawn_local(closed_loop(connection, Rc::clone(calls), start, Rc::clone(&phase)));
    }

    wait(pace.warm_up, &mut tasks).await?;
    phase.set(Phase::Measured);
    let before = Usage::now(server.id())?;
    wait(pace.measured, &mut tasks).await?;
    phase.set(Phase::Over);
    let used = before.until_now(server.id())?;

    let mut all = Seen::default();
    while let Some(ended) = tasks.join_next().await {
        all.add(ended??);
    }
    all.figures(&used)
}

/// Waits while every connection goes on.
async fn wait(time: Duration, tasks: &mut JoinSet<Result<Seen>>) -> Result<()> {
    tokio::select! {
        () = sleep(time) => Ok(()),
        // None ends before it is told to, unless something went wrong.
        ended = tasks.join_next() => Err(match ended {
            Some(ended) => ended?.err().unwrap_or_else(|| "a connection ended early".into()),
            None => "there is no connection".into(),
        }),
    }
}

async fn closed_loop(
    mut connection: Connection,
    calls: Rc<[Call]>,
    start: usize,
    phase: Rc<Cell<Phase>>,
) -> Result<Seen> {
    let mut seen = Seen::default();
    for (place, call) in calls.iter().enumerate().cycle().skip(start) {
        let sent = Instant::now();
        let body = connection.exchange(&call.request).await?;
        let latency = sent.elapsed();
        if !call.is_answered_by(body) {
            return Err(format!("an answer is not as it should be: {}", String::from_utf8_lossy(body)).into());
        }
        match phase.get() {
            Phase::WarmUp => {}
            Phase::Measured => {
                seen.latencies.push(latency);
                if seen.sample.is_none() {
                    seen.sample = Some((place, body.to_vec()));
                }
            }
            Phase::Over => break,
        }
    }
    Ok(seen)
}

impl Seen {
    fn add(&mut self, other: Self) {
        self.latencies.extend(other.latencies);
        self.sample = self.sample.take().or(other.sample);
    }

    fn figures(mut self, used: &Usage) -> Result<Figures> {
        let count = self.latencies.len();
        self.latencies.sort_unstable();
        let least = |share: usize| self.latencies.get((count * share).div_ceil(100).saturating_sub(1));
        let (Some(p50), Some(p99)) = (least(50), least(99)) else { return Err("nothing was answered in time".into()) };
        let requests = f64::from(u32::try_from(count)?);
        Ok(Figures {
            rate: requests / used.elapsed.as_secs_f64(),
            p50_ms: p50.as_secs_f64() * 1e3,
            p99_ms: p99.as_secs_f64() * 1e3,
            cpu_us: used.server.as_secs_f64() * 1e6 / requests,
            load_us: used.load.as_secs_f64() * 1e6 / requests,
            elsewhere: used.elsewhere(),
            sample: self.sample.ok_or("nothing was answered in time")?,
        })
    }
}

impl Connection {
    async fn open(server: &Server, tls: &Arc<ClientConfig>) -> Result<Self> {
        let stream = TcpStream::connect(server.api).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::from(server.api.ip());
        let stream = TlsConnector::from(Arc::clone(tls)).connect(name, stream).await?;
        Ok(Self { stream, received: Vec::with_capacity(64 * 1024) })
    }

    /// Sends a request and answers the body of its answer. Any status but 200 is an error.
    async fn exchange(&mut self, request: &[u8]) -> Result<&[u8]> {
        self.stream.write_all(request).await?;
        self.stream.flush().await?;
        self.received.clear();
        loop {
            if self.stream.read_buf(&mut self.received).await? == 0 {
                return Err("the server closed a connection".into());
            }
            let Some(body) = find(&self.received, b"\r\n\r\n").map(|end| end + 4) else { continue };
            if !self.received.starts_with(b"HTTP/1.1 200 ") {
                return Err(format!("the server answered: {}", String::from_utf8_lossy(&self.received)).into());
            }
            let end = body + content_length(&self.received[..body])?;
            if self.received.len() >= end {
                return Ok(&self.received[body..end]);
            }
        }
    }
}

fn content_length(head: &[u8]) -> Result<usize> {
    let name = b"content-length: ";
    let start = find(head, name).ok_or("an answer does not say how long it is")? + name.len();
    let length = head[start..].split(|byte| *byte == b'\r').next().unwrap_or_default();
    Ok(std::str::from_utf8(length)?.parse()?)
}

fn find(bytes: &[u8], sought: &[u8]) -> Option<usize> {
    bytes.windows(sought.len()).position(|window| window == sought)
}
