//! See `src/stream.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kms_client_fuzz::stream::check(bytes));
