//! The header of an encrypted stream: a fixed part that the stream's key depends on, and the wrapped data key, which can be
//! replaced. That the wrapped key stays outside is what lets a file be rewrapped without being encrypted anew; only the data
//! key's id, which outlives rewrapping, is bound.

use super::{Error, TAG_LEN};
use crate::format::{reader::Reader, wrapped_key::WrappedKey};

pub(super) const SALT_LEN: usize = 32;
pub(super) const NONCE_PREFIX_LEN: usize = 7;
pub(super) const COMMITMENT_LEN: usize = 32;
/// Magic, format, suite, chunk size, salt, nonce prefix.
pub(super) const BOUND_LEN: usize = 4 + 3 + SALT_LEN + NONCE_PREFIX_LEN;
/// Everything before the wrapped key, the length of which is at the end of it.
pub(super) const FIXED_LEN: usize = BOUND_LEN + COMMITMENT_LEN + 2;

const MAGIC: [u8; 4] = *b"KWFE";
const FORMAT: u8 = 1;
/// AES-256-GCM with a key by HKDF-SHA-256.
const SUITE: u8 = 1;

/// How many bytes of plaintext each chunk holds but the last: a power of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChunkSize(u8);

impl ChunkSize {
    /// 64 bytes: for tests and vectors.
    pub const MIN: Self = Self(6);
    /// 256 KiB. Larger chunks are no faster, smaller ones cost more system calls; 2^32 of them are 1 PiB.
    pub const DEFAULT: Self = Self(18);
    /// 16 MiB. What a reader must hold in memory, whatever the header says.
    pub const MAX: Self = Self(24);

    /// Chunks of two to this power bytes.
    ///
    /// # Errors
    ///
    /// It is below [`Self::MIN`] or above [`Self::MAX`].
    pub const fn from_log2(log2: u8) -> Result<Self, Error> {
        if log2 < Self::MIN.0 || log2 > Self::MAX.0 { Err(Error::ChunkSize) } else { Ok(Self(log2)) }
    }

    /// The power of two.
    #[must_use]
    pub const fn log2(self) -> u8 {
        self.0
    }

    /// The size in bytes.
    #[must_use]
    pub const fn bytes(self) -> usize {
        1 << self.0
    }

    /// How many bytes all chunks of this much plaintext have together; `None` if there would be too many chunks.
    #[must_use]
    pub fn sealed_len(self, plaintext: u64) -> Option<u64> {
        let chunks = plaintext.div_ceil(1 << self.0).max(1);
        if chunks > 1 << 32 {
            return None;
        }
        plaintext.checked_add(chunks.checked_mul(TAG_LEN as u64)?)
    }
}

impl Default for ChunkSize {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Everything before the first chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    pub(super) chunk_size: ChunkSize,
    pub(super) salt: [u8; SALT_LEN],
    pub(super) nonce_prefix: [u8; NONCE_PREFIX_LEN],
    /// Depends on data key and bound part: a wrong data key is told from a damaged chunk, and no stream opens under two.
    pub(super) commitment: [u8; COMMITMENT_LEN],
    wrapped_key: WrappedKey,
}

impl Header {
    pub(super) const fn new(
        chunk_size: ChunkSize,
        salt: [u8; SALT_LEN],
        nonce_prefix: [u8; NONCE_PREFIX_LEN],
        wrapped_key: WrappedKey,
    ) -> Self {
        Self { chunk_size, salt, nonce_prefix, commitment: [0; COMMITMENT_LEN], wrapped_key }
    }

    /// Reads a header off the front of a stream, and gives what follows it: the first chunk.
    ///
    /// # Errors
    ///
    /// The bytes do not begin with a whole header, or with one that this version does not know.
    pub fn parse(stream: &[u8]) -> Result<(Self, &[u8]), Error> {
        let mut reader = Reader::new(stream);
        let fixed = Fixed::read(&reader.array().ok_or(Error::Truncated)?)?;
        let wrapped_key = reader.take(fixed.wrapped_key_len.into()).ok_or(Error::Truncated)?;
        Ok((fixed.with(wrapped_key)?, reader.rest()))
    }

    /// The bytes that [`Self::parse`] reads.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let wrapped_key = self.wrapped_key.to_bytes();
        // INVARIANT: a wrapped key is far shorter than 2^16 bytes.
        let length = u16::try_from(wrapped_key.len()).unwrap_or(u16::MAX);
        [&self.bound()[..], &self.commitment, &length.to_be_bytes(), &wrapped_key].concat()
    }

    /// The data key under its master key: what has to be unwrapped before the stream can be opened.
    #[must_use]
    pub const fn wrapped_key(&self) -> &WrappedKey {
        &self.wrapped_key
    }

    /// The size of the chunks.
    #[must_use]
    pub const fn chunk_size(&self) -> ChunkSize {
        self.chunk_size
    }

    /// This header with the same data key wrapped anew. The chunks stay as they are. With a data key of the same length and
    /// a wrapped key of the same suite the header is as long as before; even so, write a new file and rename it, since a
    /// header half written over the old one loses the data key.
    ///
    /// # Errors
    ///
    /// It is another data key.
    pub fn replace_wrapped_key(&self, wrapped_key: WrappedKey) -> Result<Self, Error> {
        if wrapped_key.data_key_id() != self.wrapped_key.data_key_id() {
            return Err(Error::OtherDataKey);
        }
        Ok(Self { wrapped_key, ..self.clone() })
    }

    /// What the stream's key depends on besides the data key and its id.
    pub(super) fn bound(&self) -> Vec<u8> {
        [&MAGIC[..], &[FORMAT, SUITE, self.chunk_size.0], &self.salt, &self.nonce_prefix].concat()
    }
}

/// The part of a header that says how long the rest is.
pub(super) struct Fixed {
    chunk_size: ChunkSize,
    salt: [u8; SALT_LEN],
    nonce_prefix: [u8; NONCE_PREFIX_LEN],
    commitment: [u8; COMMITMENT_LEN],
    pub(super) wrapped_key_len: u16,
}

impl Fixed {
    pub(super) fn read(bytes: &[u8; FIXED_LEN]) -> Result<Self, Error> {
        let mut reader = Reader::new(bytes);
        if reader.array() != Some(MAGIC) {
            return Err(Error::NotEncrypted);
        }
        if reader.array() != Some([FORMAT, SUITE]) {
            return Err(Error::UnknownFormat);
        }
        Ok(Self {
            chunk_size: ChunkSize::from_log2(reader.u8().ok_or(Error::Truncated)?)?,
            salt: reader.array().ok_or(Error::Truncated)?,
            nonce_prefix: reader.array().ok_or(Error::Truncated)?,
            commitment: reader.array().ok_or(Error::Truncated)?,
            wrapped_key_len: reader.u16().ok_or(Error::Truncated)?,
        })
    }

    pub(super) fn with(self, wrapped_key: &[u8]) -> Result<Header, Error> {
        let wrapped_key = WrappedKey::parse(wrapped_key)?;
        let Self { chunk_size, salt, nonce_prefix, commitment, wrapped_key_len: _ } = self;
        Ok(Header { chunk_size, salt, nonce_prefix, commitment, wrapped_key })
    }
}
