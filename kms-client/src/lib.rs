//! The public contract of Keyward: identifiers, wire types, exact formats, HTTP client and command line.
#![cfg_attr(feature = "http", doc = "", doc = include_str!("../README.md"))]

#[cfg(feature = "http")]
pub mod client;
#[cfg(feature = "http")]
pub mod config;
pub mod envelope;
pub mod format;
pub mod id;
pub mod wire;
