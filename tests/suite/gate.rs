//! The cut: from a change's receipt on nothing leaves under the older rule, whoever is slow, whatever is under way.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use futures_util::future::join_all;
use keyward_tests::{Backend, Dial, TestKms, from, host_command};
use kms_client::{
    client::{self, Client},
    format::record::Outcome,
    id::{RecordId, RequestId},
    wire::{
        audit::{AuditSearch, RecordView},
        batch::{Batch, BatchAnswer, Item},
        data_key::{UnwrapDataKey, UnwrappedDataKey, WrapDataKey},
        name::{KeyName, PrincipalRef, Reason},
        principal::Proof,
        problem::Code,
        receipt::Receipt,
    },
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};
use tokio_rustls::client::TlsStream;

/// So many unwraps of 4 KiB as fit into a request of 4 MiB.
const ITEMS: usize = 720;
const UNWRAPS: &str = "/v1/data-keys/unwrap/batch";
/// How long a section may hold up a change: `cluster::SECTION_GRACE`.
const GRACE: u64 = 50;

pub(crate) fn reason() -> Reason {
    "cut".parse().unwrap()
}

pub(crate) async fn wrapped(storage: &Client, key: &KeyName, bytes: usize) -> UnwrapDataKey {
    let plaintext = kms_client::wire::bytes::Plaintext::new(vec![7; bytes].into());
    let wrap = WrapDataKey { key: key.clone(), plaintext, context: from(json!({ "object": "1" })) };
    let wrapped = storage.wrap_data_key(&wrap).await.unwrap().wrapped;
    UnwrapDataKey { wrapped, context: wrap.context }
}

/// A connection of which the test sees what lies in the kernel, unread.
struct Wire {
    stream: TlsStream<TcpStream>,
    kernel: std::net::TcpStream,
}

/// An answer as far as it came.
struct Arrived {
    status: u16,
    /// How long the server said that its body is.
    length: usize,
    body: Vec<u8>,
}

impl Wire {
    async fn over(kms: &TestKms, stream: TcpStream) -> Self {
        let kernel = stream.into_std().unwrap();
        let stream = TcpStream::from_std(kernel.try_clone().unwrap()).unwrap();
        Self { stream: kms.dial_over(stream, Dial::default()).await.unwrap(), kernel }
    }

