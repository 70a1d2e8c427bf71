//! SIGHUP to the real server: it reads its certificate again. New connections see the new one, open ones live on, and what
//! cannot be used leaves the old one serving, with one line that says so.

use std::{
    fs::{self, File},
    path::Path,
    time::SystemTime,
};

use keyward_tests::{Ask, Backend, Connection, Dial, Leaf, Process, TestKms, until};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};

const READ: &str = "the server's certificate was read again";
const UNUSABLE: &str = "the server's new certificate cannot be used; the old one stays in use";

/// Both files, written so that nobody sees by looking that they changed: in place, of one size and one time. The server looks
/// every two seconds; what is shown here is the signal.
fn install(folder: &Path, certificate: &str, key: &str, at: SystemTime) {
    for (name, text) in [("server.pem", certificate), ("server.key", key)] {
        let path = folder.join(name);
        fs::write(&path, format!("{text:\n<4096}")).unwrap();
        File::open(path).unwrap().set_modified(at).unwrap();
    }
}

async fn shown(server: &Process) -> CertificateDer<'static> {
    let stream = server.dial(Dial::default()).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

fn der(leaf: &Leaf) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(leaf.certificate.as_bytes()).unwrap()
}

fn lines(server: &Process, message: &str) -> Vec<String> {
    server.log().lines().filter(|line| line.contains(message)).map(str::to_owned).collect()
}

/// Sends the signal, and waits until one line more says this.
async fn hang_up(server: &Process, message: &str) -> String {
    let before = lines(server, message).len();
    server.hang_up().await;
    let lines = until(async || Some(lines(server, message)).filter(|lines| lines.len() > before)).await;
    assert_eq!(lines.len(), before + 1, "{lines:?}");
    lines.into_iter().last().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hang_up_reads_the_certificate_again() {
    let stopped = TestKms::start(Backend::Sqlite).await.stop().await;
    let [first, second, third] = [(); 3].map(|()| stopped.identities.server());
    let (folder, at) = (stopped.folder(), SystemTime::now());
    install(folder, &first.certificate, &first.key, at);
    let server = stopped.process(None).await.unwrap();
    let whoami = Ask::new("GET", "/v1/whoami").token(&stopped.token("ada"));
    let mut open = Connection::over(server.dial(Dial::default()).await.unwrap()).await;
    assert_eq!(open.ask(&whoami).await.status, 200);
    assert_eq!(shown(&server).await, der(&first));

    install(folder, &second.certificate, &second.key, at);
    assert_eq!(shown(&server).await, der(&first), "nobody said anything yet");
    hang_up(&server, READ).await;
    assert_eq!(shown(&server).await, der(&second));
    assert_eq!(open.ask(&whoami).await.status, 200, "an open connection lives on");

    for (certificate, key, file) in [
        ("rubbish", third.key.as_str(), "server.pem"),
        (&third.certificate, "rubbish", "server.key"),
        (&third.certificate, &second.key, "server.pem"),
    ] {
        install(folder, certificate, key, at);
        let line = hang_up(&server, UNUSABLE).await;
        assert!(line.contains(file) && line.contains("\"ERROR\""), "{line}");
        assert_eq!(shown(&server).await, der(&second), "{line}");
        assert_eq!(open.ask(&whoami).await.status, 200, "{line}");
    }

    // It is not the end of it: the next good pair is taken, and each signal had its one line.
    install(folder, &third.certificate, &third.key, at);
    hang_up(&server, READ).await;
    assert_eq!(shown(&server).await, der(&third));
    assert_eq!(open.ask(&whoami).await.status, 200);
    assert_eq!((lines(&server, READ).len(), lines(&server, UNUSABLE).len()), (2, 3), "{}", server.log());
}
