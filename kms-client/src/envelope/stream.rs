//! Sealing and opening chunks in place, without I/O and without copies. Each chunk's nonce holds its number and whether it is
//! the last, so that chunks cannot be left out, repeated, swapped, added or carried into another stream. The last chunk ends
//! the [`Sealer`] or [`Opener`]: nothing can follow it.

use std::fmt;

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hkdf, rand,
};
use zeroize::{Zeroize as _, Zeroizing};

use super::{
    ChunkSize, Error, Header,
    header::{COMMITMENT_LEN, NONCE_PREFIX_LEN, SALT_LEN},
};
use crate::format::wrapped_key::WrappedKey;

/// The length in bytes of the data key of a stream.
pub const DATA_KEY_LEN: usize = 32;
/// How many bytes longer a sealed chunk is than its plaintext.
pub const TAG_LEN: usize = 16;

const INFO_DOMAIN: &[u8] = b"keyward/stream/v1\0";

/// Encrypts one stream. Its salt is its own, so that one data key may serve any number of streams.
pub struct Sealer {
    header: Header,
    chunks: Chunks,
}

impl Sealer {
    /// Begins a stream. `wrapped_key` holds the same data key, wrapped, and goes into the header.
    ///
    /// # Errors
    ///
    /// The data key is not [`DATA_KEY_LEN`] bytes long, or there is no randomness.
    pub fn new(data_key: &[u8], wrapped_key: WrappedKey, chunk_size: ChunkSize) -> Result<Self, Error> {
        let (mut salt, mut nonce_prefix) = ([0; SALT_LEN], [0; NONCE_PREFIX_LEN]);
        rand::fill(&mut salt)?;
        rand::fill(&mut nonce_prefix)?;
        Self::with_header(data_key, Header::new(chunk_size, salt, nonce_prefix, wrapped_key))
    }

    // Private, because a salt used twice means nonces used twice.
    fn with_header(data_key: &[u8], mut header: Header) -> Result<Self, Error> {
        let (chunks, commitment) = Chunks::new(data_key, &header)?;
        header.commitment = commitment;
        Ok(Self { header, chunks })
    }

    /// What precedes the first chunk.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// Seals a chunk that is not the last. The buffer holds exactly one chunk of plaintext and room for the tag.
    ///
    /// # Errors
    ///
    /// The buffer has another length, or the stream can have no more chunks.
    pub fn seal_chunk(&mut self, buffer: &mut [u8]) -> Result<(), Error> {
        let next = self.chunks.next_number()?;
        self.chunks.expect_full(buffer)?;
        self.chunks.seal(buffer, NotLast)?;
        self.chunks.number = next;
        Ok(())
    }

    /// Seals the last chunk. The buffer holds the rest of the plaintext and room for the tag; the rest is empty only when all
    /// of the plaintext is.
    ///
    /// # Errors
    ///
    /// The buffer has a length that a last chunk cannot have.
    pub fn seal_last(self, buffer: &mut [u8]) -> Result<(), Error> {
        self.chunks.expect_last(buffer)?;
        self.chunks.seal(buffer, Last)
    }
}

/// Decrypts one stream.
pub struct Opener {
    chunks: Chunks,
}

impl Opener {
    /// Begins a stream with this header.
    ///
    /// # Errors
    ///
    /// The data key is not the one the stream was encrypted with, or the header was altered.
    pub fn new(header: &Header, data_key: &[u8]) -> Result<Self, Error> {
        let (chunks, commitment) = Chunks::new(data_key, header)?;
        if commitment == header.commitment { Ok(Self { chunks }) } else { Err(Error::WrongDataKey) }
    }

    /// The size of the chunks.
    #[must_use]
    pub const fn chunk_size(&self) -> ChunkSize {
        self.chunks.size
    }

