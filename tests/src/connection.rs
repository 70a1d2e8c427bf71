//! One connection that a test holds open, and requests on it written byte for byte as the test wants them.

use std::{io, sync::Arc};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{
    HeaderMap, Request,
    client::conn::http1::{self, SendRequest},
    header::{AUTHORIZATION, CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use kms_client::wire::problem::REQUEST_ID_HEADER;
use rustls::{
    ClientConfig, RootCertStore, SupportedProtocolVersion,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
    version::TLS13,
};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{Identities, Leaf, Process, TestKms};

static NEWEST: [&SupportedProtocolVersion; 1] = [&TLS13];

/// How a test connects.
#[derive(Debug, Clone, Copy)]
pub struct Dial<'a> {
    /// The certificate to show, if any.
    pub leaf: Option<&'a Leaf>,
    /// The protocols to offer (RFC 7301).
    pub protocols: &'a [&'a str],
    /// The versions of TLS to offer.
    pub versions: &'a [&'static SupportedProtocolVersion],
}

/// An open connection.
#[derive(Debug)]
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
}

/// What a test sends.
#[derive(Debug, Clone)]
pub struct Ask {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Bytes,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The header fields.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Default for Dial<'_> {
    fn default() -> Self {
        Self { leaf: None, protocols: &["http/1.1"], versions: &NEWEST }
    }
}

impl TestKms {
    /// A TLS stream to the API.
    pub async fn dial(&self, dial: Dial<'_>) -> io::Result<TlsStream<TcpStream>> {
        self.dial_over(TcpStream::connect(self.server.api).await?, dial).await
    }

    /// The same, over a TCP stream that the test made.
    pub async fn dial_over(&self, stream: TcpStream, dial: Dial<'_>) -> io::Result<TlsStream<TcpStream>> {
        self.identities.dial_over(stream, dial).await
    }

    /// A connection that shows this certificate, or none.
    pub async fn connect(&self, leaf: Option<&Leaf>) -> Connection {
        Connection::over(self.dial(Dial { leaf, ..Dial::default() }).await.unwrap()).await
    }

    /// One request on a connection of its own.
    pub async fn ask(&self, ask: &Ask) -> Reply {
        self.connect(None).await.ask(ask).await
    }
}

impl Identities {
    /// A TLS stream to a server whose certificate is of this authority, over a TCP stream that the test made.
    pub async fn dial_over(&self, stream: TcpStream, dial: Dial<'_>) -> io::Result<TlsStream<TcpStream>> {
        dial.over(stream, &self.ca_pem).await
    }
}

impl Process {
    /// A TLS stream to the API.
    pub async fn dial(&self, dial: Dial<'_>) -> io::Result<TlsStream<TcpStream>> {
        dial.over(TcpStream::connect(&self.api).await?, self.ca_pem()).await
    }
}

impl Dial<'_> {
    async fn over(self, stream: TcpStream, ca_pem: &str) -> io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(ca_pem.as_bytes()).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(self.versions)
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match self.leaf {
            None => config.with_no_client_auth(),
            Some(leaf) => {
                let certificate = CertificateDer::from_pem_slice(leaf.certificate.as_bytes()).unwrap();
                let key = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).unwrap();
                config.with_client_auth_cert(vec![certificate], key).unwrap()
            }
        };
        config.alpn_protocols = self.protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }
}

impl Connection {
    /// Speaks HTTP/1.1 on a stream.
    pub async fn over(stream: TlsStream<TcpStream>) -> Self {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        #[expect(clippy::disallowed_methods, reason = "it ends with the connection, and the connection with the test")]
        let _driver = tokio::spawn(connection);
        Self { sender }
    }

    /// Sends a request and reads its whole answer.
    pub async fn ask(&mut self, ask: &Ask) -> Reply {
        self.try_ask(ask).await.unwrap()
    }

    /// The same, where the connection may be gone.
    pub async fn try_ask(&mut self, ask: &Ask) -> hyper::Result<Reply> {
        self.sender.ready().await?;
        let mut request = Request::builder().method(ask.method.as_str()).uri(&ask.path).header(HOST, "localhost");
        for (name, value) in &ask.headers {
            request = request.header(name, value);
        }
        let answer = self.sender.send_request(request.body(Full::new(ask.body.clone())).unwrap()).await?;
        let (parts, body) = answer.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Reply { status: parts.status.as_u16(), headers: parts.headers, body })
    }

    /// Whether the server still takes requests on it.
    pub async fn is_open(&mut self) -> bool {
        self.sender.ready().await.is_ok()
    }
}

impl Ask {
    /// A request without a body.
    pub fn new(method: &str, path: &str) -> Self {
        Self { method: method.to_owned(), path: path.to_owned(), headers: Vec::new(), body: Bytes::new() }
    }

    /// Shows a token.
    #[must_use]
    pub fn token(self, token: &str) -> Self {
        self.header(AUTHORIZATION.as_str(), &format!("Bearer {token}"))
    }

    /// Adds a header field.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sends JSON.
    #[must_use]
    pub fn json(self, json: impl ToString) -> Self {
        let body = json.to_string().into();
        Self { body, ..self.header(CONTENT_TYPE.as_str(), "application/json") }
    }

    /// Sends bytes and does not say what they are.
    #[must_use]
    pub fn body(self, body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), ..self }
    }
}

impl Reply {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The problem's code; nothing for a success.
    pub fn code(&self) -> Option<String> {
        (self.status != 200).then(|| self.json()["code"].as_str().unwrap().to_owned())
    }

    /// The name under which the log knows the request.
    pub fn request(&self) -> String {
        let id = self.headers.get(REQUEST_ID_HEADER).unwrap_or_else(|| panic!("no request id: {self:?}"));
        id.to_str().unwrap().to_owned()
    }
}
