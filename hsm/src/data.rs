//! Small records on the token: private `CKO_DATA` objects of the application `keyward`, found by label.
//!
//! A token cannot replace an object in one step, so a write makes the new record first and then destroys the old ones; each
//! carries a counter and a digest, and a read takes the newest that is whole. A crash leaves the old record or the new one
//! readable, never neither. Two processes that write one label at once leave one of both.

use aws_lc_rs::digest;
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};

use crate::error::Error;
use crate::profile::Verdict;
use crate::session::Token;

/// A record as found on the token.
struct Record {
    handle: ObjectHandle,
    /// Counter and content; `None` when a crash left it in pieces.
    content: Option<(u64, Vec<u8>)>,
}

impl Token {
    /// The newest whole record of this label.
    pub(crate) fn read_data(&mut self, label: &str) -> Result<Option<Vec<u8>>, Error> {
        let records = self.records(label)?;
        let newest = records.into_iter().filter_map(|record| record.content).max_by_key(|(counter, _)| *counter);
        Ok(newest.map(|(_, bytes)| bytes))
    }

    /// Replaces the record of this label.
    pub(crate) fn write_data(&mut self, label: &str, bytes: &[u8]) -> Result<(), Error> {
        let old = self.records(label)?;
        let newest = old.iter().filter_map(|record| record.content.as_ref()).map(|(counter, _)| *counter).max();
        let counter = newest.map_or(0, |counter| counter.saturating_add(1));

        let mut template = names(label);
        template.push(Attribute::Modifiable(false));
        template.push(Attribute::Value(encode(counter, bytes)));
        let created = self.session()?.create_object(&template);
        created.map_err(|error| self.fault(error))?;

        for record in old {
            let destroyed = self.session()?.destroy_object(record.handle);
            match destroyed {
                Err(error) if self.profile.verdict(&error) != Verdict::Stale => return Err(self.fault(error)),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    fn records(&mut self, label: &str) -> Result<Vec<Record>, Error> {
        let mut records = Vec::new();
        for handle in self.find(&names(label))? {
            let found = self.session()?.get_attributes(handle, &[AttributeType::Value]);
            let found = match found {
                // Another process has replaced it since the search.
                Err(error) if self.profile.verdict(&error) == Verdict::Stale => continue,
                found => found.map_err(|error| self.fault(error))?,
            };
            let content = match found.first() {
                Some(Attribute::Value(value)) => decode(value),
                _ => None,
            };
            records.push(Record { handle, content });
        }
        Ok(records)
    }
}

fn names(label: &str) -> Vec<Attribute> {
    vec![
        Attribute::Class(ObjectClass::DATA),
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Application(APPLICATION.to_vec()),
        Attribute::Label(label.as_bytes().to_vec()),
    ]
}

/// Digest of the rest, counter (big-endian), content.
fn encode(counter: u64, bytes: &[u8]) -> Vec<u8> {
    let counter = counter.to_be_bytes();
    let mut value = digest_of(&counter, bytes).as_ref().to_vec();
    value.extend(counter);
    value.extend(bytes);
    value
}

fn decode(value: &[u8]) -> Option<(u64, Vec<u8>)> {
    let (digest, rest) = value.split_first_chunk::<DIGEST_LEN>()?;
    let (counter, bytes) = rest.split_first_chunk()?;
    (digest_of(counter, bytes).as_ref() == digest).then(|| (u64::from_be_bytes(*counter), bytes.to_vec()))
}

fn digest_of(counter: &[u8], bytes: &[u8]) -> digest::Digest {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(counter);
    context.update(bytes);
    context.finish()
}

const APPLICATION: &[u8] = b"keyward";
const DIGEST_LEN: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_in_pieces_is_not_read() {
        let value = encode(7, b"head");
        assert_eq!(decode(&value), Some((7, b"head".to_vec())));
        for len in 0..value.len() {
            assert_eq!(decode(&value[..len]), None);
        }
        assert_eq!(decode(&encode(0, b"")), Some((0, Vec::new())));
    }
}