    async fn send(&mut self, path: &str, token: &str, body: &str) {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        self.stream.write_all(head.as_bytes()).await.unwrap();
        self.stream.write_all(body.as_bytes()).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// Whether a byte of an answer has come.
    fn has_bytes(&self) -> bool {
        matches!(self.kernel.peek(&mut [0]), Ok(1..))
    }

    /// Reads the answer to its end, or to that of the connection.
    async fn answer(&mut self) -> Arrived {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.stream.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse().unwrap();
        let mut body = Vec::new();
        // The server ends a connection that it gives up without a word of TLS.
        let _early = (&mut self.stream).take(length as u64).read_to_end(&mut body).await;
        Arrived { status, length, body }
    }
}

fn batch(unwrap: &UnwrapDataKey, items: usize) -> String {
    serde_json::to_string(&Batch { items: vec![unwrap.clone(); items] }).unwrap()
}

/// A client that asked for a very large answer, and does not read it once it began to come.
async fn slow_reader(kms: &TestKms, unwrap: &UnwrapDataKey) -> Wire {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut wire = Wire::over(kms, socket.connect(kms.server.api).await.unwrap()).await;
    let token = kms.token("storage");
    // What TLS sends of its own accord comes with the first answer.
    wire.send("/v1/random", &token, "{}").await;
    assert_eq!(wire.answer().await.status, 200);
    wire.send(UNWRAPS, &token, &batch(unwrap, ITEMS)).await;
    wire.stream.get_ref().0.readable().await.unwrap();
    wire
}

async fn stalled_client(backend: Backend) {
    let kms = TestKms::start(backend).await;
    let key = kms.usable_key("records", "imaging").await;
    let storage = kms.client("storage");
    let unwrap = wrapped(&storage, &key, 4096).await;

    // While no change waits, a slow client gets all of its answer.
    let mut slow = slow_reader(&kms, &unwrap).await;
    for _ in 0..10 {
        storage.unwrap_data_key(&unwrap).await.unwrap();
    }
    let all = slow.answer().await;
    assert_eq!((all.status, all.body.len()), (200, all.length));
    assert!(all.length > 3_900_000, "{}", all.length);

    let mut slow = slow_reader(&kms, &unwrap).await;
    let revoked = kms.client("ada").revoke_key(&key, reason()).await.unwrap();
    let [node] = revoked.receipt.nodes.as_slice() else { panic!("{revoked:?}") };
    assert!(node.milliseconds < 1000, "a client that does not read held the cut up: {node:?}");
    assert!(node.milliseconds >= GRACE, "the answer was not on its way, so nothing was shown: {node:?}");
    let late = storage.unwrap_data_key(&unwrap).await.unwrap_err();
    assert_eq!(late.code(), Some(Code::KeyRevoked));
    // What still comes was in the kernel's buffers before the receipt; the server has ended the connection.
    let part = slow.answer().await;
    assert!(part.body.len() < part.length, "all of {} bytes arrived after the cut", part.length);
    kms.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_holds_no_cut_up_on_sqlite() {
    stalled_client(Backend::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_holds_no_cut_up_on_postgres() {
    stalled_client(Backend::Postgres).await;
}

/// From the receipt on no byte leaves under the older rule: of 64 large answers under way, those of which nothing had come
/// when the administrator had the receipt hold nothing but refusals.
async fn nothing_leaves_after_the_receipt(backend: Backend) {
    const ROUNDS: usize = 40;
    let kms = TestKms::start(backend).await;
    let key = kms.usable_key("records", "imaging").await;
    let (ada, audrey, token) = (kms.client("ada"), kms.client("audrey"), kms.token("storage"));
    let unwrap = wrapped(&kms.client("storage"), &key, 1024).await;
    let body = batch(&unwrap, 40);
    let mut wires = Vec::new();
    for _ in 0..64 {
        let mut wire = Wire::over(&kms, TcpStream::connect(kms.server.api).await.unwrap()).await;
        wire.send("/v1/random", &token, "{}").await;
        assert_eq!(wire.answer().await.status, 200);
        wires.push(wire);
    }
    let items = |arrived: &Arrived| -> Vec<Item<UnwrappedDataKey>> {
        assert_eq!((arrived.status, arrived.body.len()), (200, arrived.length));
        serde_json::from_slice::<BatchAnswer<_>>(&arrived.body).unwrap().items
    };
    for _ in 0..ROUNDS {
        join_all(wires.iter_mut().map(|wire| wire.send(UNWRAPS, &token, &body))).await;
        wires[0].stream.get_ref().0.readable().await.unwrap();
        ada.disable_key(&key, reason()).await.unwrap();
        let came: Vec<_> = wires.iter().map(Wire::has_bytes).collect();
        let answers = join_all(wires.iter_mut().map(Wire::answer)).await;
        let mut late = BTreeSet::new();
        for (answer, came) in answers.iter().zip(came) {
            for item in items(answer) {
                match item {
                    Item::Result(opened) => assert!(came, "{} left after the receipt", opened.record),
                    Item::Error(problem) => {
                        assert_eq!(problem.code, Code::KeyDisabled);
                        late.insert(problem.request_id);
                    }
                }
            }
        }
        let withheld = AuditSearch { outcome: Some(Outcome::Withheld), ..AuditSearch::default() };
        let withheld = audrey.search_audit(&withheld).await.unwrap().records;
        if withheld.iter().any(|view| late.contains(&view.record.request)) {
            kms.stop().await;
            return;
        }
        ada.enable_key(&key).await.unwrap();
    }
    panic!("in {ROUNDS} rounds no answer was under way at the cut");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_leaves_after_the_receipt_on_sqlite() {
    nothing_leaves_after_the_receipt(Backend::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_leaves_after_the_receipt_on_postgres() {
    nothing_leaves_after_the_receipt(Backend::Postgres).await;
}

/// What 64 clients saw while something was cut under them.
#[derive(Debug, Default)]
struct Seen {
    successes: Mutex<BTreeSet<RecordId>>,
    refusals: Mutex<Vec<(Code, RequestId, Option<RecordId>)>>,
    /// Successes of requests that were sent after the administrator had the receipt.
    late: Mutex<Vec<RecordId>>,
}

/// Unwraps from 64 connections, carries out the cut in the middle of it, and goes on until each has asked once more.
async fn hammer(clients: &[Client], unwrap: &UnwrapDataKey, cut: impl Future<Output = Receipt>) -> Seen {
    let (seen, acknowledged, under_way) = (Seen::default(), AtomicBool::new(false), AtomicUsize::new(0));
    let (warm, mut warmed) = tokio::sync::watch::channel(false);
    let work = clients.iter().map(async |client| {
        loop {
            let after = acknowledged.load(Ordering::SeqCst);
            match client.unwrap_data_key(unwrap).await {
                Ok(opened) if after => seen.late.lock().unwrap().push(opened.record),
                Ok(opened) => {
                    seen.successes.lock().unwrap().insert(opened.record);
                    if under_way.fetch_add(1, Ordering::SeqCst) == clients.len() {
                        warm.send_replace(true);
                    }
                }
                Err(client::Error::Problem(problem)) => {
                    seen.refusals.lock().unwrap().push((problem.code, problem.request_id, problem.record));
                }
                // The server aborted a connection whose answer would have held the cut up.
                Err(client::Error::Transport { .. }) => {}
                Err(error) => panic!("{error:?}"),
            }
            if after {
                break;
            }
        }
    });
    let cutter = async {
        warmed.wait_for(|warm| *warm).await.unwrap();
        let receipt = cut.await;
        acknowledged.store(true, Ordering::SeqCst);
        assert!(receipt.nodes.iter().all(|node| node.milliseconds < 1000), "{receipt:?}");
    };
    tokio::join!(join_all(work), cutter);
    seen
}

/// Every record of unwraps in the log.
async fn unwraps(audrey: &Client) -> Vec<RecordView> {
    let (mut records, mut cursor) = (Vec::new(), None);
    loop {
        let action = Some("unwrap".parse().unwrap());
        let search = AuditSearch { action, limit: Some(1000), cursor, ..AuditSearch::default() };
        let page = audrey.search_audit(&search).await.unwrap();
        records.extend(page.records);
        cursor = page.next_cursor;
        if cursor.is_none() {
            return records;
        }
    }
}

/// What the log says fits what the clients saw. Answers how many answers were withheld.
async fn check(audrey: &Client, all: &[Seen]) -> usize {
    let mut by_request: BTreeMap<RequestId, Vec<(Outcome, RecordId)>> = BTreeMap::new();
    for view in unwraps(audrey).await {
        by_request.entry(view.record.request).or_default().push((view.record.outcome, view.id));
    }
    let requests: BTreeMap<RecordId, RequestId> = by_request
        .iter()
        .flat_map(|(request, records)| records.iter().map(|(_, record)| (*record, *request)))
        .collect();
    let mut withheld = 0;
    for seen in all {
        for record in seen.successes.lock().unwrap().iter() {
            let outcomes: Vec<_> = by_request[&requests[record]].iter().map(|(outcome, _)| *outcome).collect();
            assert_eq!(outcomes, [Outcome::Allowed], "an answer left, and its record says otherwise");
        }
        for (code, request, record) in seen.refusals.lock().unwrap().iter() {
            // Refusals before authentication are only counted when there are many at once.
            assert!(record.is_some() || *code == Code::Unauthenticated, "{code:?}");
            let Some(records) = by_request.get(request) else { continue };
            let mut outcomes: Vec<_> = records.iter().map(|(outcome, _)| *outcome).collect();
            outcomes.sort_by_key(ToString::to_string);
            match outcomes.as_slice() {
                [Outcome::Denied | Outcome::Failed] => {}
                [Outcome::Allowed, Outcome::Withheld] => withheld += 1,
                other => panic!("{code:?}: {other:?}"),
            }
        }
    }
    for (request, records) in &by_request {
        let count = |wanted| records.iter().filter(|(outcome, _)| *outcome == wanted).count();
        assert!(count(Outcome::Allowed) <= 1 && count(Outcome::Withheld) <= count(Outcome::Allowed), "{request}");
    }
    withheld
}

async fn storage_proofs(ada: &Client, storage: &PrincipalRef) -> (kms_client::id::CredentialId, Proof) {
    let credentials = ada.principal(storage).await.unwrap().principal.credentials;
    let token = credentials.into_iter().find(|credential| matches!(credential.proof, Proof::JwtSubject { .. }));
    let token = token.unwrap();
    (token.id, token.proof)
}

/// Each way to take the right away, under load from 64 connections.
async fn every_cut_is_instant(backend: Backend) {
    let kms = TestKms::start(backend).await;
    let key = kms.usable_key("records", "clinical").await;
    let (ada, audrey) = (kms.client("ada"), kms.client("audrey"));
    let clients: Vec<_> = (0..64).map(|_| kms.client("storage")).collect();
    let unwrap = wrapped(&clients[0], &key, 32).await;
    let storage: PrincipalRef = "storage".parse().unwrap();
    let mut all = Vec::new();

    all.push(hammer(&clients, &unwrap, async { ada.disable_key(&key, reason()).await.unwrap().receipt }).await);
    ada.enable_key(&key).await.unwrap();

    let (credential, proof) = storage_proofs(&ada, &storage).await;
    let remove = async { ada.remove_credential(&storage, credential).await.unwrap().receipt };
    all.push(hammer(&clients, &unwrap, remove).await);
    // A credential that went is never given again, so from here on the clients show certificates.
    assert_eq!(
        ada.add_credential(&storage, &proof).await.map(|_| ()).map_err(|error| error.code()),
        Err(Some(Code::AlreadyExists))
    );
    let leaf = kms.certificate("storage");
    let clients: Vec<_> = (0..64).map(|_| kms.client_with_certificate(&leaf)).collect();

    let bindings = ada.list_bindings(&from(json!({ "principal": "storage" }))).await.unwrap().bindings;
    let unwrapper = bindings.iter().find(|binding| binding.role.to_string() == "unwrapper").unwrap().id;
    all.push(hammer(&clients, &unwrap, async { ada.end_binding(unwrapper, reason()).await.unwrap().receipt }).await);
    let again = json!({ "principal": "storage", "role": "unwrapper", "scope": { "key": key } });
    ada.create_binding(&from(again)).await.unwrap();

    let version = ada.key(&key).await.unwrap().key.primary_version;
    ada.rotate_key(&key).await.unwrap();
    let one = async { ada.revoke_version(&key, version, reason()).await.unwrap().receipt };
    all.push(hammer(&clients, &unwrap, one).await);

    let unwrap = wrapped(&clients[0], &key, 32).await;
    all.push(hammer(&clients, &unwrap, async { ada.revoke_key(&key, reason()).await.unwrap().receipt }).await);

    let key = kms.usable_key("other", "clinical").await;
    let unwrap = wrapped(&clients[0], &key, 32).await;
    let suspend = async { kms.client("olaf").suspend_principal(&storage, reason()).await.unwrap().receipt };
    all.push(hammer(&clients, &unwrap, suspend).await);

    for (cut, seen) in all.iter().enumerate() {
        let late = seen.late.lock().unwrap();
        assert!(late.is_empty(), "cut {cut}: requests sent after the receipt succeeded: {late:?}");
        assert!(seen.successes.lock().unwrap().len() >= 64, "cut {cut}");
        assert!(seen.refusals.lock().unwrap().len() >= 64, "cut {cut}");
    }
    check(&audrey, &all).await;
    let verified = host_command("verify-audit", &kms.folder().join("kms.toml"), &[]).await;
    assert!(verified.status.success(), "{verified:?}");
    kms.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_cut_is_instant_on_sqlite() {
    every_cut_is_instant(Backend::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_cut_is_instant_on_postgres() {
    every_cut_is_instant(Backend::Postgres).await;
}

/// Cuts again and again, until answers were caught between their record and the gate: each has a second record.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_permitted_before_a_cut_is_withheld_on_record() {
    const ROUNDS: usize = 100;
    let kms = TestKms::start(Backend::Sqlite).await;
    let key = kms.usable_key("records", "clinical").await;
    let (ada, audrey) = (kms.client("ada"), kms.client("audrey"));
    let clients: Vec<_> = (0..64).map(|_| kms.client("storage")).collect();
    let unwrap = wrapped(&clients[0], &key, 32).await;
    for _ in 0..ROUNDS {
        let seen = hammer(&clients, &unwrap, async { ada.disable_key(&key, reason()).await.unwrap().receipt }).await;
        assert!(seen.late.lock().unwrap().is_empty());
        let withheld = check(&audrey, std::slice::from_ref(&seen)).await;
        if withheld > 0 {
            // The client is told why it may not, as if it had asked a moment later.
            let search = AuditSearch { outcome: Some(Outcome::Withheld), ..AuditSearch::default() };
            let record = audrey.search_audit(&search).await.unwrap().records.remove(0).record;
            assert_eq!((record.reason.as_str(), record.bytes_out), ("key_disabled", 0));
            let refusals = seen.refusals.into_inner().unwrap();
            assert!(refusals.iter().any(|(code, request, _)| (*code, *request) == (Code::KeyDisabled, record.request)));
            kms.stop().await;
            return;
        }
        ada.enable_key(&key).await.unwrap();
    }
    panic!("in {ROUNDS} rounds no answer was caught before the gate");
}
