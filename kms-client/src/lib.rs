//! The public contract of Keyward: identifiers, wire types, exact formats, HTTP client and command line.
#![cfg_attr(feature = "http", doc = "", doc = include_str!("../README.md"))]

/// The examples for developers of storage services.
#[cfg(all(doctest, feature = "http"))]
#[doc = include_str!("../STORAGE.md")]
pub struct Storage;

#[cfg(feature = "http")]
pub mod client;
#[cfg(feature = "http")]
pub mod config;
pub mod envelope;
pub mod format;
pub mod id;
pub mod wire;
