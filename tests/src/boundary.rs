//! What must hold at the HTTP boundary: whatever bytes come over TLS, the server answers HTTP or ends the connection. Nothing
//! hangs or is a fault of the server's own, and every refusal of its own is a problem.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    runtime::Runtime,
    time::timeout,
};

use crate::{Backend, Dial, TestKms};

/// What stands in the bytes for a good token.
const TOKEN: &[u8] = b"TOKEN";
/// Follows the bytes, so that the server ends the connection when it has answered all of them: it owes nobody an answer who
/// ends it first.
const LAST: &[u8] =
    b"\r\n\r\nGET /v1/whoami HTTP/1.1\r\nhost: a\r\nauthorization: Bearer TOKEN\r\nconnection: close\r\n\r\n";
/// After so long without a byte the server waits for the rest of a body, which then does not come.
const QUIET: Duration = Duration::from_millis(200);
/// Far more than any answer takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server, and a token of an administrator's for those requests that are to get in.
pub struct Boundary {
    runtime: Runtime,
    kms: TestKms,
    token: String,
}

impl Boundary {
    /// A server of its own.
    pub fn start() -> Self {
        let runtime = Runtime::new().unwrap();
        let kms = runtime.block_on(TestKms::start(Backend::Sqlite));
        let token = kms.token("ada");
        Self { runtime, kms, token }
    }

    /// Sends bytes on a connection of their own. What came back is HTTP; the status of each answer.
    pub fn check(&self, bytes: &[u8]) -> Vec<u16> {
        self.talk(bytes, QUIET)
    }

    /// The same with whole requests: all of their answers, however long they take, and that of the last one.
    pub fn answers(&self, requests: &[u8]) -> Vec<u16> {
        self.talk(requests, PATIENCE)
    }

    fn talk(&self, bytes: &[u8], quiet: Duration) -> Vec<u16> {
        let request = self.with_token(&[bytes, LAST].concat());
        let answer = self.runtime.block_on(async {
            let mut stream = self.kms.dial(Dial::default()).await.expect("the server takes connections");
            let mut answer = Vec::new();
            // The server may have answered and left before all was written or read.
            let talk = async {
                let _written = stream.write_all(&request).await;
                while let Ok(Ok(1..)) = timeout(quiet, stream.read_buf(&mut answer)).await {}
                let _ended = stream.shutdown().await;
                let _read = stream.read_to_end(&mut answer).await;
            };
            timeout(PATIENCE, talk).await.expect("the server neither answered nor left");
            answer
        });
        statuses(&String::from_utf8_lossy(&answer))
    }

    /// Stops the server in order.
    pub fn stop(self) {
        self.runtime.block_on(self.kms.stop());
    }

    fn with_token(&self, bytes: &[u8]) -> Vec<u8> {
        let mut request = Vec::with_capacity(bytes.len() + self.token.len());
        let mut rest = bytes;
        while let Some(at) = rest.windows(TOKEN.len()).position(|window| window == TOKEN) {
            request.extend_from_slice(&rest[..at]);
            request.extend_from_slice(self.token.as_bytes());
            rest = &rest[at + TOKEN.len()..];
        }
        request.extend_from_slice(rest);
        request
    }
}

/// The status of each answer, of which several may follow one another.
fn statuses(answer: &str) -> Vec<u16> {
    if answer.is_empty() {
        return Vec::new();
    }
    assert!(answer.starts_with("HTTP/1."), "{answer}");
    let starts = answer.match_indices("HTTP/1.").map(|(start, _)| start);
    // A body ends without a line's end. None of ours has a status in it.
    let starts: Vec<_> = starts.filter(|start| status(&answer[*start..]).is_some()).collect();
    let ends = starts.iter().skip(1).copied().chain([answer.len()]);
    starts.iter().zip(ends).map(|(start, end)| checked(&answer[*start..end])).collect()
}

fn checked(answer: &str) -> u16 {
    let status = status(answer).unwrap();
    assert!(status != 500 && (100..600).contains(&status), "{answer}");
    // Without an id it is not ours, but the HTTP library's, which has no body.
    if answer.contains("keyward-request-id") && (400..500).contains(&status) {
        assert!(answer.contains("application/problem+json"), "{answer}");
    }
    status
}

fn status(answer: &str) -> Option<u16> {
    let answer = answer.strip_prefix("HTTP/1.1 ").or_else(|| answer.strip_prefix("HTTP/1.0 "))?;
    let (digits, rest) = answer.split_at_checked(3)?;
    digits.parse().ok().filter(|_| rest.starts_with([' ', '\r']))
}
