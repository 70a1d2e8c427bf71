//! Kills a real server by `kill -9` at random moments under load, again and again, and asks after each kill whether
//! anything that was acknowledged is lost: a record, a key, a version, a wrapped data key, a revocation, a receipt.
#![expect(clippy::disallowed_methods, reason = "random moments are waited for")]

mod check;
mod ledger;
mod load;

use std::{process::ExitCode, time::Duration};

use clap::Parser;
use keyward_tests::{Backend, Chance, StoppedKms, TestKms};

use self::ledger::Ledger;

/// Kills the server under load and counts what was lost.
#[derive(Debug, Parser)]
#[command(name = "tests/run.sh crash")]
struct Options {
    /// How often.
    #[arg(long, value_name = "NUMBER", default_value_t = 20)]
    kills: u32,
    /// Repeat the run of this seed, as far as the machine allows.
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Options { kills, seed } = Options::parse();
    let mut chance = Chance::new(seed);
    println!("seed {}", chance.seed());
    let (mut acknowledged, mut lost) = (0, Vec::new());
    for (backend, kills) in [(Backend::Sqlite, kills.div_ceil(2)), (Backend::Postgres, kills / 2)] {
        if kills == 0 {
            continue;
        }
        let mut stopped = installation(backend).await;
        let mut ledger = Ledger::default();
        for kill in 1..=kills {
            let before = ledger.acknowledged();
            round(&stopped, &mut ledger, &mut chance).await;
            let (again, missing) = check::what_is_lost(stopped, &ledger).await;
            stopped = again;
            println!(
                "{backend:?}, kill {kill}: {} acknowledged, {} lost",
                ledger.acknowledged() - before,
                missing.len()
            );
            lost.extend(missing);
        }
        acknowledged += ledger.acknowledged();
    }
    for what in &lost {
        println!("lost: {what}");
    }
    println!("kills {kills}, acknowledged {acknowledged}, lost {}", lost.len());
    if lost.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// An installation with two administrators, and nothing in it yet.
async fn installation(backend: Backend) -> StoppedKms {
    TestKms::start(backend).await.stop().await
}

/// One life of a server: sometimes it is killed before it serves, else under load.
async fn round(stopped: &StoppedKms, ledger: &mut Ledger, chance: &mut Chance) {
    if chance.one_in(5) {
        let patience = Duration::from_millis(chance.below(400));
        if let Ok(Ok(server)) = tokio::time::timeout(patience, stopped.process(None)).await {
            server.kill().await;
        }
    }
    let server = stopped.process(None).await.unwrap_or_else(|ended| panic!("it does not start: {ended:?}"));
    load::until_killed(stopped, server, ledger, chance).await;
}
