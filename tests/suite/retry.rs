//! The client asks again where that is safe, and only there. What fails is the network or a real server.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use keyward_tests::{Backend, TestKms, from};
use kms_client::{
    client::{self, Client},
    wire::problem::Code,
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
};

/// A cable that breaks: the first `broken` connections end once the client has sent its request, the others lead to the
/// server.
async fn cable(kms: &TestKms, broken: usize, after_answer: bool) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, api) = (listener.local_addr().unwrap().port(), kms.server.api);
    let seen = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&seen);
    #[expect(clippy::disallowed_methods, reason = "it ends with the test")]
    let _cable = tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let number = counted.fetch_add(1, Ordering::SeqCst);
            let mut server = TcpStream::connect(api).await.unwrap();
            if number >= broken {
                #[expect(clippy::disallowed_methods, reason = "it ends with the test")]
                let _open = tokio::spawn(async move { copy_bidirectional(&mut client, &mut server).await });
            } else if after_answer {
                cut_after_the_request(client, server).await;
            } else {
                // Before a byte of TLS was answered nothing was asked.
                drop(client);
            }
        }
    });
    (port, seen)
}

/// Lets the handshake and the request through and keeps the server's answer to the request.
async fn cut_after_the_request(mut client: TcpStream, mut server: TcpStream) {
    let (mut from_client, mut from_server) = (vec![0; 65_536], vec![0; 65_536]);
    let mut flights = 0;
    loop {
        tokio::select! {
            read = client.read(&mut from_client) => {
                let read = read.unwrap();
                if read == 0 { return; }
                server.write_all(&from_client[..read]).await.unwrap();
                // The client's hello; the end of its handshake, with the request behind it or after it.
                flights += 1;
            }
            read = server.read(&mut from_server) => {
                let read = read.unwrap();
                if read == 0 { return; }
                // The hello and the tickets are short of an answer, which comes last and names its request.
                if flights >= 3 { return; }
                client.write_all(&from_server[..read]).await.unwrap();
            }
        }
    }
}

fn client(kms: &TestKms, port: u16, who: &str, retries: u32) -> Client {
    kms.builder()
        .url(format!("https://localhost:{port}"))
        .token(kms.token(who))
        .retries(retries)
        .deadline(Duration::from_secs(20))
        .build()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_never_got_there_is_sent_again() {
    let kms = TestKms::start(Backend::Sqlite).await;
    let key = kms.usable_key("records", "clinical").await;
    let generate = from(json!({ "key": key }));

    let (port, seen) = cable(&kms, 2, false).await;
    client(&kms, port, "storage", 4).generate_data_key(&generate).await.unwrap();
    assert_eq!(seen.load(Ordering::SeqCst), 3);
    let (port, _) = cable(&kms, 2, false).await;
    client(&kms, port, "ada", 4).create_key(&from(json!({ "data_class": "clinical" }))).await.unwrap();
    // Not what changes something that is there, and nothing once it is turned off.
    let (port, seen) = cable(&kms, 1, false).await;
    let lost = client(&kms, port, "ada", 4).disable_key(&key, "test".parse().unwrap()).await.unwrap_err();
    assert!(matches!(lost, client::Error::Transport { .. }), "{lost:?}");
    assert_eq!(seen.load(Ordering::SeqCst), 1);
    let (port, seen) = cable(&kms, 1, false).await;
    client(&kms, port, "storage", 0).generate_data_key(&generate).await.unwrap_err();
    assert_eq!(seen.load(Ordering::SeqCst), 1);
    kms.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_refuses_is_asked_again_later() {
    let limits = "[limits]\nprincipal_requests_per_second = 1000\nprincipal_burst = 1000\n";
    let kms = TestKms::start_with(Backend::Sqlite, false, limits).await;
    kms.usable_key("records", "clinical").await;
    let batch = from(json!({ "items": vec![json!({ "bytes": 1 }); 1000] }));
    let patient = client(&kms, kms.server.api.port(), "storage", 4);
    // Each takes the whole burst: without asking again the second would fail.
    for _ in 0..2 {
        patient.randoms(&batch).await.unwrap();
    }
    let impatient = client(&kms, kms.server.api.port(), "storage", 0);
    assert_eq!(impatient.randoms(&batch).await.unwrap_err().code(), Some(Code::RateLimited));
    // What it would have to wait for is longer than the call may take.
    let hurried = kms.builder().token(kms.token("storage")).retries(4).deadline(Duration::from_millis(500));
    assert_eq!(hurried.build().unwrap().randoms(&batch).await.unwrap_err().code(), Some(Code::RateLimited));
    kms.stop().await;
}

/// The creation was made and its answer lost: the client asks again under the same name, and gets it.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_of_a_creation_is_fetched_again() {
    let kms = TestKms::start(Backend::Sqlite).await;
    let (port, seen) = cable(&kms, 1, true).await;
    let created = client(&kms, port, "ada", 4)
        .create_key(&from(json!({ "alias": "records", "data_class": "clinical" })))
        .await
        .unwrap();
    assert!(seen.load(Ordering::SeqCst) >= 2, "the first answer was to be lost");
    let ada = kms.client("ada");
    assert_eq!(ada.key(&"alias/records".parse().unwrap()).await.unwrap().key.id, created.key.id);
    assert_eq!(ada.list_keys(&kms_client::wire::key::KeyQuery::default()).await.unwrap().keys.len(), 1);
    kms.stop().await;
}