    /// Opens a chunk that is not the last, in place, and gives its plaintext. If that fails the buffer is wiped.
    ///
    /// # Errors
    ///
    /// The buffer is not exactly the next chunk.
    pub fn open_chunk<'a>(&mut self, buffer: &'a mut [u8]) -> Result<&'a mut [u8], Error> {
        let next = self.chunks.next_number()?;
        self.chunks.expect_full(buffer)?;
        let plaintext = self.chunks.open(buffer, NotLast)?;
        self.chunks.number = next;
        Ok(plaintext)
    }

    /// Opens the last chunk, in place, and gives its plaintext. Only now is the stream known to be whole. If that fails the
    /// buffer is wiped.
    ///
    /// # Errors
    ///
    /// The buffer is not exactly the last chunk.
    pub fn open_last(self, buffer: &mut [u8]) -> Result<&mut [u8], Error> {
        self.chunks.expect_last(buffer)?;
        self.chunks.open(buffer, Last)
    }
}

/// The key of one stream, and where in the stream we are.
struct Chunks {
    key: LessSafeKey,
    nonce_prefix: [u8; NONCE_PREFIX_LEN],
    size: ChunkSize,
    /// The next chunk's number, from 0.
    number: u32,
}

/// The end of a chunk's nonce.
#[derive(Clone, Copy)]
enum Place {
    NotLast = 0,
    Last = 1,
}

use Place::{Last, NotLast};

impl Chunks {
    fn new(data_key: &[u8], header: &Header) -> Result<(Self, [u8; COMMITMENT_LEN]), Error> {
        if data_key.len() != DATA_KEY_LEN {
            return Err(Error::DataKeyLength(data_key.len()));
        }
        let data_key_id = header.wrapped_key().data_key_id();
        let info = [INFO_DOMAIN, &header.bound(), data_key_id.as_bytes()].concat();
        let mut derived = Zeroizing::new([[0; 32]; 2]);
        hkdf::Salt::new(hkdf::HKDF_SHA256, &header.salt)
            .extract(data_key)
            .expand(&[&info], KeyAndCommitment)?
            .fill(derived.as_flattened_mut())?;
        let [key, commitment] = &*derived;
        let chunks = Self {
            key: LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key)?),
            nonce_prefix: header.nonce_prefix,
            size: header.chunk_size,
            number: 0,
        };
        Ok((chunks, *commitment))
    }

    fn seal(&self, buffer: &mut [u8], place: Place) -> Result<(), Error> {
        let length = buffer.len();
        let (plaintext, room) = buffer.split_last_chunk_mut::<TAG_LEN>().ok_or(Error::ChunkLength(length))?;
        let tag = self.key.seal_in_place_separate_tag(self.nonce(place), Aad::empty(), plaintext)?;
        room.copy_from_slice(tag.as_ref());
        Ok(())
    }

    fn open<'a>(&self, buffer: &'a mut [u8], place: Place) -> Result<&'a mut [u8], Error> {
        let length = buffer.len();
        let (text, tag) = buffer.split_last_chunk_mut::<TAG_LEN>().ok_or(Error::ChunkLength(length))?;
        if self.key.open_in_place_separate_tag(self.nonce(place), Aad::empty(), tag, text).is_err() {
            // It may hold plaintext that is not authentic.
            text.zeroize();
            return Err(Error::Corrupt { chunk: self.number });
        }
        Ok(text)
    }

    fn nonce(&self, place: Place) -> Nonce {
        let mut nonce = [place as u8; NONCE_LEN];
        for (to, from) in nonce.iter_mut().zip(self.nonce_prefix.into_iter().chain(self.number.to_be_bytes())) {
            *to = from;
        }
        Nonce::assume_unique_for_key(nonce)
    }

    /// The number of the chunk after this one: a chunk that is not the last needs one.
    fn next_number(&self) -> Result<u32, Error> {
        self.number.checked_add(1).ok_or(Error::TooLong)
    }

    fn expect_full(&self, buffer: &[u8]) -> Result<(), Error> {
        if buffer.len() == self.size.bytes() + TAG_LEN { Ok(()) } else { Err(Error::ChunkLength(buffer.len())) }
    }

    fn expect_last(&self, buffer: &[u8]) -> Result<(), Error> {
        // An empty chunk after others would be a second way to end the same plaintext.
        let shortest = TAG_LEN + usize::from(self.number > 0);
        let longest = TAG_LEN + self.size.bytes();
        if (shortest..=longest).contains(&buffer.len()) { Ok(()) } else { Err(Error::ChunkLength(buffer.len())) }
    }
}

