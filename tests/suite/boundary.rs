//! The HTTP boundary under bytes that nobody chose, from none that make sense to requests that are nearly good: the property
//! that the fuzz target `request` looks for exceptions of.

use std::{
    panic,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use keyward_tests::Boundary;
use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{Config, TestCaseError, TestRunner},
};

const SEEDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../kms-server/fuzz/seeds/request");
const METHODS: &str = "GET|GET|POST|POST|PATCH|DELETE|HEAD|PUT|OPTIONS|get|[A-Z]{1,9}";
const PATHS: &str = "/|/v1/(whoami|keys|principals|bindings|roles|policies|explain|changes)|/v1/audit/search|\
                     /v1/data-keys/(generate|wrap|unwrap|rewrap)(/batch)?|/v1/keys/alias%2F[a-z]{1,3}(/rotate|/disable)?|\
                     /v1/keys/[0-9a-f-]{1,36}|/v1/trust/(issuers|client-cas)(/[a-z0-9]{1,9})?|/v1/(%[0-9A-F]{2}){1,3}|\
                     /v1/principals/(ada|[a-z]{1,4})/(suspend|reinstate|credentials)|[!-~]{1,12}|/openapi\\.json";
const QUERIES: &str = "|\\?(limit|cursor|state|name|days)=[a-z0-9%&=]{0,12}|\\?[!-~]{0,12}";
const FIELDS: &str = "host: a|authorization: Bearer TOKEN|authorization: Bearer [!-~]{0,20}|authorization: Basic YTpi|\
                      content-type: application/json|content-type: [a-z/;= -]{1,20}|transfer-encoding: (chunked|gzip|identity)|\
                      content-length: [0-9]{1,3}|content-length: -?[0-9]{1,25}|if-match: [ -~]{0,12}|\
                      idempotency-key: \"?[a-z]{0,9}\"?|traceparent: [0-9a-f-]{0,60}|expect: 100-continue|\
                      connection: (close|upgrade|keep-alive)|upgrade: (h2c|websocket)|prefer: respond-async|[a-z-]{1,9}: [ -~]{0,20}";
const BODIES: &str = "|\\{\\}|\\[\\]|\\{\"items\":\\[(\\{\\},){0,3}\\{\\}\\]\\}|[ -~]{0,40}|\\{\"[a-z_]{1,9}\":(null|1|\"[a-z/]{0,9}\"|\\{\\})\\}|\
                      \\{\"alias\":\"[a-z]{1,3}\",\"data_class\":\"[a-z]{1,3}\"(,\"rotation\":\\{\"max_wraps\":[0-9]{1,12}\\})?\\}|\
                      \\{\"key\":\"alias/[a-z]{1,2}\",\"(plaintext|wrapped_key)\":\"[A-Za-z0-9+/=]{0,12}\",\"context\":\\{(\"a\":\"b\")?\\}\\}";

/// A request with a good token, by fields that mostly make sense; its length is as a rule that of its body.
fn request() -> impl Strategy<Value = Vec<u8>> {
    (METHODS, PATHS, QUERIES, vec(FIELDS, 0..4), BODIES, 0_u8..8).prop_map(
        |(method, path, query, fields, body, honest)| {
            let usual = "authorization: Bearer TOKEN\r\ncontent-type: application/json\r\n";
            let length = format!("content-length: {}\r\n", body.len());
            let (usual, length) = if honest > 0 { (usual, length.as_str()) } else { ("", "") };
            let fields: Vec<_> = fields.iter().map(|field| format!("{field}\r\n")).collect();
            let start = format!("{method} {path}{query} HTTP/1.1\r\nhost: a\r\n");
            [&start, usual, length, &fields.concat(), "\r\n", &body].concat().into_bytes()
        },
    )
}

/// A request that someone wrote by hand, with bytes cut out, put in and written over.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let edit = (any::<prop::sample::Index>(), 0_usize..9, vec(any::<u8>(), 0..9));
    (prop::sample::select(seeds()), vec(edit, 1..5)).prop_map(|(mut bytes, edits)| {
        for (place, gone, new) in edits {
            let from = place.index(bytes.len() + 1);
            let to = (from + gone).min(bytes.len());
            bytes.splice(from..to, new);
        }
        bytes
    })
}

fn seeds() -> Vec<Vec<u8>> {
    let mut files: Vec<_> = std::fs::read_dir(SEEDS).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|file| std::fs::read(file).unwrap()).collect()
}

/// How often this process has panicked, in whatever thread: a connection's panic is the server's, and not seen by callers.
fn count_panics() -> Arc<AtomicUsize> {
    let (count, usual) = (Arc::<AtomicUsize>::default(), panic::take_hook());
    let counted = Arc::clone(&count);
    panic::set_hook(Box::new(move |info| {
        counted.fetch_add(1, Ordering::SeqCst);
        usual(info);
    }));
    count
}

fn holds_for(cases: u32, strategy: &impl Strategy<Value = Vec<u8>>) {
    let (boundary, panics) = (Boundary::start(), count_panics());
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let held = runner.run(strategy, |bytes| {
        let before = panics.load(Ordering::SeqCst);
        boundary.check(&bytes);
        let sent = || String::from_utf8_lossy(&bytes).into_owned();
        (panics.load(Ordering::SeqCst) == before).then_some(()).ok_or_else(|| TestCaseError::fail(sent()))
    });
    held.unwrap_or_else(|error| panic!("{error}"));
    // And a good request is answered as before.
    assert_eq!(boundary.answers(b""), [200]);
    boundary.stop();
}

#[test]
fn any_bytes_have_an_answer_or_an_end() {
    holds_for(128, &vec(any::<u8>(), 0..512));
}

#[test]
fn any_request_has_an_answer_or_an_end() {
    holds_for(512, &request());
}

#[test]
fn any_damaged_request_has_an_answer_or_an_end() {
    holds_for(256, &damaged());
}

/// Without this the property would hold for a server that hangs up on everybody.
#[test]
fn what_is_good_is_answered() {
    let boundary = Boundary::start();
    for seed in seeds() {
        let statuses = boundary.answers(&seed);
        assert!(statuses.len() >= 2, "{statuses:?} {}", String::from_utf8_lossy(&seed));
        assert_eq!(statuses.last(), Some(&200), "{}", String::from_utf8_lossy(&seed));
    }
    boundary.stop();
}
