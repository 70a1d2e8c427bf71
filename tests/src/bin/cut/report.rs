//! What a run found: evidence from clients, administrators, servers and the database put together, judged, and told in a few
//! lines, of which the last one counts.

use std::{
    collections::{BTreeMap, HashMap},
    fmt, fs,
    sync::atomic::Ordering,
};

use kms_client::id::{ChangeId, PrincipalId, RecordId, RequestId};
use sqlx::{Connection as _, PgConnection};

use super::{
    Options,
    asking::{Kind, Ledger},
    clients::{self, Tally, Unwrapped},
    faults::Toll,
    history::{self, Unwrap},
    judge::{Change, Effect, Judge, Nanos, Success, Violation},
    world::World,
};

/// How many violations are printed.
const PRINTED: usize = 20;
/// What a run must bring at least: in a second, answers.
const OPERATIONS: u64 = 50;

/// What a run left behind besides the database and the traces.
pub(crate) struct Evidence {
    pub(crate) seen: Vec<Unwrapped>,
    pub(crate) tally: Tally,
    pub(crate) ledger: Ledger,
    pub(crate) toll: Toll,
}

/// What a run found.
pub(crate) struct Report {
    cuts: BTreeMap<Kind, u64>,
    operations: u64,
    notes: Vec<String>,
    /// Why the run means nothing, or something broke besides.
    wrong: Vec<String>,
    violations: Vec<Violation>,
    /// Of receipts, in order.
    latencies: Vec<Nanos>,
}

/// The servers' traces.
#[derive(Default)]
struct Traces {
    /// By request: the node, the revision and the moment.
    flushed: HashMap<RequestId, (usize, u64, Nanos)>,
    complete: HashMap<ChangeId, Nanos>,
    torn: usize,
}

impl Report {
    /// Judges what the nodes, which are gone by now, did.
    pub(crate) async fn of(world: &World, evidence: Evidence, options: &Options) -> Self {
        let url = fs::read_to_string(world.stopped.folder().join("postgres-url")).unwrap();
        let mut database = PgConnection::connect(url.trim()).await.unwrap();
        let traces = Traces::read(world);
        let receipts = evidence.ledger.receipts();
        let changes: Vec<_> = history::revisions(&mut database)
            .await
            .into_iter()
            .map(|revision| {
                let held = receipts.get(&revision.id);
                let restores = revision.turned.iter().any(|(_, effect)| *effect == Effect::Restored);
                // What was asked for in vain may have happened at any time since.
                let asked = held.map(|held| held.asked).or(evidence.ledger.first_lost().filter(|_| restores));
                Change {
                    revision: revision.number,
                    acknowledged: traces.complete.get(&revision.id).copied(),
                    asked,
                    held: held.map(|held| held.held),
                    turned: revision.turned,
                }
            })
            .collect();
        let unwraps = history::unwraps(&mut database).await;
        database.close().await.unwrap();

        let mut latencies: Vec<_> = receipts.values().map(|held| held.held - held.asked).collect();
        latencies.sort_unstable();
        let mut report = Self {
            cuts: evidence.ledger.cuts(),
            operations: evidence.tally.answers.load(Ordering::Relaxed),
            notes: Vec::new(),
            wrong: world.nodes.iter().flat_map(super::node::Node::wrong).collect(),
            violations: Vec::new(),
            latencies,
        };
        report.account(world, &evidence, &traces, &changes);
        report.judge(world, &evidence.seen, &traces, &unwraps, &Judge::new(changes));
        report.weigh(&evidence, &traces, options);
        report
    }

    /// Whether nothing was violated, and the run means something.
    pub(crate) fn holds(&self) -> bool {
        self.violations.is_empty() && self.wrong.is_empty()
    }

    fn account(&mut self, world: &World, evidence: &Evidence, traces: &Traces, changes: &[Change]) {
        let kinds: Vec<_> = self.cuts.iter().map(|(kind, times)| format!("{kind:?} {times}")).collect();
        let restorations = evidence.ledger.restorations();
        self.notes.push(format!("cuts: {}; restorations {restorations}", kinds.join(", ")));
        let refusals = evidence.tally.refusals.lock().unwrap();
        let refusals: Vec<_> = refusals.iter().map(|(code, times)| format!("{code} {times}")).collect();
        self.notes.push(format!("successes {}, refusals: {}", evidence.seen.len(), refusals.join(", ")));
        self.notes.push(format!(
            "revisions {}, receipts {}, naming a silent node {}, requests for changes without an answer {}",
            changes.len(),
            self.latencies.len(),
            evidence.ledger.expired(),
            evidence.ledger.lost(),
        ));
        let kills: usize = world.nodes.iter().map(super::node::Node::kills).sum();
        self.notes.push(format!(
            "traced: successes {}, receipts {}, torn lines {}; servers that ended by force {kills}",
            traces.flushed.len(),
            traces.complete.len(),
            traces.torn,
        ));
        if !evidence.toll.times.is_empty() {
            let faults: Vec<_> =
                evidence.toll.times.iter().map(|(fault, times)| format!("{fault:?} {times}")).collect();
            self.notes.push(format!("faults: {}", faults.join(", ")));
        }
        self.wrong.extend(evidence.toll.lost.iter().cloned());
        self.wrong.extend(evidence.ledger.surprises());
    }

