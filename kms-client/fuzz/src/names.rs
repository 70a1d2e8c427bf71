//! A name, reference, id or word that parses is written as it was read; what is refused says why without the whole of it.

use std::{fmt::Display, str::FromStr};

use kms_client::{
    format::{
        chain::{ChainHash, LeafHash, NodeKey, Signature},
        record::{Outcome, PrincipalKind, Surface},
    },
    id::{
        BindingId, ChangeId, ClientCaId, CredentialId, DataKeyId, IssuerId, KeyId, NodeId, PolicyId, PrincipalId,
        RecordId, RequestId, RoleId,
    },
    wire::{
        bytes::Base64,
        name::{
            ActionName, Alias, Audience, ClientCaName, Cursor, DataClass, Description, IssuerUrl, KeyName, KeyStore,
            Owner, Person, PolicyName, PrincipalName, PrincipalRef, Reason, Region, RoleName, Subject, Team,
        },
        principal::{Fingerprint, SubjectAltName},
        problem::Code,
        receipt::Revision,
        trace::TraceParent,
    },
};

/// The longest thing that an error may be, whatever was sent.
const LONGEST_ERROR: usize = 1024;

/// Reads a text, and gives back how it would be written.
fn read<T: FromStr<Err: Display> + Display + PartialEq>(text: &str) -> Option<String> {
    match text.parse::<T>() {
        Ok(value) => {
            let written = value.to_string();
            assert!(written.parse::<T>().is_ok_and(|again| again == value), "{written} does not read back");
            Some(written)
        }
        Err(error) => {
            assert!(error.to_string().len() <= LONGEST_ERROR, "an error repeats what was sent");
            None
        }
    }
}

macro_rules! one_spelling {
    ($text:expr, $($name:ty),+ $(,)?) => {$(
        if let Some(written) = read::<$name>($text) {
            assert_eq!(written, $text, stringify!($name));
        }
    )+};
}

macro_rules! any_spelling {
    ($text:expr, $($name:ty),+ $(,)?) => {$(
        let _written = read::<$name>($text);
    )+};
}

/// Checks it for these bytes.
pub fn check(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    one_spelling!(
        text,
        ActionName,
        Alias,
        Audience,
        Base64,
        ClientCaName,
        Code,
        Cursor,
        DataClass,
        Description,
        IssuerUrl,
        KeyStore,
        Outcome,
        Person,
        PolicyName,
        PrincipalKind,
        PrincipalName,
        Reason,
        Region,
        RoleName,
        Subject,
        Surface,
        TraceParent,
        Team,
    );
    // Hexadecimal is read in either case, and a number as people type it: in JSON a revision is no text.
    any_spelling!(
        text,
        BindingId,
        ChainHash,
        ChangeId,
        ClientCaId,
        CredentialId,
        DataKeyId,
        Fingerprint,
        IssuerId,
        KeyId,
        KeyName,
        LeafHash,
        NodeId,
        NodeKey,
        Owner,
        PolicyId,
        PrincipalId,
        PrincipalRef,
        RecordId,
        RequestId,
        Revision,
        RoleId,
        Signature,
        SubjectAltName,
    );
}
