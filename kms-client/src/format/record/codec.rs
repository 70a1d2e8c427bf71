//! The bytes of a record. One record has one encoding, and bytes that are not exactly that are refused: an unknown format or
//! word, a presence bit nobody defined, trailing bytes. Numbers are big-endian, texts UTF-8 behind a u16 length.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{ContextDigest, Outcome, PrincipalKind, Record, Surface};
use crate::{
    format::reader::Reader,
    id::{ChangeId, CredentialId, DataKeyId, KeyId, KeyVersion, NodeId, PrincipalId, RequestId},
};

/// The most bytes `detail` may have.
pub const MAX_DETAIL_BYTES: usize = 1024 * 1024;
/// The most bytes a record may have in all.
pub const MAX_RECORD_BYTES: usize = 2 * 1024 * 1024;

const FORMAT: u8 = 1;

// Presence bits, in the order of the optional fields.
const PRINCIPAL: u16 = 1 << 0;
const PERSON: u16 = 1 << 1;
const PRINCIPAL_KIND: u16 = 1 << 2;
const CREDENTIAL: u16 = 1 << 3;
const SOURCE: u16 = 1 << 4;
const KEY: u16 = 1 << 5;
const KEY_VERSION: u16 = 1 << 6;
const KEY_CLASS: u16 = 1 << 7;
const DATA_KEY: u16 = 1 << 8;
const CONTEXT_DIGEST: u16 = 1 << 9;
const CHANGE: u16 = 1 << 10;
const DETAIL: u16 = 1 << 11;
const DEFINED: u16 = (1 << 12) - 1;

const IPV4: u8 = 4;
const IPV6: u8 = 6;

/// A record with a text, a list or a sum of them that is too long to be written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the audit record is too long")]
pub struct RecordTooLong;

