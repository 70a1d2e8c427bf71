//! Envelope encryption: a data key for each file or stream, wrapped by the server and kept in the stream's own header.
//! The server sees neither the data nor its size.

use std::path::Path;

use tokio::{
    fs::File,
    io::{AsyncRead, AsyncWrite},
};

use super::{
    Client,
    error::{Error, Result},
    new_file::{Existing, NewFile},
};
use crate::{
    envelope::{self, ChunkSize, Header, Opener, Sealer},
    format::{context::EncryptionContext, wrapped_key::WrappedKey},
    id::{DataKeyId, KeyId, KeyVersion, RecordId},
    wire::{
        data_key::{GenerateDataKey, RewrapDataKey, RewrappedDataKey, UnwrapDataKey},
        name::KeyName,
    },
};

/// What was encrypted.
#[derive(Clone, Debug)]
pub struct Encrypted {
    /// The key that wraps the data key.
    pub key: KeyId,
    /// The version that wraps it.
    pub version: KeyVersion,
    /// The data key.
    pub data_key: DataKeyId,
    /// The audit record of its generation.
    pub record: RecordId,
    /// How many bytes were encrypted.
    pub bytes: u64,
}

/// What was decrypted.
#[derive(Clone, Debug)]
pub struct Decrypted {
    /// The key that wraps the data key.
    pub key: KeyId,
    /// The version that wraps it.
    pub version: KeyVersion,
    /// The data key.
    pub data_key: DataKeyId,
    /// The audit record of its unwrapping.
    pub record: RecordId,
    /// How many bytes were decrypted.
    pub bytes: u64,
}

/// What was wrapped again.
#[derive(Clone, Debug)]
pub struct Rewrapped {
    /// The key that wraps the data key.
    pub key: KeyId,
    /// The version that wraps it now.
    pub version: KeyVersion,
    /// The version that wrapped it before: the same, if there was nothing to do.
    pub previous_version: KeyVersion,
    /// The data key.
    pub data_key: DataKeyId,
    /// The audit record of it.
    pub record: RecordId,
}

impl Client {
    /// Encrypts all that the reader gives, under a data key of its own.
    ///
    /// # Errors
    /// When the server refuses, or reading or writing fails. What was written is then worthless.
    pub async fn encrypt_stream<R, W>(
        &self,
        key: &KeyName,
        context: &EncryptionContext,
        reader: &mut R,
        writer: &mut W,
    ) -> Result<Encrypted>
    where
        R: AsyncRead + Unpin + ?Sized,
        W: AsyncWrite + Unpin + ?Sized,
    {
        let generated = self.generate_data_key(&GenerateDataKey::new(key.clone(), context.into())).await?;
        let plaintext = generated.plaintext.ok_or(Error::NoPlaintext)?;
        let wrapped = parse(generated.wrapped.as_bytes())?;
        let sealer = Sealer::new(plaintext.expose(), wrapped, ChunkSize::DEFAULT)?;
        drop(plaintext);
        let bytes = envelope::encrypt(sealer, reader, writer).await?;
        let (key, version, data_key) = (generated.key, generated.version, generated.data_key);
        Ok(Encrypted { key, version, data_key, record: generated.record, bytes })
    }

    /// Decrypts a stream. What has been written is not to be trusted before this has succeeded: a stream that was cut off
    /// is noticed only at its end.
    ///
    /// # Errors
    /// When the server refuses, the stream is not exactly what was encrypted, or reading or writing fails.
    pub async fn decrypt_stream<R, W>(
        &self,
        context: &EncryptionContext,
        reader: &mut R,
        writer: &mut W,
    ) -> Result<Decrypted>
    where
        R: AsyncRead + Unpin + ?Sized,
        W: AsyncWrite + Unpin + ?Sized,
    {
        let header = envelope::read_header(reader).await?;
        let request = UnwrapDataKey { wrapped: header.wrapped_key().to_bytes().into(), context: context.into() };
        let unwrapped = self.unwrap_data_key(&request).await?;
        let opener = Opener::new(&header, unwrapped.plaintext.expose())?;
        let (key, version, data_key, record) = (unwrapped.key, unwrapped.version, unwrapped.data_key, unwrapped.record);
        drop(unwrapped.plaintext);
        let bytes = envelope::decrypt(opener, reader, writer).await?;
        Ok(Decrypted { key, version, data_key, record, bytes })
    }

