//! What Linux says of processor time, and of the machine.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use super::Result;

/// Processor time since some beginning, or between two moments.
pub struct Usage {
    taken: Instant,
    /// Between two moments: what lies between them.
    pub elapsed: Duration,
    /// The server's.
    pub server: Duration,
    /// This process's.
    pub load: Duration,
    /// Everybody's.
    machine: Duration,
}

impl Usage {
    /// Up to now.
    pub fn now(server: u32) -> Result<Self> {
        Ok(Self {
            taken: Instant::now(),
            elapsed: Duration::ZERO,
            server: process(server)?,
            load: process(std::process::id())?,
            machine: machine()?,
        })
    }

    /// What was used since.
    pub fn until_now(self, server: u32) -> Result<Self> {
        let now = Self::now(server)?;
        Ok(Self {
            taken: now.taken,
            elapsed: now.taken.duration_since(self.taken),
            server: now.server.saturating_sub(self.server),
            load: now.load.saturating_sub(self.load),
            machine: now.machine.saturating_sub(self.machine),
        })
    }

    /// How many cores others kept busy.
    pub fn elsewhere(&self) -> f64 {
        let others = self.machine.saturating_sub(self.server).saturating_sub(self.load);
        others.as_secs_f64() / self.elapsed.as_secs_f64()
    }
}

/// A process's time on a processor: its threads' in nanoseconds where the kernel keeps that, or else in clock ticks. A
/// thread's time is lost when it ends, so the larger of the two is the truer one.
fn process(id: u32) -> Result<Duration> {
    Ok(ticks(id)?.max(threads(id).unwrap_or_default()))
}

/// proc(5), `/proc/pid/stat`: fields 14 and 15 are user and system time.
fn ticks(id: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat"))?;
    // The second field is a name in brackets, with anything in it.
    let (_, rest) = stat.rsplit_once(')').ok_or("/proc/pid/stat is not as proc(5) says")?;
    let fields: Vec<_> = rest.split_whitespace().collect();
    let ticks: u64 = fields.get(11..13).unwrap_or_default().iter().filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(ticks * MILLISECONDS_PER_TICK))
}

/// The first number of a thread's `schedstat` is its time on a processor, in nanoseconds.
fn threads(id: u32) -> Option<Duration> {
    let mut sum = 0;
    for thread in fs::read_dir(format!("/proc/{id}/task")).ok()? {
        // One that ended meanwhile has none.
        let Ok(times) = fs::read_to_string(thread.ok()?.path().join("schedstat")) else { continue };
        sum += times.split_whitespace().next()?.parse::<u64>().ok()?;
    }
    Some(Duration::from_nanos(sum))
}

/// proc(5), `/proc/stat`: user, nice, system, idle, iowait, irq, softirq, steal; guests' time is in user's already.
fn machine() -> Result<Duration> {
    let stat = fs::read_to_string("/proc/stat")?;
    let all = stat.lines().next().unwrap_or_default().split_whitespace().skip(1);
    let ticks = all.take(8).enumerate().filter(|(place, _)| ![3, 4].contains(place));
    let busy: u64 = ticks.filter_map(|(_, ticks)| ticks.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(busy * MILLISECONDS_PER_TICK))
}

/// Processors and what is on them.
pub fn processors() -> String {
    let model = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = model.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split_whitespace().next().unwrap_or("?").to_owned();
    format!("{count} x {}, load average {load} before", model.trim_start_matches([' ', '\t', ':']))
}

/// The file system that a folder is on.
pub fn file_system(folder: &Path) -> Result<String> {
    let folder = folder.canonicalize()?;
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let mounts = mounts.lines().filter_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        Some((Path::new(fields.next()?), fields.next()?))
    });
    let innermost =
        mounts.filter(|(place, _)| folder.starts_with(place)).max_by_key(|(place, _)| place.as_os_str().len());
    Ok(innermost.map_or("?", |(_, kind)| kind).to_owned())
}

/// `USER_HZ` is 100 on every platform that Linux gives to programs.
const MILLISECONDS_PER_TICK: u64 = 10;
