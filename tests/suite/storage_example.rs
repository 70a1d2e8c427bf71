//! The example of `kms-client/STORAGE.md`, to the letter but for who may use it.

use kms_client::{
    client::{Client, Result},
    format::EncryptionContext,
    wire::{
        batch::{Batch, MOST_ITEMS},
        bytes::Base64,
        data_key::RewrapDataKey,
        name::KeyName,
        problem::Code,
    },
};

/// What binds a data key to its object.
pub(crate) fn context(object: &str) -> Result<EncryptionContext> {
    Ok(EncryptionContext::from_pairs([("object", object)])?)
}

/// Encrypts an object under a data key of its own.
pub(crate) async fn put(client: &Client, key: &KeyName, object: &str, data: &[u8]) -> Result<Vec<u8>> {
    let mut encrypted = Vec::new();
    client.encrypt_stream(key, &context(object)?, &mut &data[..], &mut encrypted).await?;
    Ok(encrypted)
}

/// Decrypts it. Nothing of it is to be trusted before the end: a stream that was cut off is noticed only there.
pub(crate) async fn get(client: &Client, object: &str, encrypted: &[u8]) -> Result<Vec<u8>> {
    let mut data = Vec::new();
    client.decrypt_stream(&context(object)?, &mut &encrypted[..], &mut data).await?;
    Ok(data)
}

/// After a rotation, for those who store wrapped keys in a table of their own. Answers what could not be wrapped anew.
pub(crate) async fn renew(client: &Client, rows: &mut [(String, Base64)]) -> Result<Vec<(String, Code)>> {
    let mut failed = Vec::new();
    for rows in rows.chunks_mut(MOST_ITEMS) {
        let item = |(object, wrapped): &(String, Base64)| {
            Ok(RewrapDataKey { wrapped: wrapped.clone(), context: (&context(object)?).into() })
        };
        let items = rows.iter().map(item).collect::<Result<_>>()?;
        let answer = client.rewrap_data_keys(&Batch { items }).await?;
        for ((object, wrapped), item) in rows.iter_mut().zip(answer.items) {
            match item.into_result() {
                Ok(rewrapped) => *wrapped = rewrapped.wrapped,
                Err(problem) => failed.push((object.clone(), problem.code)),
            }
        }
    }
    Ok(failed)
}
