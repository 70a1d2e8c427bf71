//! See `src/stored.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kms_server_fuzz::stored::check(bytes));
