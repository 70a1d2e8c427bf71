//! `kms data-key` and `kms random`: single data keys.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use kms_client::{
    client::Client,
    wire::{
        bytes::{Base64, Plaintext},
        data_key::{
            DEFAULT_BYTES, GenerateDataKey, GenerateRandom, GeneratedDataKey, LONGEST_PLAINTEXT, RandomBytes,
            RewrapDataKey, RewrappedDataKey, TransferDataKey, UnwrapDataKey, UnwrappedDataKey, WrapDataKey,
            WrappedDataKey,
        },
        name::KeyName,
    },
};
use zeroize::Zeroizing;

use crate::{
    failure::Failure,
    output::{Output, fields, text},
    parse::{self, ContextArgs},
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a data key and wrap it
    #[command(after_help = "Example:\n  kms data-key generate --key alias/records --context patient-set=7")]
    Generate(Generate),
    /// Wrap a data key that you have, read from standard input or a file
    #[command(after_help = "Example:\n  kms data-key wrap --key alias/records --context volume=12 < volume.key")]
    Wrap(Wrap),
    /// Unwrap a data key, and print it in base64: it is secret
    #[command(
        after_help = "Example:\n  kms data-key unwrap --context volume=12 --wrapped-file volume.key.wrapped | base64 -d | cryptsetup ..."
    )]
    Unwrap(Wrapped),
    /// Wrap a data key again with the primary version of its key
    #[command(after_help = "Example:\n  kms data-key rewrap --context volume=12 S1dXSwEB...")]
    Rewrap(Wrapped),
    /// Wrap a data key again with another key, in another context, or both
    #[command(
        after_help = "Example:\n  kms data-key transfer S1dXSwEB... --context volume=12 --target-key alias/archive"
    )]
    Transfer(Transfer),
}

