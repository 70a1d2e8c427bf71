//! The server's command line.

use std::{
    env,
    net::SocketAddr,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    sync::Arc,
    thread,
    time::Duration,
};

use clap::{Parser, Subcommand, ValueEnum};
use kms_server::{
    audit,
    cluster::Arming,
    config::{Config, ConfigError, Severity},
    dev,
    doctor::{self, Level},
    host,
    init::{Administrator, Founding, FoundingIssuer, NamedFile},
    model::{Clock as _, Name, Reason, SystemClock},
    recover::{self, Recovery, RecoveryProof},
    serve::{self, ServeError, Server, Unfit},
    store::Store,
    telemetry::{self, LogFormat, LogSection, Spans},
};
use nix::sys::signal::{Signal, raise};
use tokio::signal::unix::{SignalKind, signal};

/// The exit code of a server that left because a call to the HSM did not return: `EX_TEMPFAIL` of sysexits.h. A restart may
/// help; any other failure's is 1.
const HSM_STUCK: u8 = 75;
/// The exit code of a server whose PIN the token refused: `EX_CONFIG` of sysexits.h. Nothing should start it again by itself:
/// the token counts wrong PINs, and locks.
const PIN_REFUSED: u8 = 78;
const LEAVE_WITHIN: Duration = Duration::from_secs(10);

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A key management service whose master keys live in a PKCS#11 HSM.
#[derive(Debug, Parser)]
#[command(name = "kms-server", version)]
struct Arguments {
    #[command(subcommand)]
    command: Subcommands,
}

