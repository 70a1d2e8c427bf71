//! The exact bytes of everything that outlives a request: encryption contexts, wrapped keys, audit records and the chains
//! they form. `FORMATS.md` specifies them for implementers who have only that page, and published vectors pin them.
//!
//! Parsers here are strict. A value has one encoding, and whatever is not that encoding is refused: what is authenticated
//! must not have two spellings. Nothing here reads a clock, a file or a socket.

pub mod chain;
pub mod context;
pub mod hex_bytes;
pub(crate) mod reader;
pub mod record;
pub mod wrapped_key;

pub use self::{
    chain::{ChainHash, LeafHash},
    context::EncryptionContext,
    record::Record,
    wrapped_key::{Suite, WrappedKey},
};
