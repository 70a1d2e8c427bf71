//! How fast Keyward is beside its HSM: raw `C_Decrypt` in this process, then unwrap and generate over HTTPS against a
//! server process of the release build with everything on, and what a request costs that server. It measures only; it
//! sets no target. Any answer but a good one ends it.
#![expect(clippy::disallowed_methods, reason = "a benchmark measures time and waits for it")]

mod calls;
mod load;
mod machine;
mod raw;
mod report;
mod server;
mod start;

use std::{
    env,
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::Parser;
use keyward_tests::Backend;

use self::{
    calls::Calls,
    load::Pace,
    raw::{Rate, Raw},
    report::{Report, Row, Section},
    server::Server,
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Raw HSM decryption against unwrap and generate over HTTPS.
#[derive(Debug, Parser)]
#[command(name = "tests/run.sh bench")]
struct Options {
    /// 2 seconds for each figure instead of 8, and SQLite only unless `--postgres` is given.
    #[arg(long)]
    quick: bool,
    /// Measure on PostgreSQL too. Without `--quick` it is measured anyway.
    #[arg(long)]
    postgres: bool,
    /// Measure only how long a new node takes to load the control state of a large installation.
    #[arg(long)]
    start: bool,
    /// Write the figures to this file too, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    if cfg!(debug_assertions) {
        return Err("only a release build is worth measuring: run it by tests/run.sh bench".into());
    }
    let pace = if options.quick { QUICK } else { FULL };
    let mut backends = vec![Backend::Sqlite];
    if options.postgres || !options.quick {
        backends.push(Backend::Postgres);
    }

    if options.start {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        return backends.into_iter().try_for_each(|backend| runtime.block_on(start::measure(backend)));
    }

    let binaries = env::current_exe()?.parent().map(Path::to_path_buf).ok_or("this program lies in no folder")?;
    let target = binaries.parent().unwrap_or(&binaries);
    fs::create_dir_all(target.join("bench"))?;
    let folder = tempfile::Builder::new().prefix("run-").tempdir_in(target.join("bench"))?;
    report::conditions(folder.path(), &pace)?;

    // One thread makes all the load, so that as much as possible of the machine is the server's.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let raw = Raw::prepare(&runtime)?;
    let mut before = raw.measure(&pace)?;
    report::raw("before", before);
    let mut sections = Vec::new();
    for backend in backends {
        let folder = folder.path().join(format!("{backend:?}").to_lowercase());
        let rows = runtime.block_on(measure(&binaries.join("kms-server"), &folder, backend, &pace, before))?;
        let after = raw.measure(&pace)?;
        report::raw("after", after);
        sections.push(Section { backend, raw: [before, after], rows });
        before = after;
    }

    let report = Report { sections };
    if let Some(file) = &options.json {
        fs::write(file, format!("{:#}\n", report.json())).map_err(|error| format!("{}: {error}", file.display()))?;
    }
    report.print();
    Ok(())
}

/// All figures on one database, from a fresh server.
async fn measure(binary: &Path, folder: &Path, backend: Backend, pace: &Pace, raw: Rate) -> Result<Vec<Row>> {
    let server = Server::start(binary, folder, backend).await?;
    let calls = Calls::prepare(&server).await?;
    report::heading(backend);
    let mut rows = Vec::new();
    let plan = [
        (report::UNWRAP, &calls.unwrap, 1, CONNECTIONS.as_slice()),
        (report::GENERATE, &calls.generate, 1, CONNECTIONS.as_slice()),
        (report::BATCH, &calls.batch, calls::BATCH, BATCH_CONNECTIONS.as_slice()),
    ];
    for (name, calls, items, connections) in plan {
        for &connections in connections {
            let figures = load::run(&server, calls, connections, pace).await?;
            let row = Row { name, items, connections, figures };
            row.print(raw.ops);
            rows.push(row);
        }
    }
    calls.verify(&rows).await?;
    server.stop()?;
    Ok(rows)
}

const CONNECTIONS: [usize; 3] = [1, 16, 64];
const BATCH_CONNECTIONS: [usize; 2] = [1, 16];
const QUICK: Pace = Pace { warm_up: Duration::from_millis(500), measured: Duration::from_secs(2) };
const FULL: Pace = Pace { warm_up: Duration::from_secs(2), measured: Duration::from_secs(8) };
