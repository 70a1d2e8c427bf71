//! See `src/certificate.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kms_server_fuzz::certificate::check(bytes));