/// Bytes that are not the encoding of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a valid audit record: {0}")]
pub struct InvalidRecord(&'static str);

impl Record {
    /// The record's bytes.
    ///
    /// # Errors
    ///
    /// A text has more than 65,535 bytes, there are more than 65,535 policies, or a limit above is passed.
    pub fn encode(&self) -> Result<Vec<u8>, RecordTooLong> {
        let mut bytes = Vec::with_capacity(320);
        bytes.push(FORMAT);
        bytes.extend_from_slice(&self.presence().to_be_bytes());
        bytes.extend_from_slice(&self.time_micros.to_be_bytes());
        bytes.extend_from_slice(self.node.as_bytes());
        bytes.extend_from_slice(&self.sequence.to_be_bytes());
        bytes.extend_from_slice(self.request.as_bytes());
        bytes.extend_from_slice(&self.item.to_be_bytes());
        bytes.extend_from_slice(&[self.surface.code(), self.outcome.code()]);
        bytes.extend_from_slice(&self.revision.to_be_bytes());
        bytes.extend_from_slice(&self.bytes_in.to_be_bytes());
        bytes.extend_from_slice(&self.bytes_out.to_be_bytes());
        bytes.extend_from_slice(&self.count.to_be_bytes());
        write_text(&mut bytes, &self.action)?;
        write_text(&mut bytes, &self.reason)?;
        write_text(&mut bytes, &self.region)?;
        bytes.extend_from_slice(&short(self.policies.len())?);
        for policy in &self.policies {
            write_text(&mut bytes, policy)?;
        }
        self.write_optional(&mut bytes)?;
        if bytes.len() > MAX_RECORD_BYTES {
            return Err(RecordTooLong);
        }
        Ok(bytes)
    }

    /// The record that [`Self::encode`] wrote as exactly these bytes.
    ///
    /// # Errors
    ///
    /// There is no such record.
    pub fn decode(bytes: &[u8]) -> Result<Self, InvalidRecord> {
        if bytes.len() > MAX_RECORD_BYTES {
            return Err(InvalidRecord("it is too long"));
        }
        let mut reader = Reader::new(bytes);
        if reader.u8() != Some(FORMAT) {
            return Err(InvalidRecord("unknown format"));
        }
        let present = reader.u16().ok_or(TRUNCATED)?;
        if present & !DEFINED != 0 {
            return Err(InvalidRecord("unknown field"));
        }
        let record = read(&mut reader, present)?;
        if reader.is_empty() { Ok(record) } else { Err(InvalidRecord("trailing bytes")) }
    }

    fn presence(&self) -> u16 {
        [
            (PRINCIPAL, self.principal.is_some()),
            (PERSON, self.person.is_some()),
            (PRINCIPAL_KIND, self.principal_kind.is_some()),
            (CREDENTIAL, self.credential.is_some()),
            (SOURCE, self.source.is_some()),
            (KEY, self.key.is_some()),
            (KEY_VERSION, self.key_version.is_some()),
            (KEY_CLASS, self.key_class.is_some()),
            (DATA_KEY, self.data_key.is_some()),
            (CONTEXT_DIGEST, self.context_digest.is_some()),
            (CHANGE, self.change.is_some()),
            (DETAIL, self.detail.is_some()),
        ]
        .into_iter()
        .filter_map(|(bit, present)| present.then_some(bit))
        .sum()
    }

    fn write_optional(&self, bytes: &mut Vec<u8>) -> Result<(), RecordTooLong> {
        if let Some(principal) = &self.principal {
            bytes.extend_from_slice(principal.as_bytes());
        }
        if let Some(person) = &self.person {
            write_text(bytes, person)?;
        }
        if let Some(kind) = self.principal_kind {
            bytes.push(kind.code());
        }
        if let Some(credential) = &self.credential {
            bytes.extend_from_slice(credential.as_bytes());
        }
        match self.source {
            None => {}
            Some(IpAddr::V4(address)) => {
                bytes.push(IPV4);
                bytes.extend_from_slice(&address.octets());
            }
            Some(IpAddr::V6(address)) => {
                bytes.push(IPV6);
                bytes.extend_from_slice(&address.octets());
            }
        }
        if let Some(key) = &self.key {
            bytes.extend_from_slice(key.as_bytes());
        }
        if let Some(version) = self.key_version {
            bytes.extend_from_slice(&version.number().to_be_bytes());
        }
        if let Some(class) = &self.key_class {
            write_text(bytes, class)?;
        }
        if let Some(data_key) = &self.data_key {
            bytes.extend_from_slice(data_key.as_bytes());
        }
        if let Some(digest) = &self.context_digest {
            bytes.extend_from_slice(digest.as_bytes());
        }
        if let Some(change) = &self.change {
            bytes.extend_from_slice(change.as_bytes());
        }
        if let Some(detail) = &self.detail {
            let length = u32::try_from(detail.len()).map_err(|_| RecordTooLong)?;
            if detail.len() > MAX_DETAIL_BYTES {
                return Err(RecordTooLong);
            }
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(detail.as_bytes());
        }
        Ok(())
    }
}

const TRUNCATED: InvalidRecord = InvalidRecord("it ends too early");
const UNKNOWN_WORD: InvalidRecord = InvalidRecord("unknown word");

fn short(length: usize) -> Result<[u8; 2], RecordTooLong> {
    u16::try_from(length).map(u16::to_be_bytes).map_err(|_| RecordTooLong)
}

fn write_text(bytes: &mut Vec<u8>, text: &str) -> Result<(), RecordTooLong> {
    bytes.extend_from_slice(&short(text.len())?);
    bytes.extend_from_slice(text.as_bytes());
    Ok(())
}

/// Reads all fields in the order of the bytes: an expression's fields are evaluated as they are written.
fn read(reader: &mut Reader<'_>, present: u16) -> Result<Record, InvalidRecord> {
    let time_micros = i64::from_be_bytes(array(reader)?);
    let node = NodeId::from_bytes(array(reader)?);
    let sequence = reader.u64().ok_or(TRUNCATED)?;
    let request = RequestId::from_bytes(array(reader)?);
    let item = reader.u32().ok_or(TRUNCATED)?;
    let surface = reader.u8().and_then(Surface::from_code).ok_or(UNKNOWN_WORD)?;
    let outcome = reader.u8().and_then(Outcome::from_code).ok_or(UNKNOWN_WORD)?;
    let revision = reader.u64().ok_or(TRUNCATED)?;
    let bytes_in = reader.u32().ok_or(TRUNCATED)?;
    let bytes_out = reader.u32().ok_or(TRUNCATED)?;
    let count = reader.u32().ok_or(TRUNCATED)?;
    let action = read_text(reader)?;
    let reason = read_text(reader)?;
    let region = read_text(reader)?;
    let policies = read_policies(reader)?;
    let mut optional = Optional { reader, present };
    Ok(Record {
        time_micros,
        node,
        sequence,
        request,
        item,
        surface,
        outcome,
        revision,
        bytes_in,
        bytes_out,
        count,
        action,
        reason,
        region,
        policies,
        principal: optional.field(PRINCIPAL, |reader| array(reader).map(PrincipalId::from_bytes))?,
        person: optional.field(PERSON, read_text)?,
        principal_kind: optional
            .field(PRINCIPAL_KIND, |reader| reader.u8().and_then(PrincipalKind::from_code).ok_or(UNKNOWN_WORD))?,
        credential: optional.field(CREDENTIAL, |reader| array(reader).map(CredentialId::from_bytes))?,
        source: optional.field(SOURCE, read_address)?,
        key: optional.field(KEY, |reader| array(reader).map(KeyId::from_bytes))?,
        key_version: optional.field(KEY_VERSION, |reader| {
            KeyVersion::new(reader.u32().ok_or(TRUNCATED)?).ok_or(InvalidRecord("key version zero"))
        })?,
        key_class: optional.field(KEY_CLASS, read_text)?,
        data_key: optional.field(DATA_KEY, |reader| array(reader).map(DataKeyId::from_bytes))?,
        context_digest: optional.field(CONTEXT_DIGEST, |reader| array(reader).map(ContextDigest::from_bytes))?,
        change: optional.field(CHANGE, |reader| array(reader).map(ChangeId::from_bytes))?,
        detail: optional.field(DETAIL, read_detail)?,
    })
}

/// Reads a field only where its presence bit is set.
struct Optional<'r, 'a> {
    reader: &'r mut Reader<'a>,
    present: u16,
}

impl<'a> Optional<'_, 'a> {
    fn field<T>(
        &mut self,
        bit: u16,
        read: impl FnOnce(&mut Reader<'a>) -> Result<T, InvalidRecord>,
    ) -> Result<Option<T>, InvalidRecord> {
        (self.present & bit != 0).then(|| read(self.reader)).transpose()
    }
}

fn array<const N: usize>(reader: &mut Reader<'_>) -> Result<[u8; N], InvalidRecord> {
    reader.array().ok_or(TRUNCATED)
}

fn utf8(bytes: &[u8]) -> Result<String, InvalidRecord> {
    str::from_utf8(bytes).map(str::to_owned).map_err(|_| InvalidRecord("a text is not UTF-8"))
}

fn read_text(reader: &mut Reader<'_>) -> Result<String, InvalidRecord> {
    let length = reader.u16().ok_or(TRUNCATED)?;
    utf8(reader.take(length.into()).ok_or(TRUNCATED)?)
}

fn read_policies(reader: &mut Reader<'_>) -> Result<Vec<String>, InvalidRecord> {
    let count = reader.u16().ok_or(TRUNCATED)?;
    (0..count).map(|_| read_text(reader)).collect()
}

fn read_address(reader: &mut Reader<'_>) -> Result<IpAddr, InvalidRecord> {
    match reader.u8().ok_or(TRUNCATED)? {
        IPV4 => Ok(Ipv4Addr::from(array::<4>(reader)?).into()),
        IPV6 => Ok(Ipv6Addr::from(array::<16>(reader)?).into()),
        _ => Err(InvalidRecord("unknown kind of address")),
    }
}

fn read_detail(reader: &mut Reader<'_>) -> Result<String, InvalidRecord> {
    let length = reader.u32().and_then(|length| usize::try_from(length).ok()).ok_or(TRUNCATED)?;
    if length > MAX_DETAIL_BYTES {
        return Err(InvalidRecord("its detail is too long"));
    }
    utf8(reader.take(length).ok_or(TRUNCATED)?)
}

#[cfg(test)]
mod tests {
    use proptest::{option, prelude::*};

    use super::*;

    type Bytes16 = [u8; 16];

    prop_compose! {
        fn identity()(
            principal in option::of(any::<Bytes16>()),
            person in option::of(".{0,20}"),
            principal_kind in option::of(prop::sample::select(PrincipalKind::ALL)),
            credential in option::of(any::<Bytes16>()),
            source in option::of(any::<IpAddr>()),
        ) -> (Option<PrincipalId>, Option<String>, Option<PrincipalKind>, Option<CredentialId>, Option<IpAddr>) {
            let (principal, credential) = (principal.map(PrincipalId::from_bytes), credential.map(CredentialId::from_bytes));
            (principal, person, principal_kind, credential, source)
        }
    }

    prop_compose! {
        fn keys()(
            key in option::of(any::<Bytes16>()),
            version in option::of(1..=u32::MAX),
            class in option::of("[a-z]{0,8}"),
            data_key in option::of(any::<Bytes16>()),
            digest in option::of(any::<[u8; 32]>()),
        ) -> (Option<KeyId>, Option<KeyVersion>, Option<String>, Option<DataKeyId>, Option<ContextDigest>) {
            let (key, data_key) = (key.map(KeyId::from_bytes), data_key.map(DataKeyId::from_bytes));
            (key, version.and_then(KeyVersion::new), class, data_key, digest.map(ContextDigest::from_bytes))
        }
    }

    prop_compose! {
        fn record()(
            (time_micros, node, sequence, request, item) in any::<(i64, Bytes16, u64, Bytes16, u32)>(),
            (principal, person, principal_kind, credential, source) in identity(),
            (key, key_version, key_class, data_key, context_digest) in keys(),
            surface in prop::sample::select(Surface::ALL),
            outcome in prop::sample::select(Outcome::ALL),
            (action, reason, region) in (".{0,12}", ".{0,12}", ".{0,12}"),
            policies in prop::collection::vec(".{0,12}", 0..4),
            (revision, bytes_in, bytes_out, count, change) in any::<(u64, u32, u32, u32, Option<Bytes16>)>(),
            detail in option::of(".{0,64}"),
        ) -> Record {
            Record {
                time_micros, node: NodeId::from_bytes(node), sequence, request: RequestId::from_bytes(request), item,
                principal, person, principal_kind, credential, source, surface, action, key, key_version, key_class,
                data_key, outcome, reason, policies, revision, region, context_digest, bytes_in, bytes_out,
                change: change.map(ChangeId::from_bytes), count, detail,
            }
        }
    }

    fn plain() -> Record {
        let json = include_str!("../../../tests/vectors/record.json");
        let vectors: serde_json::Value = serde_json::from_str(json).unwrap();
        serde_json::from_value(vectors["valid"][0]["record"].clone()).unwrap()
    }

    #[test]
    fn a_text_of_any_field_is_bounded() {
        let long = "x".repeat(65_536);
        assert!(Record { action: "x".repeat(65_535), ..plain() }.encode().is_ok());
        assert_eq!(Record { action: long.clone(), ..plain() }.encode(), Err(RecordTooLong));
        assert_eq!(Record { person: Some(long.clone()), ..plain() }.encode(), Err(RecordTooLong));
        assert_eq!(Record { policies: vec![long], ..plain() }.encode(), Err(RecordTooLong));
        assert_eq!(Record { policies: vec![String::new(); 65_536], ..plain() }.encode(), Err(RecordTooLong));
        assert_eq!(Record { policies: vec!["x".repeat(60_000); 36], ..plain() }.encode(), Err(RecordTooLong));
    }

    #[test]
    fn a_detail_is_bounded_on_both_sides() {
        let longest = Record { detail: Some("x".repeat(MAX_DETAIL_BYTES)), ..plain() };
        assert_eq!(Record::decode(&longest.encode().unwrap()), Ok(longest));
        let longer = Record { detail: Some("x".repeat(MAX_DETAIL_BYTES + 1)), ..plain() };
        assert_eq!(longer.encode(), Err(RecordTooLong));
        // A length that lies costs no memory.
        let mut bytes = Record { detail: Some(String::new()), ..plain() }.encode().unwrap();
        let end = bytes.len();
        bytes[end - 4..].copy_from_slice(&u32::MAX.to_be_bytes());
        assert!(Record::decode(&bytes).is_err());
    }

    proptest! {
        #[test]
        fn bytes_and_json_and_back_are_the_same(record in record()) {
            prop_assert_eq!(Record::decode(&record.encode().unwrap()).unwrap(), record.clone());
            prop_assert_eq!(serde_json::from_str::<Record>(&serde_json::to_string(&record).unwrap()).unwrap(), record);
        }

        #[test]
        fn what_decodes_is_canonical(record in record(), place in any::<prop::sample::Index>(), byte: u8) {
            let mut bytes = record.encode().unwrap();
            let place = place.index(bytes.len());
            bytes[place] = byte;
            if let Ok(other) = Record::decode(&bytes) {
                prop_assert_eq!(other.encode().unwrap(), bytes);
            }
        }

        #[test]
        fn a_part_of_a_record_is_none(record in record(), cut in any::<prop::sample::Index>(), more: u8) {
            let mut bytes = record.encode().unwrap();
            prop_assert!(Record::decode(&bytes[..cut.index(bytes.len())]).is_err());
            bytes.push(more);
            prop_assert!(Record::decode(&bytes).is_err());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Record::decode(&bytes);
        }
    }
}
