//! See `src/query.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kms_server_fuzz::query::check(bytes));