    /// Every success that a client saw, and every one that left a server.
    fn judge(
        &mut self,
        world: &World,
        seen: &[Unwrapped],
        traces: &Traces,
        unwraps: &HashMap<RequestId, Vec<Unwrap>>,
        judge: &Judge,
    ) {
        let readers: HashMap<PrincipalId, _> = world.readers.iter().map(|reader| (reader.id, reader)).collect();
        let requests: HashMap<RecordId, RequestId> =
            unwraps.iter().flat_map(|(request, all)| all.iter().map(|unwrap| (unwrap.record, *request))).collect();
        let mut by_request: HashMap<RequestId, &Unwrapped> = HashMap::new();
        for unwrapped in seen {
            match requests.get(&unwrapped.record) {
                Some(request) => drop(by_request.insert(*request, unwrapped)),
                None => self.wrong.push(format!("{unwrapped:?} has no record in the log")),
            }
        }
        let all =
            traces.flushed.keys().chain(by_request.keys().filter(|request| !traces.flushed.contains_key(request)));
        for request in all {
            let (left, unwrapped) = (traces.flushed.get(request), by_request.get(request));
            let items = unwraps.get(request).map_or(&[][..], Vec::as_slice);
            let mut rules: Vec<_> = items
                .iter()
                .filter_map(|item| Some((readers.get(&item.principal)?, item)))
                .flat_map(|(reader, item)| clients::rules(reader, item.key, item.version, item.credential))
                .chain(unwrapped.iter().flat_map(|unwrapped| unwrapped.rules(world)))
                .collect();
            rules.sort_unstable();
            rules.dedup();
            let success = Success {
                request: Some(*request),
                node: left.map(|(node, ..)| *node).or(unwrapped.map(|it| it.node)).unwrap_or_default(),
                rules,
                seen: unwrapped.map(|it| (it.sent, it.answered)),
                left: left.map(|(_, revision, at)| (*revision, *at)),
                withheld: items.iter().any(|item| item.withheld),
                killed: unwrapped.is_some_and(|it| world.nodes[it.node].was_killed_after(it.sent, it.answered)),
            };
            if let Some(broken) = judge.broken(&success) {
                self.violations.push(Violation { success, broken });
            }
        }
        self.violations.sort_by_key(|violation| {
            let Success { seen, left, .. } = &violation.success;
            (violation.broken.name(), left.map(|(_, at)| at).or(seen.map(|(sent, _)| sent)))
        });
        let mut kinds: BTreeMap<_, u64> = BTreeMap::new();
        for violation in &self.violations {
            *kinds.entry(violation.broken.name()).or_default() += 1;
        }
        if !kinds.is_empty() {
            let kinds: Vec<_> = kinds.iter().map(|(kind, times)| format!("{kind} {times}")).collect();
            self.notes.push(format!("violations: {}", kinds.join(", ")));
        }
    }

    /// Whether so much happened that the absence of violations says something.
    fn weigh(&mut self, evidence: &Evidence, traces: &Traces, options: &Options) {
        let seconds = options.seconds;
        let mut demand = |enough: bool, what: String| {
            if !enough {
                self.wrong.push(format!("this run means little: {what}"));
            }
        };
        let (cuts, restorations) = (self.cuts.values().sum::<u64>(), evidence.ledger.restorations());
        let enough = cuts + restorations >= options.changes();
        demand(enough, format!("{cuts} cuts and {restorations} restorations"));
        demand(self.operations >= OPERATIONS * seconds, format!("{} operations in {seconds} s", self.operations));
        for kind in Kind::ALL {
            demand(seconds < 20 || self.cuts.contains_key(&kind), format!("no cut of kind {kind:?}"));
        }
        let refusals = evidence.tally.refusals.lock().unwrap();
        demand(refusals.contains_key("not_permitted"), "nobody ran into a cut".to_owned());
        demand(!evidence.seen.is_empty(), "nobody unwrapped anything".to_owned());
        demand(traces.complete.len() >= self.latencies.len() / 2, "the servers wrote of few receipts".to_owned());
        let faults = evidence.toll.times.values().sum::<u32>();
        demand(!options.faults || u64::from(faults) * 15 >= seconds, format!("{faults} faults in {seconds} s"));
    }

    /// The latency that so many of a hundred receipts did not exceed, in milliseconds.
    fn percentile(&self, share: usize) -> f64 {
        let place = (self.latencies.len() * share).div_ceil(100).saturating_sub(1);
        let nanos = self.latencies.get(place).copied().unwrap_or_default();
        std::time::Duration::from_nanos(nanos).as_secs_f64() * 1e3
    }
}

impl Traces {
    fn read(world: &World) -> Self {
        let mut traces = Self::default();
        for node in &world.nodes {
            for line in fs::read_to_string(node.trace()).unwrap_or_default().lines() {
                if traces.add(node.number, line).is_none() {
                    traces.torn += 1;
                }
            }
        }
        traces
    }

    fn add(&mut self, node: usize, line: &str) -> Option<()> {
        let mut words = line.split(' ');
        let (what, id) = (words.next()?, words.next()?);
        let (revision, at) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        match what {
            "flush" => drop(self.flushed.insert(id.parse().ok()?, (node, revision, at))),
            "receipt" => drop(self.complete.insert(id.parse().ok()?, at)),
            _ => return None,
        }
        Some(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for note in &self.notes {
            writeln!(f, "{note}")?;
        }
        for violation in self.violations.iter().take(PRINTED) {
            writeln!(f, "violation: {violation}")?;
        }
        if self.violations.len() > PRINTED {
            writeln!(f, "and {} more", self.violations.len() - PRINTED)?;
        }
        for wrong in self.wrong.iter().take(PRINTED) {
            writeln!(f, "wrong: {wrong}")?;
        }
        let (cuts, operations, violations) = (self.cuts.values().sum::<u64>(), self.operations, self.violations.len());
        let (half, most, all) = (self.percentile(50), self.percentile(99), self.percentile(100));
        writeln!(
            f,
            "cuts {cuts}, operations {operations}, violations {violations}, p50 {half:.1} p99 {most:.1} max {all:.1} ms"
        )
    }
}
