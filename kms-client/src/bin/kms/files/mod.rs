//! `kms encrypt`, `kms decrypt` and `kms rewrap`: files, folders and streams.
//!
//! Each file has a data key of its own. Files appear whole or not at all, under their own name, and what could not be
//! done for one does not keep the others from being done.

mod plan;
mod stream;
mod work;

use std::path::{Path, PathBuf};

use clap::Args;
use kms_client::{
    client::{Client, Existing},
    wire::name::KeyName,
};

use self::{
    plan::{Naming, plan},
    work::{Operation, Work},
};
use crate::{failure::Failure, output::Output, parse::ContextArgs};

#[derive(Debug, Args)]
#[command(after_help = "\
Folders are searched for files that are not encrypted yet; symbolic links in them are left alone. Without --out the
encrypted file appears beside the original, which stays. Keep the encryption context where you can find it again: it is
not in the file, and without it the file cannot be decrypted.

Examples:
  kms encrypt scan.dcm --key alias/imaging --context study=7
  kms encrypt scans/ --key alias/imaging --context study=7 --out encrypted/
  tar c scans | kms encrypt - --key alias/imaging --out scans.tar.kw")]
pub(crate) struct Encrypt {
    #[command(flatten)]
    what: What,
    /// The key that wraps the data keys: an id or alias/NAME
    #[arg(long)]
    key: KeyName,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Folders are searched for files that end in `.kw`. Without --out the decrypted file appears beside the encrypted one,
which stays. From `-`, what is written before the end of the stream was reached is only proved by the exit code 0.

Examples:
  kms decrypt scan.dcm.kw --context study=7
  kms decrypt encrypted/ --context study=7 --out scans/
  kms decrypt - < scans.tar.kw > scans.tar && tar xf scans.tar")]
pub(crate) struct Decrypt {
    #[command(flatten)]
    what: What,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
#[command(after_help = "\
After `kms key rotate` this takes files away from older versions, one of which could then be revoked. The data is not
decrypted: only the wrapped data key at the start of each file is exchanged. Files that have the newest version already
are left alone.

Example:
  kms rewrap encrypted/ --context study=7")]
pub(crate) struct Rewrap {
    #[command(flatten)]
    what: What,
}

#[derive(Debug, Args)]
struct What {
    /// Files and folders; `-` is standard input, where a stream will do
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    context: ContextArgs,
    /// How many files at once
    #[arg(long, default_value_t = 4, value_name = "NUMBER", value_parser = clap::value_parser!(u8).range(1..=64))]
    jobs: u8,
}

#[derive(Debug, Args)]
struct Place {
    /// Where to write: a folder, or a file's own new name when it is a single file
    #[arg(long, value_name = "PATH")]
    out: Option<PathBuf>,
    /// Replace files that are there already
    #[arg(long)]
    force: bool,
}

impl Encrypt {
    pub(crate) async fn run(self, client: &Client, output: Output) -> Result<(), Failure> {
        let Self { what, key, place } = self;
        let operation = Operation::Encrypt { key, context: what.context.read()? };
        start(what, Some(place), Naming::AddSuffix, operation, client, output).await
    }
}

impl Decrypt {
    pub(crate) async fn run(self, client: &Client, output: Output) -> Result<(), Failure> {
        let Self { what, place } = self;
        let operation = Operation::Decrypt { context: what.context.read()? };
        start(what, Some(place), Naming::DropSuffix, operation, client, output).await
    }
}

impl Rewrap {
    pub(crate) async fn run(self, client: &Client, output: Output) -> Result<(), Failure> {
        let operation = Operation::Rewrap { context: self.what.context.read()? };
        start(self.what, None, Naming::InPlace, operation, client, output).await
    }
}

async fn start(
    what: What,
    place: Option<Place>,
    naming: Naming,
    operation: Operation,
    client: &Client,
    output: Output,
) -> Result<(), Failure> {
    let (out, force) = place.map_or((None, false), |place| (place.out, place.force));
    let existing = if force { Existing::Replace } else { Existing::Keep };
    if what.paths.iter().any(|path| path == Path::new("-")) {
        if what.paths.len() > 1 {
            return Err(Failure::Usage("`-` comes alone: standard input is one stream".to_owned()));
        }
        return stream::run(client, &operation, out.as_deref(), existing).await;
    }
    let plan = plan(&what.paths, out.as_deref(), naming)?;
    let work = Work { client: client.clone(), operation, existing, jobs: what.jobs.into() };
    work.run(plan, output).await
}
