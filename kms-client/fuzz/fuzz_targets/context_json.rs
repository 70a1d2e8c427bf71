//! See `src/context_json.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kms_client_fuzz::context_json::check(bytes));
