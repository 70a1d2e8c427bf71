//! Encryption from a reader to a writer. Two chunks are held in memory, whatever the length: one has to know that nothing
//! follows a chunk before it can be the last. Buffers that held plaintext are wiped.

use std::mem;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use zeroize::Zeroizing;

use super::{
    Error, Header, Opener, Sealer, TAG_LEN,
    header::{FIXED_LEN, Fixed},
};

/// Encrypts all that the reader gives, writes header and chunks, and flushes. Gives the number of bytes of plaintext.
///
/// # Errors
///
/// Reading or writing fails. What was written is then no whole stream.
pub async fn encrypt<R, W>(mut sealer: Sealer, reader: &mut R, writer: &mut W) -> Result<u64, Error>
where
    R: AsyncRead + Unpin + ?Sized,
    W: AsyncWrite + Unpin + ?Sized,
{
    writer.write_all(&sealer.header().to_bytes()).await.map_err(Error::Write)?;
    let size = sealer.header().chunk_size().bytes();
    let (mut chunk, mut next) = (buffer(size), buffer(size));
    let mut length = fill(reader, plaintext(&mut chunk)).await?;
    let mut total = 0;
    loop {
        total += length as u64;
        let next_length = if length == size { fill(reader, plaintext(&mut next)).await? } else { 0 };
        if next_length == 0 {
            break;
        }
        sealer.seal_chunk(&mut chunk)?;
        writer.write_all(&chunk).await.map_err(Error::Write)?;
        mem::swap(&mut chunk, &mut next);
        length = next_length;
    }
    chunk.truncate(length + TAG_LEN);
    sealer.seal_last(&mut chunk)?;
    writer.write_all(&chunk).await.map_err(Error::Write)?;
    writer.flush().await.map_err(Error::Write)?;
    Ok(total)
}

/// Reads a stream's header and nothing after it, so that the data key can be unwrapped.
///
/// # Errors
///
/// Reading fails, or there is no header that this version knows.
pub async fn read_header<R: AsyncRead + Unpin + ?Sized>(reader: &mut R) -> Result<Header, Error> {
    let mut fixed = [0; FIXED_LEN];
    read_exact(reader, &mut fixed).await?;
    let fixed = Fixed::read(&fixed)?;
    let mut wrapped_key = vec![0; fixed.wrapped_key_len.into()];
    read_exact(reader, &mut wrapped_key).await?;
    fixed.with(&wrapped_key)
}

/// Decrypts the chunks that follow the header, to the reader's end, and flushes. Gives the number of bytes of plaintext.
///
/// # Errors
///
/// Reading or writing fails, or the stream is not exactly what was encrypted. What was written by then is a true beginning of
/// the plaintext and must be thrown away: write to a temporary file and rename it on success.
pub async fn decrypt<R, W>(mut opener: Opener, reader: &mut R, writer: &mut W) -> Result<u64, Error>
where
    R: AsyncRead + Unpin + ?Sized,
    W: AsyncWrite + Unpin + ?Sized,
{
    let size = opener.chunk_size().bytes();
    let (mut chunk, mut next) = (buffer(size), buffer(size));
    let mut length = fill(reader, &mut chunk).await?;
    let mut total = 0;
    loop {
        let next_length = if length == chunk.len() { fill(reader, &mut next).await? } else { 0 };
        if next_length == 0 {
            break;
        }
        let plaintext = opener.open_chunk(&mut chunk)?;
        total += plaintext.len() as u64;
        writer.write_all(plaintext).await.map_err(Error::Write)?;
        mem::swap(&mut chunk, &mut next);
        length = next_length;
    }
    chunk.truncate(length);
    if length < TAG_LEN {
        return Err(Error::Truncated);
    }
    let plaintext = opener.open_last(&mut chunk)?;
    total += plaintext.len() as u64;
    writer.write_all(plaintext).await.map_err(Error::Write)?;
    writer.flush().await.map_err(Error::Write)?;
    Ok(total)
}

/// Copies a stream under another header, from [`Header::replace_wrapped_key`]. The reader stands after the old header.
///
/// # Errors
///
/// Reading or writing fails.
pub async fn replace_header<R, W>(header: &Header, reader: &mut R, writer: &mut W) -> Result<(), Error>
where
    R: AsyncRead + Unpin + ?Sized,
    W: AsyncWrite + Unpin + ?Sized,
{
    writer.write_all(&header.to_bytes()).await.map_err(Error::Write)?;
    let mut chunk = vec![0; header.chunk_size().bytes()];
    loop {
        let length = fill(reader, &mut chunk).await?;
        chunk.truncate(length);
        writer.write_all(&chunk).await.map_err(Error::Write)?;
        if length < header.chunk_size().bytes() {
            return writer.flush().await.map_err(Error::Write);
        }
    }
}

/// Room for one sealed chunk. It never grows, so that no copy of plaintext is left behind unwiped.
fn buffer(chunk_size: usize) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(vec![0; chunk_size + TAG_LEN])
}

