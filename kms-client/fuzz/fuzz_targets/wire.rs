//! See `src/wire.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kms_client_fuzz::wire::check(bytes));
