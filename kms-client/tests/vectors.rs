//! Holds the formats to the published vectors, which a second implementation wrote (`vectors/make.py`).
#![cfg(test)]

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use kms_client::{
    envelope::{self, ChunkSize, Opener},
    format::{
        EncryptionContext, Record, WrappedKey,
        chain::{AuditKey, ChainHash, Predecessor, SignedHead, leaf_hash, verify_chain},
        wrapped_key::{Header, Suite},
    },
    id::{DataKeyId, KeyId, KeyVersion, NodeId},
};
use serde::{Deserialize, de::DeserializeOwned};

/// What a file of vectors holds in most cases.
#[derive(Deserialize)]
struct Vectors<V, I> {
    valid: Vec<V>,
    invalid: Vec<I>,
}

/// Bytes, in hexadecimal.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Hex(Vec<u8>);

impl TryFrom<String> for Hex {
    type Error = hex::FromHexError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        hex::decode(text).map(Self)
    }
}

#[derive(Deserialize)]
struct InvalidBytes {
    bytes: Hex,
    why: String,
}

fn read<T: DeserializeOwned>(json: &str) -> T {
    serde_json::from_str(json).unwrap()
}

fn aes(key: &[u8]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).unwrap())
}

/// Plays the HSM.
fn decrypt(master_key: &[u8], wrapped: &WrappedKey, context: &EncryptionContext) -> Vec<u8> {
    let mut text = wrapped.ciphertext().to_vec();
    let nonce = Nonce::assume_unique_for_key(*wrapped.nonce());
    aes(master_key).open_in_place(nonce, Aad::from(wrapped.aad(context)), &mut text).unwrap().to_vec()
}

#[test]
fn contexts() {
    #[derive(Deserialize)]
    struct Valid {
        context: EncryptionContext,
        canonical: Hex,
    }
    #[derive(Deserialize)]
    struct Invalid {
        json: String,
        why: String,
    }
    let vectors: Vectors<Valid, Invalid> = read(include_str!("vectors/context.json"));
    for valid in vectors.valid {
        assert_eq!(valid.context.canonical(), valid.canonical.0);
    }
    for invalid in vectors.invalid {
        assert!(serde_json::from_str::<EncryptionContext>(&invalid.json).is_err(), "{}", invalid.why);
    }
}

#[test]
fn wrapped_keys() {
    #[derive(Deserialize)]
    struct Valid {
        master_key: Hex,
        plaintext: Hex,
        key: KeyId,
        version: KeyVersion,
        data_key: DataKeyId,
        nonce: Hex,
        context: EncryptionContext,
        aad: Hex,
        wrapped_key: Hex,
        base64: String,
    }
    let vectors: Vectors<Valid, InvalidBytes> = read(include_str!("vectors/wrapped_key.json"));
    for valid in vectors.valid {
        let nonce = valid.nonce.0.try_into().unwrap();
        let header = Header::new(Suite::Aes256Gcm, valid.key, valid.version, valid.data_key, nonce);
        assert_eq!(header.aad(&valid.context), valid.aad.0);

        let mut text = valid.plaintext.0.clone();
        let nonce = Nonce::assume_unique_for_key(nonce);
        aes(&valid.master_key.0).seal_in_place_append_tag(nonce, Aad::from(&valid.aad.0), &mut text).unwrap();
        let wrapped = WrappedKey::new(header, text).unwrap();
        assert_eq!(wrapped.to_bytes(), valid.wrapped_key.0);
        assert_eq!(wrapped.to_string(), valid.base64);

        let wrapped = WrappedKey::parse(&valid.wrapped_key.0).unwrap();
        assert_eq!(*wrapped.header(), header);
        assert_eq!(valid.base64.parse(), Ok(wrapped.clone()));
        assert_eq!(decrypt(&valid.master_key.0, &wrapped, &valid.context), valid.plaintext.0);
    }
    for invalid in vectors.invalid {
        assert!(WrappedKey::parse(&invalid.bytes.0).is_err(), "{}", invalid.why);
    }
}

#[test]
fn records() {
    #[derive(Deserialize)]
    struct Valid {
        name: String,
        record: serde_json::Value,
        bytes: Hex,
        leaf_hash: String,
    }
    let vectors: Vectors<Valid, InvalidBytes> = read(include_str!("vectors/record.json"));
    for valid in vectors.valid {
        let record: Record = serde_json::from_value(valid.record.clone()).unwrap();
        assert_eq!(record.encode().unwrap(), valid.bytes.0, "{}", valid.name);
        assert_eq!(Record::decode(&valid.bytes.0), Ok(record.clone()), "{}", valid.name);
        assert_eq!(leaf_hash(&valid.bytes.0).to_string(), valid.leaf_hash, "{}", valid.name);
        assert_eq!(serde_json::to_value(&record).unwrap(), valid.record, "{}", valid.name);
        // What a typical record costs is a promise to whoever keeps them for ten years.
        assert!(valid.name != "a typical unwrap" || valid.bytes.0.len() <= 260, "{}", valid.bytes.0.len());
    }
    for invalid in vectors.invalid {
        assert!(Record::decode(&invalid.bytes.0).is_err(), "{}", invalid.why);
    }
}

