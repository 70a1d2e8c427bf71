//! What must hold at the HTTP boundary, for bytes that libFuzzer chooses. `TOKEN` in the bytes stands for a good token.
#![no_main]

use std::sync::LazyLock;

use keyward_tests::Boundary;

static BOUNDARY: LazyLock<Boundary> = LazyLock::new(Boundary::start);

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    BOUNDARY.check(bytes);
});