/// What is derived from a data key: the chunks' key, then the commitment.
struct KeyAndCommitment;

impl hkdf::KeyType for KeyAndCommitment {
    fn len(&self) -> usize {
        32 + COMMITMENT_LEN
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer").field("chunk", &self.chunks.number).finish_non_exhaustive()
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opener").field("chunk", &self.chunks.number).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;
    use crate::{
        format::wrapped_key::{self, Suite},
        id::{DataKeyId, KeyId, KeyVersion},
    };

    const DATA_KEY: [u8; DATA_KEY_LEN] = [7; DATA_KEY_LEN];

    fn wrapped(data_key: u8, nonce: u8) -> WrappedKey {
        let header = wrapped_key::Header::new(
            Suite::Aes256Gcm,
            KeyId::from_bytes([1; 16]),
            KeyVersion::FIRST,
            DataKeyId::from_bytes([data_key; 16]),
            [nonce; 12],
        );
        WrappedKey::new(header, vec![0; DATA_KEY_LEN + TAG_LEN]).unwrap()
    }

    fn seal(mut sealer: Sealer, plaintext: &[u8]) -> (Header, Vec<Vec<u8>>) {
        let header = sealer.header().clone();
        let room = |plaintext: &[u8]| [plaintext, &[0; TAG_LEN]].concat();
        let mut chunks: Vec<_> = plaintext.chunks(header.chunk_size().bytes()).map(room).collect();
        let mut last = chunks.pop().unwrap_or_else(|| room(&[]));
        for chunk in &mut chunks {
            sealer.seal_chunk(chunk).unwrap();
        }
        sealer.seal_last(&mut last).unwrap();
        chunks.push(last);
        (header, chunks)
    }

    fn open(header: &Header, data_key: &[u8], mut chunks: Vec<Vec<u8>>) -> Result<Vec<u8>, Error> {
        let mut opener = Opener::new(header, data_key)?;
        let mut last = chunks.pop().ok_or(Error::Truncated)?;
        let mut plaintext = Vec::new();
        for chunk in &mut chunks {
            plaintext.extend_from_slice(opener.open_chunk(chunk)?);
        }
        plaintext.extend_from_slice(opener.open_last(&mut last)?);
        Ok(plaintext)
    }

    fn sealed(length: usize) -> (Header, Vec<Vec<u8>>) {
        seal(Sealer::new(&DATA_KEY, wrapped(2, 3), ChunkSize::MIN).unwrap(), &vec![9; length])
    }

    #[test]
    fn sealing_gives_the_published_bytes() {
        #[derive(Deserialize)]
        struct Vectors {
            data_key: String,
            chunk_size_log2: u8,
            salt: String,
            nonce_prefix: String,
            wrapped_key: String,
            valid: Vec<Stream>,
        }
        #[derive(Deserialize)]
        struct Stream {
            plaintext: String,
            stream: String,
        }
        let hex = |text: &str| hex::decode(text).unwrap();
        let vectors: Vectors = serde_json::from_str(include_str!("../../tests/vectors/stream.json")).unwrap();
        for valid in &vectors.valid {
            let header = Header::new(
                ChunkSize::from_log2(vectors.chunk_size_log2).unwrap(),
                hex(&vectors.salt).try_into().unwrap(),
                hex(&vectors.nonce_prefix).try_into().unwrap(),
                WrappedKey::parse(&hex(&vectors.wrapped_key)).unwrap(),
            );
            let sealer = Sealer::with_header(&hex(&vectors.data_key), header).unwrap();
            let (header, chunks) = seal(sealer, &hex(&valid.plaintext));
            assert_eq!(hex::encode([header.to_bytes(), chunks.concat()].concat()), valid.stream);
        }
    }

    #[test]
    fn two_streams_under_one_data_key_share_nothing() {
        let ((one, one_chunks), (other, other_chunks)) = (sealed(200), sealed(200));
        assert_ne!((one.salt, one.nonce_prefix), (other.salt, other.nonce_prefix));
        assert_ne!(one_chunks, other_chunks);
        let mixed = [&one_chunks[..1], &other_chunks[1..]].concat();
        assert!(matches!(open(&one, &DATA_KEY, mixed), Err(Error::Corrupt { chunk: 1 })));
    }

    #[test]
    fn a_wrong_data_key_is_told_from_damage() {
        let (header, mut chunks) = sealed(200);
        assert!(matches!(open(&header, &[8; 32], chunks.clone()), Err(Error::WrongDataKey)));
        assert!(matches!(open(&header, &[7; 31], chunks.clone()), Err(Error::DataKeyLength(31))));
        chunks[2][0] ^= 1;
        assert!(matches!(open(&header, &DATA_KEY, chunks), Err(Error::Corrupt { chunk: 2 })));
    }

    #[test]
    fn a_damaged_chunk_leaves_nothing_behind() {
        let (header, mut chunks) = sealed(100);
        chunks[0][0] ^= 1;
        let mut opener = Opener::new(&header, &DATA_KEY).unwrap();
        opener.open_chunk(&mut chunks[0]).unwrap_err();
        assert!(chunks[0][..64].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn a_replaced_wrapped_key_must_hold_the_same_data_key() {
        let (header, chunks) = sealed(100);
        let rewrapped = header.replace_wrapped_key(wrapped(2, 4)).unwrap();
        assert_eq!(open(&rewrapped, &DATA_KEY, chunks).unwrap(), [9; 100]);
        assert!(matches!(header.replace_wrapped_key(wrapped(3, 3)), Err(Error::OtherDataKey)));
    }

    #[test]
    fn a_buffer_of_the_wrong_length_is_refused() {
        let mut sealer = Sealer::new(&DATA_KEY, wrapped(2, 3), ChunkSize::MIN).unwrap();
        for length in [0, 15, 16, 79, 81] {
            assert!(matches!(sealer.seal_chunk(&mut vec![0; length]), Err(Error::ChunkLength(_))), "{length}");
        }
        sealer.seal_chunk(&mut [0; 80]).unwrap();
        // Empty, after another chunk.
        assert!(matches!(sealer.seal_last(&mut [0; 16]), Err(Error::ChunkLength(16))));
    }

    #[test]
    fn the_number_of_chunks_never_wraps_round() {
        let mut sealer = Sealer::new(&DATA_KEY, wrapped(2, 3), ChunkSize::MIN).unwrap();
        sealer.chunks.number = u32::MAX;
        assert!(matches!(sealer.seal_chunk(&mut [0; 80]), Err(Error::TooLong)));
        sealer.seal_last(&mut [0; 80]).unwrap();
        assert_eq!(ChunkSize::MIN.sealed_len(64 << 32), Some(80 << 32));
        assert_eq!(ChunkSize::MIN.sealed_len((64 << 32) + 1), None);
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens(plaintext in proptest::collection::vec(any::<u8>(), 0..1000), log2 in 6..9_u8) {
            let size = ChunkSize::from_log2(log2).unwrap();
            let (header, chunks) = seal(Sealer::new(&DATA_KEY, wrapped(2, 3), size).unwrap(), &plaintext);
            prop_assert_eq!(chunks.concat().len() as u64, size.sealed_len(plaintext.len() as u64).unwrap());
            let bytes = header.to_bytes();
            prop_assert_eq!(Header::parse(&bytes).unwrap(), (header.clone(), &[][..]));
            prop_assert_eq!(open(&header, &DATA_KEY, chunks).unwrap(), plaintext);
        }

        #[test]
        fn any_other_sequence_of_chunks_is_refused(length in 1..400_usize, places in proptest::collection::vec(0..7_usize, 0..8)) {
            let (header, chunks) = sealed(length);
            let other: Vec<_> = places.iter().filter_map(|place| chunks.get(*place).cloned()).collect();
            prop_assume!(other != chunks);
            prop_assert!(open(&header, &DATA_KEY, other).is_err());
        }

        #[test]
        fn arbitrary_bytes_are_no_header(bytes in proptest::collection::vec(any::<u8>(), 0..300), cut in 0..200_usize) {
            let _ = Header::parse(&bytes);
            let whole = sealed(0).0.to_bytes();
            let cut = cut % whole.len();
            prop_assert!(matches!(Header::parse(&whole[..cut]), Err(Error::Truncated)));
        }
    }
}