#[test]
fn chain() {
    #[derive(Deserialize)]
    struct Chain {
        node: NodeId,
        predecessor: Predecessor,
        audit_key: String,
        first_genesis: ChainHash,
        genesis: ChainHash,
        records: Vec<Hex>,
        hashes: Vec<ChainHash>,
        heads: Vec<SignedHead>,
    }
    let vectors: Chain = read(include_str!("vectors/chain.json"));
    assert_eq!(ChainHash::genesis(vectors.node, None), vectors.first_genesis);
    let mut hash = ChainHash::genesis(vectors.node, Some(vectors.predecessor));
    assert_eq!(hash, vectors.genesis);
    for (record, expected) in vectors.records.iter().zip(&vectors.hashes) {
        hash = hash.extend(leaf_hash(&record.0));
        assert_eq!(hash, *expected);
    }

    let audit_key = AuditKey::Ed25519(vectors.audit_key.parse().unwrap());
    let verified = verify_chain(&audit_key, vectors.records.iter().map(|record| &record.0), vectors.heads).unwrap();
    assert_eq!(verified.node, vectors.node);
    assert_eq!(verified.announcement.predecessor, Some(vectors.predecessor));
    assert_eq!(verified.records, 3);
    assert_eq!(verified.head, hash);
}

#[derive(Deserialize)]
struct Streams {
    master_key: Hex,
    context: EncryptionContext,
    data_key: Hex,
    chunk_size_log2: u8,
    rewrapped_key: Hex,
    #[serde(flatten)]
    cases: Vectors<Sealed, Damaged>,
}

#[derive(Deserialize)]
struct Sealed {
    plaintext: Hex,
    stream: Hex,
    rewrapped: Hex,
}

#[derive(Deserialize)]
struct Damaged {
    stream: Hex,
    why: String,
}

/// Opens a stream that is wholly in memory.
fn open(stream: &[u8], data_key: &[u8]) -> Result<Vec<u8>, envelope::Error> {
    let (header, chunks) = envelope::Header::parse(stream)?;
    let mut opener = Opener::new(&header, data_key)?;
    let size = header.chunk_size().bytes() + envelope::TAG_LEN;
    let mut chunks = chunks.to_vec();
    let last = chunks.len().saturating_sub(1) / size * size;
    let (first, last) = chunks.split_at_mut(last);
    let mut plaintext = Vec::new();
    for chunk in first.chunks_mut(size) {
        plaintext.extend_from_slice(opener.open_chunk(chunk)?);
    }
    plaintext.extend_from_slice(opener.open_last(last)?);
    Ok(plaintext)
}

#[test]
fn streams_open() {
    let vectors: Streams = read(include_str!("vectors/stream.json"));
    let rewrapped = WrappedKey::parse(&vectors.rewrapped_key.0).unwrap();
    for valid in vectors.cases.valid {
        let (header, chunks) = envelope::Header::parse(&valid.stream.0).unwrap();
        assert_eq!(header.chunk_size(), ChunkSize::from_log2(vectors.chunk_size_log2).unwrap());
        let length = header.chunk_size().sealed_len(valid.plaintext.0.len() as u64).unwrap();
        assert_eq!(length, chunks.len() as u64);

        let data_key = decrypt(&vectors.master_key.0, header.wrapped_key(), &vectors.context);
        assert_eq!(data_key, vectors.data_key.0);
        assert_eq!(open(&valid.stream.0, &data_key).unwrap(), valid.plaintext.0);

        let header = header.replace_wrapped_key(rewrapped.clone()).unwrap();
        assert_eq!([&header.to_bytes(), chunks].concat(), valid.rewrapped.0);
        assert_eq!(open(&valid.rewrapped.0, &data_key).unwrap(), valid.plaintext.0);
    }
    for invalid in vectors.cases.invalid {
        assert!(open(&invalid.stream.0, &vectors.data_key.0).is_err(), "{}", invalid.why);
    }
}

#[cfg(feature = "http")]
#[tokio::test]
async fn streams_open_from_a_reader() {
    async fn open(mut stream: &[u8], data_key: &[u8]) -> Result<Vec<u8>, envelope::Error> {
        let mut plaintext = Vec::new();
        let header = envelope::read_header(&mut stream).await?;
        envelope::decrypt(Opener::new(&header, data_key)?, &mut stream, &mut plaintext).await?;
        Ok(plaintext)
    }
    let vectors: Streams = read(include_str!("vectors/stream.json"));
    for valid in vectors.cases.valid {
        assert_eq!(open(&valid.stream.0, &vectors.data_key.0).await.unwrap(), valid.plaintext.0);
    }
    for invalid in vectors.cases.invalid {
        assert!(open(&invalid.stream.0, &vectors.data_key.0).await.is_err(), "{}", invalid.why);
    }
}
