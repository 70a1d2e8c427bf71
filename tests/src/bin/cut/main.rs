//! Cuts access again and again, of every kind, while 32 services unwrap through several real servers as fast as they can,
//! and asks afterwards whether anything was done that a receipt said could not be done any more.
#![expect(clippy::disallowed_methods, reason = "a run lasts as long as it is told to, and what waits is the machine")]

mod asking;
mod changes;
mod clients;
mod faults;
mod history;
mod judge;
mod node;
mod report;
mod world;

use std::{process::ExitCode, time::Duration};

use clap::Parser;
use futures_util::future::join_all;
use keyward_tests::Chance;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use self::{
    asking::Ledger,
    clients::Tally,
    faults::Toll,
    report::{Evidence, Report},
    world::World,
};

/// So many cuts and restorations a run must bring.
const CHANGES: u64 = 200;

/// Cuts access under load and looks for what came too late.
#[derive(Debug, Parser)]
#[command(name = "tests/run.sh cut")]
struct Options {
    /// For how long at least: a slow machine takes longer until the run means something.
    #[arg(long, value_name = "NUMBER", default_value_t = 60)]
    seconds: u64,
    /// Stop, kill, partition and confuse nodes meanwhile.
    #[arg(long)]
    faults: bool,
    /// How many servers.
    #[arg(long, value_name = "NUMBER", default_value_t = 3)]
    nodes: usize,
    /// Repeat the choices of this seed, as far as the machine allows.
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
}

impl Options {
    /// How many cuts and restorations a run must bring: 200, or what a shorter run can. While the only node is away, nothing can be
    /// changed.
    fn changes(&self) -> u64 {
        let share = if self.faults && self.nodes == 1 { 2 } else { 1 };
        CHANGES.min(CHANGES * self.seconds / 60) / share
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    let mut chance = Chance::new(options.seed);
    println!("seed {}", chance.seed());
    let world = World::make(options.nodes, options.faults).await;
    let (leave, leaving) = watch::channel(false);
    let nodes = join_all(world.nodes.iter().map(|node| node.keep(leaving.clone())));
    let run = async {
        let evidence = run(&world, &options, &mut chance).await;
        leave.send_replace(true);
        evidence
    };
    let (_, evidence) = tokio::join!(nodes, run);
    let report = Report::of(&world, evidence, &options).await;
    print!("{report}");
    if report.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Load, cuts and faults for as long as was asked for: the faults end first, then the cuts, then the load.
async fn run(world: &World, options: &Options, chance: &mut Chance) -> Evidence {
    for node in &world.nodes {
        node.started().await;
    }
    let (tally, ledger) = (Tally::default(), Ledger::default());
    let (stop_faults, faults_stopped) = watch::channel(false);
    let (stop_cuts, cuts_stopped) = watch::channel(false);
    let (stop_load, load_stopped) = watch::channel(false);
    let mut chances = [chance.fork(), chance.fork(), chance.fork()];
    let [for_load, for_cuts, for_faults] = &mut chances;
    let load = clients::work(world, &tally, for_load, &load_stopped);
    let cuts = async {
        changes::make(world, &ledger, for_cuts, &cuts_stopped).await;
        stop_load.send_replace(true);
    };
    let faults = async {
        let mut over = faults_stopped.clone();
        let toll = if options.faults {
            faults::cause(world, for_faults, &over).await
        } else {
            let _over = over.wait_for(|over| *over).await.is_ok();
            Toll::default()
        };
        stop_cuts.send_replace(true);
        toll
    };
    let clock = async {
        sleep(Duration::from_secs(options.seconds)).await;
        // A slow machine needs longer for a run to mean something.
        let enough = async {
            while ledger.changes() < options.changes() {
                sleep(Duration::from_millis(100)).await;
            }
        };
        let _in_the_end = timeout(Duration::from_secs(2 * options.seconds), enough).await;
        stop_faults.send_replace(true);
    };
    let (seen, (), toll, ()) = tokio::join!(load, cuts, faults, clock);
    Evidence { seen, tally, ledger, toll }
}
