//! The server's own certificate replaced while it runs, the versions of TLS, and sessions that are resumed.

use std::{fs, sync::Arc};

use keyward_tests::{Ask, Backend, Connection, Dial, Leaf, TestKms};
use rustls::{
    ClientConfig, HandshakeKind, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
    version::{TLS12, TLS13},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

fn whoami(kms: &TestKms) -> Ask {
    Ask::new("GET", "/v1/whoami").token(&kms.token("ada"))
}

/// The leaf that a handshake shows now.
async fn shown(kms: &TestKms) -> CertificateDer<'static> {
    let stream = kms.dial(Dial::default()).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

fn der(leaf: &Leaf) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(leaf.certificate.as_bytes()).unwrap()
}

fn install(kms: &TestKms, certificate: &str, key: &str) {
    for (name, text) in [("server.pem", certificate), ("server.key", key)] {
        let new = kms.folder().join("new");
        fs::write(&new, text).unwrap();
        fs::rename(&new, kms.folder().join(name)).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_replaced_without_a_restart() {
    let kms = TestKms::start(Backend::Sqlite).await;
    let first = shown(&kms).await;
    let mut open = kms.connect(None).await;
    assert_eq!(open.ask(&whoami(&kms)).await.status, 200);

    let second = kms.identities.server();
    install(&kms, &second.certificate, &second.key);
    kms.server.reload_certificate().unwrap();
    assert_eq!(shown(&kms).await, der(&second));
    assert_ne!(first, der(&second));
    assert_eq!(open.ask(&whoami(&kms)).await.status, 200, "an open connection lives on");

    // Neither rubbish nor a key of another certificate replaces what works.
    let third = kms.identities.server();
    for (certificate, key) in [
        ("rubbish", third.key.as_str()),
        (third.certificate.as_str(), "rubbish"),
        (third.certificate.as_str(), second.key.as_str()),
        ("", ""),
    ] {
        install(&kms, certificate, key);
        let bad = kms.server.reload_certificate().unwrap_err();
        assert!(bad.path.starts_with(kms.folder()), "{bad}");
        assert_eq!(shown(&kms).await, der(&second), "{bad}");
    }
    let figures =
        reqwest::get(format!("http://{}/metrics", kms.server.operations)).await.unwrap().text().await.unwrap();
    assert!(figures.contains("keyward_tls_reload_failures_total"), "{figures}");
    assert!(figures.contains("keyward_tls_certificate_not_after_seconds"), "{figures}");

    // Files that are replaced are noticed by themselves.
    install(&kms, &third.certificate, &third.key);
    while shown(&kms).await != der(&third) {}
    assert_eq!(open.ask(&whoami(&kms)).await.status, 200);
    kms.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_1_2_is_spoken_only_where_it_is_configured() {
    let old = Dial { versions: &[&TLS12], ..Dial::default() };
    let kms = TestKms::start(Backend::Sqlite).await;
    kms.dial(old).await.expect_err("TLS 1.2 by default");
    kms.stop().await;

    let kms = TestKms::start_with(Backend::Sqlite, false, "[tls]\nminimum_version = \"1.2\"\n").await;
    let stream = kms.dial(old).await.unwrap();
    let suite = stream.get_ref().1.negotiated_cipher_suite().unwrap().suite();
    assert!(format!("{suite:?}").starts_with("TLS_ECDHE_"), "{suite:?}");
    assert_eq!(Connection::over(stream).await.ask(&whoami(&kms)).await.status, 200);
    let newest = kms.dial(Dial { versions: &[&TLS12, &TLS13], ..Dial::default() }).await.unwrap();
    assert_eq!(newest.get_ref().1.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    kms.stop().await;
}

async fn resume(kms: &TestKms, config: &Arc<ClientConfig>) -> TlsStream<TcpStream> {
    let stream = TcpStream::connect(kms.server.api).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::clone(config)).connect(name, stream).await.unwrap()
}

/// A resumed session brings the certificates of the first handshake, and they are asked about like any others.
#[tokio::test(flavor = "multi_thread")]
async fn a_resumed_session_outlives_no_authority() {
    let kms = TestKms::start_with(Backend::Sqlite, false, "[tls]\nminimum_version = \"1.2\"\n").await;
    let leaf = kms.certificate("ada");
    let ask = Ask::new("GET", "/v1/whoami");
    let mut sessions = Vec::new();
    for version in [&TLS12, &TLS13] {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(kms.identities.ca_pem.as_bytes()).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![der(&leaf)], PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).unwrap())
            .unwrap();
        let config = Arc::new(config);
        for turn in 0..2 {
            let stream = resume(&kms, &config).await;
            let kind = stream.get_ref().1.handshake_kind();
            assert_eq!(kind == Some(HandshakeKind::Resumed), turn > 0, "{version:?} {kind:?}");
            assert_eq!(Connection::over(stream).await.ask(&ask).await.status, 200);
        }
        sessions.push(config);
    }
    let authority = kms.client("ada").list_client_cas().await.unwrap().client_cas[0].id;
    kms.client("ada").remove_client_ca(authority).await.unwrap();
    for config in sessions {
        let stream = resume(&kms, &config).await;
        assert_eq!(stream.get_ref().1.handshake_kind(), Some(HandshakeKind::Resumed));
        let reply = Connection::over(stream).await.ask(&ask).await;
        assert_eq!((reply.status, reply.code().as_deref()), (401, Some("unauthenticated")));
    }
    kms.stop().await;
}