/// The part of a buffer before the tag.
fn plaintext(buffer: &mut [u8]) -> &mut [u8] {
    buffer.split_last_chunk_mut::<TAG_LEN>().map_or(&mut [], |(plaintext, _)| plaintext)
}

/// Reads until the buffer is full or nothing is left.
async fn fill<R: AsyncRead + Unpin + ?Sized>(reader: &mut R, buffer: &mut [u8]) -> Result<usize, Error> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match reader.read(rest).await.map_err(Error::Read)? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}

async fn read_exact<R: AsyncRead + Unpin + ?Sized>(reader: &mut R, buffer: &mut [u8]) -> Result<(), Error> {
    if fill(reader, buffer).await? == buffer.len() { Ok(()) } else { Err(Error::Truncated) }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;
    use crate::{
        envelope::ChunkSize,
        format::wrapped_key::{Header as WrappedHeader, Suite, WrappedKey},
        id::{DataKeyId, KeyId, KeyVersion},
    };

    fn wrapped(nonce: u8) -> WrappedKey {
        let (key, data_key) = (KeyId::from_bytes([1; 16]), DataKeyId::from_bytes([2; 16]));
        let header = WrappedHeader::new(Suite::Aes256Gcm, key, KeyVersion::FIRST, data_key, [nonce; 12]);
        WrappedKey::new(header, vec![0; 48]).unwrap()
    }

    async fn encrypted(plaintext: &[u8]) -> Vec<u8> {
        let mut stream = Vec::new();
        let sealer = Sealer::new(&[7; 32], wrapped(3), ChunkSize::MIN).unwrap();
        let length = encrypt(sealer, &mut &plaintext[..], &mut stream).await.unwrap();
        assert_eq!(length, plaintext.len() as u64);
        stream
    }

    async fn decrypted(mut stream: impl AsyncRead + Unpin) -> Result<Vec<u8>, Error> {
        let header = read_header(&mut stream).await?;
        let mut plaintext = Vec::new();
        let length = decrypt(Opener::new(&header, &[7; 32])?, &mut stream, &mut plaintext).await?;
        assert_eq!(length, plaintext.len() as u64);
        Ok(plaintext)
    }

    #[tokio::test]
    async fn every_length_comes_back() {
        for length in 0..200 {
            let plaintext: Vec<_> = (0..length).collect();
            assert_eq!(decrypted(&encrypted(&plaintext).await[..]).await.unwrap(), plaintext);
        }
    }

    #[tokio::test]
    async fn every_cut_is_noticed() {
        let stream = encrypted(&[9; 150]).await;
        for cut in 0..stream.len() {
            assert!(decrypted(&stream[..cut]).await.is_err(), "{cut}");
        }
    }

    #[tokio::test]
    async fn every_flipped_bit_of_what_is_bound_is_noticed() {
        let stream = encrypted(&[9; 150]).await;
        let (header, _) = Header::parse(&stream).unwrap();
        // Of the wrapped key only the data key's id is bound here; its other bytes are the HSM's to authenticate.
        let wrapped_key = FIXED_LEN..header.to_bytes().len();
        let data_key_id = FIXED_LEN + 26..FIXED_LEN + 42;
        for place in (0..stream.len()).filter(|place| !wrapped_key.contains(place) || data_key_id.contains(place)) {
            let mut other = stream.clone();
            other[place] ^= 1;
            assert!(decrypted(&other[..]).await.is_err(), "{place}");
        }
    }

    #[tokio::test]
    async fn a_reader_that_trickles_gives_the_same() {
        let (mut near, far) = tokio::io::duplex(7);
        let stream = encrypted(&[9; 150]).await;
        let (sent, plaintext) = tokio::join!(
            async move {
                near.write_all(&stream).await?;
                near.shutdown().await
            },
            decrypted(far)
        );
        sent.unwrap();
        assert_eq!(plaintext.unwrap(), [9; 150]);
    }

    #[tokio::test]
    async fn a_header_is_replaced_without_touching_the_chunks() {
        for length in [0, 64, 150, 1000] {
            let plaintext = vec![9; length];
            let stream = encrypted(&plaintext).await;
            let mut reader = &stream[..];
            let header = read_header(&mut reader).await.unwrap().replace_wrapped_key(wrapped(4)).unwrap();
            let mut rewrapped = Vec::new();
            replace_header(&header, &mut reader, &mut rewrapped).await.unwrap();
            assert_eq!(rewrapped.len(), stream.len());
            assert_eq!(Header::parse(&rewrapped).unwrap().0.wrapped_key(), &wrapped(4));
            assert_eq!(decrypted(&rewrapped[..]).await.unwrap(), plaintext);
        }
    }

    #[tokio::test]
    async fn a_writer_that_fails_is_named() {
        let (near, far) = tokio::io::duplex(1);
        drop(far);
        let sealer = Sealer::new(&[7; 32], wrapped(3), ChunkSize::MIN).unwrap();
        let error = encrypt(sealer, &mut &[9; 150][..], &mut { near }).await.unwrap_err();
        assert!(matches!(error, Error::Write(error) if error.kind() == ErrorKind::BrokenPipe));
    }
}
