//! Whatever bytes come over TLS, the server answers HTTP or ends the connection: nothing panics, hangs or is a fault of its
//! own, and every refusal of ours is a problem. `TOKEN` in the bytes stands for a good token.
#![no_main]

use std::{sync::LazyLock, time::Duration};

use keyward_tests::{Backend, Dial, TestKms};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    runtime::Runtime,
    time::timeout,
};

/// Far more than any answer takes.
const PATIENCE: Duration = Duration::from_secs(20);

struct Served {
    runtime: Runtime,
    kms: TestKms,
    token: String,
}

static SERVED: LazyLock<Served> = LazyLock::new(|| {
    let runtime = Runtime::new().expect("a runtime");
    let kms = runtime.block_on(TestKms::start(Backend::Sqlite));
    let token = kms.token("ada");
    Served { runtime, kms, token }
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Served { runtime, kms, token } = &*SERVED;
    let request = with_token(bytes, token.as_bytes());
    let answer = runtime.block_on(async {
        let mut stream = kms.dial(Dial::default()).await.expect("the server takes connections");
        let mut answer = Vec::new();
        // The server may have answered and left before all was written or read.
        let talk = async {
            let _written = stream.write_all(&request).await;
            let _ended = stream.shutdown().await;
            let _read = stream.read_to_end(&mut answer).await;
        };
        timeout(PATIENCE, talk).await.expect("the server neither answered nor left");
        answer
    });
    check(&answer);
});

fn check(answer: &[u8]) {
    let answer = String::from_utf8_lossy(answer);
    if answer.is_empty() {
        return;
    }
    assert!(answer.starts_with("HTTP/1."), "{answer}");
    // Several requests have several answers; nobody else writes this at the beginning of a line.
    for line in answer.lines().filter(|line| line.starts_with("HTTP/1.1 ")) {
        let status = line.split(' ').nth(1).and_then(|status| status.parse::<u16>().ok()).expect("a status");
        assert!(status != 500 && (100..600).contains(&status), "{answer}");
    }
    // Without an id it is not ours, but the HTTP library's, which has no body.
    if answer.contains("keyward-request-id") && answer.starts_with("HTTP/1.1 4") {
        assert!(answer.contains("application/problem+json"), "{answer}");
    }
}

fn with_token(bytes: &[u8], token: &[u8]) -> Vec<u8> {
    let mut request = Vec::with_capacity(bytes.len() + token.len());
    let mut rest = bytes;
    while let Some(at) = rest.windows(5).position(|window| window == b"TOKEN") {
        request.extend_from_slice(&rest[..at]);
        request.extend_from_slice(token);
        rest = &rest[at + 5..];
    }
    request.extend_from_slice(rest);
    request
}
