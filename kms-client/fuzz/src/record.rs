//! What decodes as an audit record encodes to the same bytes.

use kms_client::format::Record;

/// Checks it for these bytes.
pub fn check(bytes: &[u8]) {
    if let Ok(record) = Record::decode(bytes) {
        assert_eq!(record.encode().as_deref(), Ok(bytes));
        let json = serde_json::to_string(&record).expect("a record has a JSON view");
        assert_eq!(serde_json::from_str::<Record>(&json).expect("and it reads back"), record);
    }
}
