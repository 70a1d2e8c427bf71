//! `kms`: everything an administrator, auditor or storage engineer does with Keyward, from a terminal or a script.
//!
//! One file for each group of commands: its arguments, and what they do. Results go to standard output, everything else
//! to standard error. Nothing secret is printed unless the command is there to print it.

mod audit;
mod binding;
mod change;
mod credential;
mod data_key;
mod explain;
mod failure;
mod files;
mod key;
mod key_deletion;
mod nodes;
mod operation;
mod output;
mod page;
mod parse;
mod policy;
mod preview;
mod principal;
mod role;
mod terms;
mod trust;
mod whoami;

use std::{path::PathBuf, process::ExitCode};

use clap::{CommandFactory, Parser, Subcommand};
use kms_client::{
    client::{self, Client},
    config::{Choice, Settings},
};

use self::{failure::Failure, output::Output};

/// Keyward: data keys wrapped in an HSM, by role, on record.
#[derive(Debug, Parser)]
#[command(name = "kms", version, arg_required_else_help = true, after_long_help = AFTER)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

const AFTER: &str = "\
Where the server is and who you are:
  KMS_URL         such as https://kms.example.org:8443
  KMS_CA_FILE     the CA that signed the server's certificate, in PEM; those of the system unless set
  KMS_TOKEN       a bearer token, or KMS_TOKEN_FILE, a file that holds one
  KMS_CERT_FILE   a client certificate in PEM, with its key in KMS_KEY_FILE
  KMS_PROFILE     a profile of ~/.config/keyward/config.toml, `default` unless set:

      [profiles.default]
      url = \"https://kms.example.org:8443\"
      ca_file = \"ca.pem\"
      token_file = \"/run/secrets/kms-token\"

  Options come first, then a profile named by --profile, then the environment, then KMS_PROFILE's.

Exit codes:
  0  done
  1  failed
  2  used wrongly
  3  refused: not permitted, not authenticated, or in need of an approval
  4  not found
  5  unavailable: unreachable, overloaded, or without its HSM, database or audit log

Examples:
  kms whoami
  kms key create --alias records --class clinical
  kms encrypt scans/ --key alias/records --context study=7 --out encrypted/
  kms audit search --key alias/records --action unwrap --from 1d";

#[derive(Debug, clap::Args)]
struct Global {
    /// Where the server is; `KMS_URL` unless given
    #[arg(long, global = true, value_name = "URL", help_heading = "Connection")]
    url: Option<String>,
    /// The CA that signed the server's certificate, in PEM; `KMS_CA_FILE` unless given
    #[arg(long, global = true, value_name = "FILE", help_heading = "Connection")]
    ca_file: Option<PathBuf>,
    /// A profile of `~/.config/keyward/config.toml`; `KMS_PROFILE` unless given
    #[arg(long, global = true, value_name = "NAME", help_heading = "Connection")]
    profile: Option<String>,
    /// Tables for people, JSON for scripts
    #[arg(long, global = true, value_enum, default_value_t, env = "KMS_OUTPUT")]
    output: Output,
    /// Do not wait for a change: print where to ask what became of it
    #[arg(long, global = true)]
    no_wait: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show who the server takes you for, and what you may do
    Whoami,
    /// Create, rotate, disable and revoke master keys
    #[command(subcommand)]
    Key(key::Command),
    /// Generate, wrap, unwrap and rewrap single data keys
    #[command(subcommand)]
    DataKey(data_key::Command),
    /// Print random bytes in base64
    Random(data_key::Random),
    /// Encrypt files and folders, each file with a data key of its own
    Encrypt(files::Encrypt),
    /// Decrypt files and folders
    Decrypt(files::Decrypt),
    /// Wrap the data keys of encrypted files again with the newest version of their key
    Rewrap(files::Rewrap),
    /// Create, list and suspend users, services and contractors
    #[command(subcommand)]
    Principal(principal::Command),
    /// Add and remove the ways in which a principal proves who it is
    #[command(subcommand)]
    Credential(credential::Command),
    /// Give roles to principals, and end them
    #[command(subcommand)]
    Binding(binding::Command),
    /// Show the roles, and make your own
    #[command(subcommand)]
    Role(role::Command),
    /// Write rules beyond roles, in Cedar
    #[command(subcommand)]
    Policy(policy::Command),
    /// Ask whether something would be permitted, and why
    Explain(explain::ExplainArgs),
    /// Decide whose tokens and certificates are believed
    #[command(subcommand)]
    Trust(trust::Command),
    /// Look at the control changes that were made
    #[command(subcommand)]
    Change(change::Command),
    /// Show the nodes that changes wait for, and how far each has come
    Nodes,
    /// Ask what became of changes that were not waited for
    #[command(subcommand)]
    Operation(operation::Command),
    /// Search the audit log
    #[command(subcommand)]
    Audit(audit::Command),
    /// Print the completion script for a shell
    #[command(after_help = "Example:\n  kms completion bash > ~/.local/share/bash-completion/completions/kms")]
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(run(cli)),
        Err(source) => Err(Failure::Runtime(source)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

async fn run(cli: Cli) -> Result<(), Failure> {
    if let Command::Completion { shell } = cli.command {
        return completion(shell);
    }
    let Global { url, ca_file, profile, output, no_wait } = cli.global;
    let client = Settings::load(&Choice { url, ca_file, profile })?.client()?;
    let client = if no_wait { client.without_waiting() } else { client };
    match dispatch(cli.command, &client, output).await {
        Err(Failure::Client(client::Error::Accepted(operation))) => output.print(&*operation, operation::show),
        other => other,
    }
}

async fn dispatch(command: Command, client: &Client, output: Output) -> Result<(), Failure> {
    match command {
        Command::Whoami => whoami::run(client, output).await,
        Command::Key(command) => key::run(command, client, output).await,
        Command::DataKey(command) => data_key::run(command, client, output).await,
        Command::Random(random) => data_key::random(random, client, output).await,
        Command::Encrypt(encrypt) => encrypt.run(client, output).await,
        Command::Decrypt(decrypt) => decrypt.run(client, output).await,
        Command::Rewrap(rewrap) => rewrap.run(client, output).await,
        Command::Principal(command) => principal::run(command, client, output).await,
        Command::Credential(command) => credential::run(command, client, output).await,
        Command::Binding(command) => binding::run(command, client, output).await,
        Command::Role(command) => role::run(command, client, output).await,
        Command::Policy(command) => policy::run(command, client, output).await,
        Command::Explain(explain) => explain.run(client, output).await,
        Command::Trust(command) => trust::run(command, client, output).await,
        Command::Nodes => nodes::run(client, output).await,
        Command::Change(command) => change::run(command, client, output).await,
        Command::Operation(command) => operation::run(command, client, output).await,
        Command::Audit(command) => audit::run(command, client, output).await,
        Command::Completion { shell } => completion(shell),
    }
}

fn completion(shell: clap_complete::Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "kms", &mut script);
    output::raw(&script)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_says_what_it_is_for() {
        fn check(command: &clap::Command) {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{} {}", command.get_name(), argument.get_id());
            }
            command.get_subcommands().for_each(check);
        }
        let mut command = Cli::command();
        command.build();
        command.get_subcommands().filter(|command| command.get_name() != "help").for_each(check);
    }
}
