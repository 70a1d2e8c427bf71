//! A header that parses is spelled in the only way there is, and no bytes but the sealed ones open as a stream.

use std::sync::LazyLock;

use kms_client::{
    envelope::{ChunkSize, Header, Opener, Sealer, TAG_LEN},
    format::{
        Suite, WrappedKey,
        wrapped_key::{self, NONCE_LEN},
    },
    id::{DataKeyId, KeyId, KeyVersion},
};

const DATA_KEY: [u8; 32] = [7; 32];

/// A header and its only chunk, empty.
static SEALED: LazyLock<(Header, [u8; TAG_LEN])> = LazyLock::new(|| {
    let (key, data_key) = (KeyId::from_bytes([1; 16]), DataKeyId::from_bytes([2; 16]));
    let header = wrapped_key::Header::new(Suite::Aes256Gcm, key, KeyVersion::FIRST, data_key, [3; NONCE_LEN]);
    let wrapped = WrappedKey::new(header, vec![0; 48]).expect("a ciphertext of 48 bytes is long enough");
    let sealer = Sealer::new(&DATA_KEY, wrapped, ChunkSize::MIN).expect("the data key is 32 bytes");
    let header = sealer.header().clone();
    let mut chunk = [0; TAG_LEN];
    sealer.seal_last(&mut chunk).expect("an empty chunk can be the last");
    (header, chunk)
});

fn opens(header: &Header, chunks: &[u8]) -> bool {
    let Ok(mut opener) = Opener::new(header, &DATA_KEY) else { return false };
    let mut chunks: Vec<_> = chunks.chunks(header.chunk_size().bytes() + TAG_LEN).map(<[u8]>::to_vec).collect();
    let Some(mut last) = chunks.pop() else { return false };
    chunks.iter_mut().all(|chunk| opener.open_chunk(chunk).is_ok()) && opener.open_last(&mut last).is_ok()
}

/// Checks it for these bytes.
pub fn check(bytes: &[u8]) {
    if let Ok((header, chunks)) = Header::parse(bytes) {
        assert_eq!([&header.to_bytes(), chunks].concat(), bytes);
        assert!(!opens(&header, chunks), "the commitment was guessed");
    }
    let (header, chunk) = &*SEALED;
    assert_eq!(opens(header, bytes), bytes == chunk);
}
