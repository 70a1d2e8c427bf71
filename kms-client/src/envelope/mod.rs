//! Envelope encryption of files and streams of any size, in constant memory. A stream is a header, which carries the wrapped
//! data key, and then authenticated chunks: the STREAM construction of Hoang, Reyhanitabar, Rogaway and Vizár (2015).
//! `FORMATS.md` specifies the bytes.
//!
//! No plaintext is given out before its chunk is authenticated, but a stream cut off after some chunks is noticed only at
//! its end: until [`Opener::open_last`] or `decrypt` has succeeded, whoever acts on the plaintext acts on a part. There is no
//! network here. The caller unwraps the data key, with the encryption context, which the stream does not carry.

mod header;
#[cfg(feature = "http")]
mod io;
mod stream;

use std::io::Error as IoError;

#[cfg(feature = "http")]
pub use self::io::{decrypt, encrypt, read_header, replace_header};
pub use self::{
    header::{ChunkSize, Header},
    stream::{DATA_KEY_LEN, Opener, Sealer, TAG_LEN},
};
use crate::format::wrapped_key::InvalidWrappedKey;

/// Why a stream could not be encrypted or decrypted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("not a file or stream encrypted by Keyward")]
    NotEncrypted,
    #[error("encrypted in a format that this version does not know")]
    UnknownFormat,
    #[error("the wrapped data key in the header is not valid")]
    InvalidWrappedKey(#[from] InvalidWrappedKey),
    #[error("a chunk has between 2^{} and 2^{} bytes", ChunkSize::MIN.log2(), ChunkSize::MAX.log2())]
    ChunkSize,
    #[error("a stream is encrypted with a data key of {DATA_KEY_LEN} bytes, not {0}")]
    DataKeyLength(usize),
    #[error("the data key is not the one this was encrypted with, or the header was altered")]
    WrongDataKey,
    #[error("the new wrapped key holds another data key")]
    OtherDataKey,
    #[error("chunk {chunk} was altered or is out of place, or the stream was cut off after it")]
    Corrupt { chunk: u32 },
    #[error("the stream was cut off")]
    Truncated,
    #[error("a chunk of {0} bytes does not belong here")]
    ChunkLength(usize),
    #[error("a stream has at most 2^32 chunks: choose larger ones")]
    TooLong,
    #[error("cannot read the input")]
    Read(#[source] IoError),
    #[error("cannot write the output")]
    Write(#[source] IoError),
    #[error("the cryptographic library failed")]
    Cryptography,
}

impl From<aws_lc_rs::error::Unspecified> for Error {
    fn from(_: aws_lc_rs::error::Unspecified) -> Self {
        Self::Cryptography
    }
}
