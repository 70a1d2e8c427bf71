//! See `src/jwks.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kms_server_fuzz::jwks::check(bytes));
