//! See `src/wrapped_key.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kms_client_fuzz::wrapped_key::check(bytes));