#[derive(Debug, Args)]
pub(crate) struct Generate {
    /// The key that wraps it: an id or alias/NAME
    #[arg(long)]
    key: KeyName,
    #[command(flatten)]
    context: ContextArgs,
    /// How many bytes, 1 to 1024
    #[arg(long, default_value_t = DEFAULT_BYTES, value_name = "NUMBER")]
    bytes: u32,
    /// Print the data key itself too, in base64: it is secret
    #[arg(long)]
    plaintext: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Wrap {
    /// The key to wrap with: an id or alias/NAME
    #[arg(long)]
    key: KeyName,
    #[command(flatten)]
    context: ContextArgs,
    /// Read the data key from this file, not from standard input
    #[arg(long, value_name = "FILE")]
    plaintext_file: Option<PathBuf>,
    /// What is read is base64
    #[arg(long)]
    base64: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Wrapped {
    #[command(flatten)]
    wrapped: WrappedArgs,
    #[command(flatten)]
    context: ContextArgs,
}

#[derive(Debug, Args)]
pub(crate) struct Transfer {
    #[command(flatten)]
    wrapped: WrappedArgs,
    #[command(flatten)]
    context: ContextArgs,
    /// The key to wrap with; the same as now unless given
    #[arg(long, value_name = "KEY")]
    target_key: Option<KeyName>,
    /// A pair of the new encryption context; repeat it for more; the same as now unless given
    #[arg(long = "target-context", value_name = "NAME=VALUE")]
    target_pairs: Vec<String>,
}

#[derive(Debug, Args)]
struct WrappedArgs {
    /// The wrapped key in base64; from standard input unless given
    wrapped: Option<Base64>,
    /// Read the wrapped key, in base64, from this file
    #[arg(long, value_name = "FILE", conflicts_with = "wrapped")]
    wrapped_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kms random --bytes 16")]
pub(crate) struct Random {
    /// How many bytes, 1 to 1024
    #[arg(long, default_value_t = DEFAULT_BYTES, value_name = "NUMBER")]
    bytes: u32,
}

pub(crate) async fn run(command: Command, client: &Client, output: Output) -> Result<(), Failure> {
    match command {
        Command::Generate(Generate { key, context, bytes, plaintext }) => {
            let context = context.read()?.into();
            let request = GenerateDataKey { key, context, bytes, plaintext };
            output.print(&client.generate_data_key(&request).await?, show_generated)
        }
        Command::Wrap(wrap) => {
            let context = wrap.context.read()?.into();
            let plaintext = wrap.plaintext()?;
            let request = WrapDataKey { key: wrap.key, plaintext, context };
            output.print(&client.wrap_data_key(&request).await?, show_wrapped)
        }
        Command::Unwrap(Wrapped { wrapped, context }) => {
            let request = UnwrapDataKey { wrapped: wrapped.read()?, context: context.read()?.into() };
            // Alone on its line, to be piped.
            let show = |answer: &UnwrappedDataKey| answer.plaintext.to_base64().to_string();
            output.print(&client.unwrap_data_key(&request).await?, show)
        }
        Command::Rewrap(Wrapped { wrapped, context }) => {
            let request = RewrapDataKey { wrapped: wrapped.read()?, context: context.read()?.into() };
            output.print(&client.rewrap_data_key(&request).await?, show_rewrapped)
        }
        Command::Transfer(transfer) => {
            let request = transfer.request()?;
            output.print(&client.transfer_data_key(&request).await?, show_rewrapped)
        }
    }
}

pub(crate) async fn random(random: Random, client: &Client, output: Output) -> Result<(), Failure> {
    let answer = client.random(&GenerateRandom { bytes: random.bytes }).await?;
    output.print(&answer, |answer: &RandomBytes| answer.bytes.to_base64().to_string())
}

impl Wrap {
    fn plaintext(&self) -> Result<Plaintext, Failure> {
        let bytes = read_some(self.plaintext_file.as_deref())?;
        if !self.base64 {
            return Ok(Plaintext::new(bytes));
        }
        let text = std::str::from_utf8(&bytes).ok().map(str::trim);
        text.and_then(|text| Plaintext::from_base64(text).ok())
            .ok_or_else(|| Failure::Usage("what was read is not base64 with padding".to_owned()))
    }
}

impl Transfer {
    fn request(self) -> Result<TransferDataKey, Failure> {
        if self.target_key.is_none() && self.target_pairs.is_empty() {
            return Err(Failure::Usage("nothing to change: give --target-key or --target-context".to_owned()));
        }
        let target_context = match self.target_pairs.as_slice() {
            [] => None,
            pairs => Some(parse::context(pairs)?.into()),
        };
        let context = self.context.read()?.into();
        Ok(TransferDataKey { wrapped: self.wrapped.read()?, context, target_key: self.target_key, target_context })
    }
}

impl WrappedArgs {
    fn read(self) -> Result<Base64, Failure> {
        if let Some(wrapped) = self.wrapped {
            return Ok(wrapped);
        }
        let bytes = read_some(self.wrapped_file.as_deref())?;
        let text = std::str::from_utf8(&bytes).ok().map(str::trim);
        text.and_then(|text| text.parse().ok())
            .ok_or_else(|| Failure::Usage("what was read is no wrapped key in base64".to_owned()))
    }
}

/// Reads a file or standard input, and no more than could be of use.
fn read_some(path: Option<&Path>) -> Result<Zeroizing<Vec<u8>>, Failure> {
    // Base64, a header, white space: twice the plaintext is more than enough. A full buffer does not grow and leave copies.
    let longest = 2 * LONGEST_PLAINTEXT;
    let mut bytes = Zeroizing::new(Vec::with_capacity(longest + 64));
    let limit = longest as u64 + 1;
    match path {
        None => io::stdin().take(limit).read_to_end(&mut bytes).map_err(Failure::Input)?,
        Some(path) => File::open(path)
            .and_then(|file| file.take(limit).read_to_end(&mut bytes))
            .map_err(|source| Failure::File { action: "read", path: path.to_owned(), source })?,
    };
    if bytes.len() > longest {
        return Err(Failure::Usage(format!("too long for a data key, which has at most {LONGEST_PLAINTEXT} bytes")));
    }
    Ok(bytes)
}

fn show_generated(answer: &GeneratedDataKey) -> String {
    let GeneratedDataKey { key, version, data_key, wrapped, plaintext, record } = answer;
    fields([
        ("data key", data_key.to_string()),
        ("key", key.to_string()),
        ("version", version.to_string()),
        ("wrapped", wrapped.to_string()),
        ("plaintext", text(plaintext.as_ref().map(|plaintext| plaintext.to_base64().to_string()))),
        ("record", record.to_string()),
    ])
}

fn show_wrapped(answer: &WrappedDataKey) -> String {
    let WrappedDataKey { key, version, data_key, wrapped, record } = answer;
    fields([
        ("data key", data_key.to_string()),
        ("key", key.to_string()),
        ("version", version.to_string()),
        ("wrapped", wrapped.to_string()),
        ("record", record.to_string()),
    ])
}

fn show_rewrapped(answer: &RewrappedDataKey) -> String {
    let RewrappedDataKey { key, version, data_key, wrapped, previous_version, record } = answer;
    fields([
        ("data key", data_key.to_string()),
        ("key", key.to_string()),
        ("version", version.to_string()),
        ("previous version", previous_version.to_string()),
        ("wrapped", wrapped.to_string()),
        ("record", record.to_string()),
    ])
}
