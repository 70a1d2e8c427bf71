//! Standard input as a stream: encrypted or decrypted to standard output, or into a file.

use std::{io::IsTerminal, path::Path};

use kms_client::client::{Client, Error, Existing, NewFile};
use tokio::io::{AsyncRead, AsyncWrite};

use super::work::{Operation, interrupted};
use crate::failure::Failure;

pub(super) async fn run(
    client: &Client,
    operation: &Operation,
    out: Option<&Path>,
    existing: Existing,
) -> Result<(), Failure> {
    tokio::select! {
        result = pass(client, operation, out, existing) => result,
        () = interrupted() => Err(Failure::Interrupted),
    }
}

async fn pass(client: &Client, operation: &Operation, out: Option<&Path>, existing: Existing) -> Result<(), Failure> {
    let mut input = tokio::io::stdin();
    if let Some(path) = out {
        let mut file = NewFile::create(path, existing).await?;
        copy(client, operation, &mut input, file.writer()).await?;
        return Ok(file.commit(None).await?);
    }
    if matches!(operation, Operation::Encrypt { .. }) && std::io::stdout().is_terminal() {
        return Err(Failure::Usage("what is encrypted is not for a terminal: give --out FILE, or redirect".to_owned()));
    }
    copy(client, operation, &mut input, &mut tokio::io::stdout()).await
}

async fn copy<R, W>(client: &Client, operation: &Operation, input: &mut R, output: &mut W) -> Result<(), Failure>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let result: Result<(), Error> = match operation {
        Operation::Encrypt { key, context } => client.encrypt_stream(key, context, input, output).await.map(drop),
        Operation::Decrypt { context } => client.decrypt_stream(context, input, output).await.map(drop),
        Operation::Rewrap { .. } => {
            return Err(Failure::Usage("a stream cannot be rewrapped in place: name a file".to_owned()));
        }
    };
    Ok(result?)
}