#[derive(Debug, Subcommand)]
enum Subcommands {
    /// Serve.
    Serve {
        /// The configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Make and serve an installation for development, on loopback, in one folder.
    Dev(DevArguments),
    /// Make an installation: token, keys, database, first administrators and first trust.
    Init(Box<InitArguments>),
    /// Bring the database's tables to what this program needs.
    Migrate {
        /// The configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Say everything that is wrong with the configuration and the files that it names. Opens neither database nor token.
    CheckConfig {
        /// The configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Look at token, keys, database, anchors, files, certificate and disks, and say what to do. Reads only; the server may
    /// run. Exit code: 0 nothing, 1 warnings, 2 errors, 3 it could not look.
    Doctor {
        /// The configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// A table for people, or JSON for machines.
        #[arg(long, value_enum, default_value = "table")]
        output: Output,
    },
    /// Accept a database that is older than what this host or the token remembers. It is recorded.
    AcceptDatabase {
        /// The configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Why.
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Make or reinstate an administrator, where too few are left. Needs the token's PIN; recorded, and an alarm.
    RecoverAdmin(RecoverArguments),
    /// Verify the audit log's chains in the database. Reads only; the server may run.
    VerifyAudit {
        /// The configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
}

/// How something is shown.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Output {
    Table,
    Json,
}

#[derive(Debug, clap::Args)]
struct DevArguments {
    /// The folder of everything.
    #[arg(long, value_name = "DIR", default_value = "keyward-data")]
    data_dir: PathBuf,
    /// Begin anew: remove what an earlier run made there.
    #[arg(long)]
    fresh: bool,
    /// Where the API listens; loopback only.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7443")]
    listen: SocketAddr,
    /// Where health and metrics listen; loopback only.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7444")]
    operations: SocketAddr,
}

#[derive(Debug, clap::Args)]
struct InitArguments {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// A first administrator: a client certificate's file, or the subject of the issuer's tokens. At least two persons.
    #[arg(long = "admin", value_name = "NAME=CERT_OR_SUBJECT", required = true)]
    admins: Vec<Administrator>,
    /// One person runs the installation; every whoami and report will say so.
    #[arg(long)]
    solo: bool,
    /// A certification authority of clients, in PEM.
    #[arg(long = "client-ca", value_name = "NAME=FILE")]
    client_cas: Vec<NamedFile>,
    /// The `iss` of an issuer of tokens.
    #[arg(long, value_name = "URL", requires_all = ["audience", "jwks"])]
    issuer: Option<String>,
    /// An audience that the issuer's tokens name.
    #[arg(long, value_name = "TEXT")]
    audience: Vec<String>,
    /// The issuer's key set: a file, or an `https:` address.
    #[arg(long, value_name = "FILE_OR_URL")]
    jwks: Option<String>,
    /// Make the token too, with the security officer's PIN in this file. The server does not keep it.
    #[arg(long, value_name = "FILE")]
    so_pin_file: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct RecoverArguments {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The administrator: a new name, or the name of a user to be reinstated.
    #[arg(long, value_name = "NAME")]
    name: Name,
    /// Its client certificate in PEM, under an authority that is trusted already.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["issuer", "subject"], required_unless_present = "issuer")]
    certificate: Option<PathBuf>,
    /// The `iss` of its tokens, of an issuer that is trusted already.
    #[arg(long, value_name = "URL", requires = "subject")]
    issuer: Option<String>,
    /// The `sub` of its tokens.
    #[arg(long, value_name = "TEXT", requires = "issuer")]
    subject: Option<String>,
    /// A file that holds the token's PIN; asked for unless given.
    #[arg(long, value_name = "FILE")]
    pin_file: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments.command) {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("kms-server: {}", line(&*failure));
            exit_code(&*failure)
        }
    }
}

fn exit_code(failure: &(dyn std::error::Error + Send + Sync + 'static)) -> ExitCode {
    use hsm::Error::{PinIncorrect, PinLocked, PinUnacceptable};
    if let Some(Unfit::HsmStuck) = failure.downcast_ref() {
        return ExitCode::from(HSM_STUCK);
    }
    match failure.downcast_ref() {
        Some(ServeError::Hsm(PinIncorrect | PinLocked | PinUnacceptable { .. })) => ExitCode::from(PIN_REFUSED),
        _ => ExitCode::FAILURE,
    }
}

/// What happened, why, and what to do, in one line.
fn line(failure: &(dyn std::error::Error + Send + Sync + 'static)) -> String {
    let mut text = failure.to_string();
    let mut source = failure.source();
    while let Some(cause) = source {
        let why = cause.to_string();
        if !text.contains(&why) {
            text = format!("{text}: {why}");
        }
        source = cause.source();
    }
    let advice = match failure.downcast_ref::<ServeError>() {
        Some(error) => error.advice(),
        None => failure.downcast_ref::<ConfigError>().map(ConfigError::advice),
    };
    if let Some(advice) = advice {
        text = format!("{text}; {advice}");
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn run(command: Subcommands) -> Result<ExitCode, Failure> {
    let clock = Arc::new(SystemClock);
    match command {
        Subcommands::Serve { config } => {
            let config = configured(&config)?;
            let traced = |traces| telemetry::log_and_trace(&config.log, traces, Arc::new(SystemClock));
            let spans = config.traces.as_ref().map(traced);
            if spans.is_none() {
                telemetry::log(&config.log);
            }
            block_on(serve(&config, None, spans))??;
        }
        Subcommands::Dev(arguments) => {
            let DevArguments { data_dir, fresh, listen, operations } = arguments;
            // A second start of this process, for SoftHSM's sake, must not clear what the first one made.
            let fresh = fresh && env::var_os("KEYWARD_DEV_PREPARED").is_none();
            let options = dev::Options { data_dir, fresh, listen, operations };
            let prepared = dev::prepare(&options)?;
            with_softhsm(&prepared.softhsm_conf)?;
            telemetry::log(&LogSection { format: LogFormat::Text, ..LogSection::default() });
            eprintln!(
                "kms-server dev: FOR DEVELOPMENT ONLY: the private keys of its authority and issuer lie in the data folder"
            );
            block_on(async {
                let installation = dev::Installation::open(&options, prepared, clock).await?;
                serve(&installation.config.clone(), Some(installation), None).await
            })??;
        }
        Subcommands::Init(arguments) => {
            let config = configured(&arguments.config)?;
            telemetry::log(&LogSection { filter: "warn".to_owned(), ..config.log.clone() });
            init(&config, *arguments)?;
        }
        Subcommands::Migrate { config } => {
            let config = Config::read(&config)?;
            block_on(async {
                let store = Store::open(&config.database.database()?).await?;
                store.migrate().await?;
                println!("the database is up to date");
                Ok::<_, Failure>(())
            })??;
        }
        Subcommands::CheckConfig { config } => return check_config(&config),
        Subcommands::Doctor { config, output } => return Ok(doctor(&config, output)),
        Subcommands::AcceptDatabase { config, reason } => {
            let config = configured(&config)?;
            telemetry::log(&LogSection { filter: "warn".to_owned(), ..config.log.clone() });
            let reason: Reason = reason.parse()?;
            let receipt = block_on(host::accept_database(&config, clock, reason))??;
            println!("the database is accepted; the newest revision is {}", receipt.revision);
        }
        Subcommands::RecoverAdmin(arguments) => {
            let mut config = configured(&arguments.config)?;
            telemetry::log(&LogSection { filter: "warn".to_owned(), ..config.log.clone() });
            recover_admin(&mut config, arguments)?;
        }
        Subcommands::VerifyAudit { config } => {
            let config = Config::read(&config)?;
            block_on(verify_audit(&config))??;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn check_config(path: &Path) -> Result<ExitCode, Failure> {
    let config = Config::parse(path)?;
    let problems = config.problems(SystemClock.now());
    for problem in &problems {
        eprintln!("{problem}");
    }
    if problems.iter().any(|problem| problem.severity == Severity::Error) {
        return Ok(ExitCode::FAILURE);
    }
    println!("the configuration is good");
    Ok(ExitCode::SUCCESS)
}

fn doctor(path: &Path, output: Output) -> ExitCode {
    let examined = (|| {
        let config = Config::parse(path)?;
        if let Some(softhsm_conf) = &config.key_store.softhsm_conf {
            with_softhsm(softhsm_conf)?;
        }
        let report = block_on(doctor::examine(path, &config, Arc::new(SystemClock)))?;
        match output {
            Output::Table => println!("{report}"),
            Output::Json => println!("{}", serde_json::to_string_pretty(&report)?),
        }
        Ok::<_, Failure>(report.result())
    })();
    match examined {
        Ok(Level::Ok) => ExitCode::SUCCESS,
        Ok(Level::Warning) => ExitCode::from(1),
        Ok(Level::Error) => ExitCode::from(2),
        Err(failure) => {
            eprintln!("kms-server: {}", line(&*failure));
            ExitCode::from(3)
        }
    }
}

async fn serve(config: &Config, development: Option<dev::Installation>, spans: Option<Spans>) -> Result<(), Failure> {
    let clock = Arc::new(SystemClock);
    // Before anything else: a signal that comes while the server starts is not lost.
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut hang_up = signal(SignalKind::hangup())?;
    let server = Server::start(config, clock.clone(), telemetry::metrics()?, Arming::Kill).await?;
    if let Some(spans) = spans {
        server.export(spans);
    }
    // Only borrowed: its folder is locked for as long as it lives.
    if let Some(installation) = &development {
        let file = installation.announce(server.api, server.operations, &*clock)?;
        eprintln!(
            "kms-server dev: serving https://{}; addresses and credentials are in {}",
            server.api,
            file.display()
        );
    }
    let unfit = loop {
        tokio::select! {
            _ = terminate.recv() => break None,
            _ = interrupt.recv() => break None,
            unfit = server.failed() => break Some(unfit),
            // What is wrong with the new certificate stands in the log.
            _ = hang_up.recv() => drop(server.reload_certificate()),
        }
    };
    if unfit == Some(Unfit::HsmStuck) {
        leave_by_force()?;
    }
    server.stop().await;
    match unfit {
        None => Ok(()),
        Some(unfit) => Err(unfit.into()),
    }
}

/// Ends the process after a while, whatever else is under way: a thread that hangs in the HSM's module may hold a lock that
/// the module wants at the process's end.
fn leave_by_force() -> Result<(), Failure> {
    thread::Builder::new().name("leave".to_owned()).spawn(|| {
        thread::sleep(LEAVE_WITHIN);
        // No core: there are keys in it.
        let _killed = raise(Signal::SIGKILL);
    })?;
    Ok(())
}

fn init(config: &Config, arguments: InitArguments) -> Result<(), Failure> {
    let clock = Arc::new(SystemClock);
    let InitArguments { admins, solo, client_cas, issuer, audience, jwks, so_pin_file, .. } = arguments;
    let issuer = match (issuer, jwks) {
        (Some(issuer), Some(jwks)) => Some(FoundingIssuer { issuer, audiences: audience, jwks }),
        _ => None,
    };
    let founding = Founding { client_cas, issuer, administrators: admins, solo };
    let operations = founding.operations(clock.now())?;
    if let Some(file) = so_pin_file {
        let so_pin = std::fs::read_to_string(&file).map_err(|error| format!("`{}`: {error}", file.display()))?;
        let so_pin = so_pin.trim_end_matches(['\r', '\n']).to_owned().into();
        hsm::initialise_token(
            &config.key_store.module,
            &config.key_store.token_label,
            &so_pin,
            &config.key_store.pin()?,
        )?;
    }
    let receipt = block_on(host::initialise(config, clock, solo, operations))??;
    println!("the installation is made; change {} is revision {}", receipt.change_id, receipt.revision);
    if solo {
        println!("it is declared to be run by one person: nothing waits for a second");
    }
    Ok(())
}

fn recover_admin(config: &mut Config, arguments: RecoverArguments) -> Result<(), Failure> {
    let RecoverArguments { name, certificate, issuer, subject, pin_file, .. } = arguments;
    let proof = match (certificate, issuer, subject) {
        (Some(file), ..) => RecoveryProof::Certificate(file),
        (None, Some(issuer), Some(subject)) => RecoveryProof::Subject { issuer, subject },
        (None, ..) => return Err("name one of `--certificate` and `--issuer` with `--subject`".into()),
    };
    config.key_store.given_pin = Some(recover::pin(pin_file.as_deref())?);
    let recovery = Recovery { name, proof };
    let receipt = block_on(host::recover_admin(config, Arc::new(SystemClock), &recovery))??;
    println!("`{}` is an administrator; change {} is revision {}", recovery.name, receipt.change_id, receipt.revision);
    Ok(())
}

async fn verify_audit(config: &Config) -> Result<(), Failure> {
    let store = Store::open_to_read(&config.database.database()?).await?;
    let roots = store.read().await?.roots().await?.ok_or(serve::ServeError::NotInitialised)?;
    let report = audit::verify_chains(&mut store.read().await?, &roots.audit_public_key).await?;
    for chain in &report.chains {
        let end = if chain.closed { "closed" } else { "open" };
        match &chain.problem {
            None => println!("{}  {} records, {end}, whole", chain.node, chain.records),
            Some(problem) => println!("{}  {} records, {end}, ALTERED: {problem}", chain.node, chain.records),
        }
    }
    for revision in &report.unrecorded_changes {
        println!("the change of revision {revision} has no record");
    }
    if report.is_intact() { Ok(()) } else { Err("the audit log was altered".into()) }
}

/// Reads the configuration, and starts this process anew where its SoftHSM is configured elsewhere.
fn configured(path: &Path) -> Result<Config, Failure> {
    let config = Config::read(path)?;
    if let Some(softhsm_conf) = &config.key_store.softhsm_conf {
        with_softhsm(softhsm_conf)?;
    }
    Ok(config)
}

/// SoftHSM finds its tokens only by an environment variable, which a running process cannot set safely.
fn with_softhsm(softhsm_conf: &Path) -> Result<(), Failure> {
    if env::var_os("SOFTHSM2_CONF").is_some_and(|set| Path::new(&set) == softhsm_conf) {
        return Ok(());
    }
    let failed = Command::new(env::current_exe()?)
        .args(env::args_os().skip(1))
        .env("SOFTHSM2_CONF", softhsm_conf)
        .env("KEYWARD_DEV_PREPARED", "1")
        .exec();
    Err(format!("could not start anew with SOFTHSM2_CONF set: {failed}").into())
}

fn block_on<T>(task: impl Future<Output = T>) -> Result<T, Failure> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(task))
}