    /// Encrypts a file into another, which appears whole or not at all, with the permissions of the first.
    ///
    /// # Errors
    /// As for [`Self::encrypt_stream`], and when a file cannot be opened or made.
    pub async fn encrypt_file(
        &self,
        key: &KeyName,
        context: &EncryptionContext,
        from: &Path,
        to: &Path,
        existing: Existing,
    ) -> Result<Encrypted> {
        let (mut reader, permissions) = open(from).await?;
        let mut file = NewFile::create(to, existing).await?;
        let encrypted = self.encrypt_stream(key, context, &mut reader, file.writer()).await?;
        file.commit(Some(permissions)).await?;
        Ok(encrypted)
    }

    /// Decrypts a file into another, which appears whole or not at all, with the permissions of the first.
    ///
    /// # Errors
    /// As for [`Self::decrypt_stream`], and when a file cannot be opened or made.
    pub async fn decrypt_file(
        &self,
        context: &EncryptionContext,
        from: &Path,
        to: &Path,
        existing: Existing,
    ) -> Result<Decrypted> {
        let (mut reader, permissions) = open(from).await?;
        let mut file = NewFile::create(to, existing).await?;
        let decrypted = self.decrypt_stream(context, &mut reader, file.writer()).await?;
        file.commit(Some(permissions)).await?;
        Ok(decrypted)
    }

    /// Wraps the data key of an encrypted file again with the primary version of its key. The data is not decrypted; the
    /// file is replaced in one step, and left alone when its data key is wrapped by that version already.
    ///
    /// # Errors
    /// When the server refuses, or the file cannot be read or replaced. It is then as it was.
    pub async fn rewrap_file(&self, context: &EncryptionContext, path: &Path) -> Result<Rewrapped> {
        let (mut reader, permissions) = open(path).await?;
        let header = envelope::read_header(&mut reader).await?;
        let (header, rewrapped) = self.rewrap_header(context, &header).await?;
        if rewrapped.version != rewrapped.previous_version {
            let mut file = NewFile::create(path, Existing::Replace).await?;
            envelope::replace_header(&header, &mut reader, file.writer()).await?;
            file.commit(Some(permissions)).await?;
        }
        Ok(rewrapped)
    }

    async fn rewrap_header(&self, context: &EncryptionContext, header: &Header) -> Result<(Header, Rewrapped)> {
        let request = RewrapDataKey { wrapped: header.wrapped_key().to_bytes().into(), context: context.into() };
        let RewrappedDataKey { key, version, data_key, wrapped, previous_version, record } =
            self.rewrap_data_key(&request).await?;
        let header = header.replace_wrapped_key(parse(wrapped.as_bytes())?)?;
        Ok((header, Rewrapped { key, version, previous_version, data_key, record }))
    }
}

fn parse(wrapped: &[u8]) -> Result<WrappedKey> {
    Ok(WrappedKey::parse(wrapped).map_err(envelope::Error::from)?)
}

async fn open(path: &Path) -> Result<(File, std::fs::Permissions)> {
    let failed = |source| Error::File { action: "read", path: path.to_owned(), source };
    let file = File::open(path).await.map_err(failed)?;
    let metadata = file.metadata().await.map_err(failed)?;
    if metadata.is_dir() {
        return Err(failed(std::io::ErrorKind::IsADirectory.into()));
    }
    Ok((file, metadata.permissions()))
}
