//! An issuer of tokens whose keys are fetched: an HTTPS server of its own, and keys of the kinds that issuers use.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeySize,
    signature::{Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

use crate::Leaf;

/// A server that answers every request with one key set.
#[derive(Debug)]
pub struct KeyServer {
    address: SocketAddr,
    keys: Arc<Mutex<String>>,
    asked: Arc<AtomicUsize>,
}

/// A key that an issuer signs with, under the name that its set gives it.
#[derive(Debug)]
pub struct SigningKey {
    id: String,
    pair: Pair,
}

#[derive(Debug)]
enum Pair {
    EdDsa(Ed25519KeyPair),
    Rs256(RsaKeyPair),
}

impl KeyServer {
    /// Serves these keys with this certificate.
    pub async fn start(leaf: &Leaf, keys: &[&SigningKey]) -> Self {
        let certificate = CertificateDer::from_pem_slice(leaf.certificate.as_bytes()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).unwrap())
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Self { address, keys: Arc::default(), asked: Arc::default() };
        server.publish(keys);
        let (keys, asked) = (Arc::clone(&server.keys), Arc::clone(&server.asked));
        #[expect(clippy::disallowed_methods, reason = "it ends with the test")]
        let _serving = tokio::spawn(async move {
            let acceptor = TlsAcceptor::from(Arc::new(config));
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                // A client that does not trust this certificate hangs up.
                let _hung_up = answer(&acceptor, stream, &keys, &asked).await;
            }
        });
        server
    }

    /// Where the set is.
    pub fn url(&self) -> String {
        format!("https://{}/jwks", self.address)
    }

    /// Answers with these keys from now on.
    pub fn publish(&self, keys: &[&SigningKey]) {
        let keys: Vec<_> = keys.iter().map(|key| key.jwk()).collect();
        *self.keys.lock().unwrap() = json!({ "keys": keys }).to_string();
    }

    /// How many requests came.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

async fn answer(
    acceptor: &TlsAcceptor,
    stream: TcpStream,
    keys: &Mutex<String>,
    asked: &AtomicUsize,
) -> io::Result<()> {
    let mut stream = BufReader::new(acceptor.accept(stream).await?);
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
    }
    asked.fetch_add(1, Ordering::SeqCst);
    let body = keys.lock().unwrap().clone();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    stream.write_all(format!("{head}{body}").as_bytes()).await?;
    stream.shutdown().await
}

impl SigningKey {
    /// A new Ed25519 key.
    pub fn ed25519(id: &str) -> Self {
        Self { id: id.to_owned(), pair: Pair::EdDsa(Ed25519KeyPair::generate().unwrap()) }
    }

    /// A new RSA key of 2048 bits.
    pub fn rsa(id: &str) -> Self {
        Self { id: id.to_owned(), pair: Pair::Rs256(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()) }
    }

    /// A token with these claims.
    pub fn token(&self, claims: &impl Serialize) -> String {
        let header = json!({ "alg": self.algorithm(), "typ": "JWT", "kid": self.id });
        let part = |json: String| URL_SAFE_NO_PAD.encode(json);
        let message = format!("{}.{}", part(header.to_string()), part(serde_json::to_string(claims).unwrap()));
        let signature = match &self.pair {
            Pair::EdDsa(key) => key.sign(message.as_bytes()).as_ref().to_vec(),
            Pair::Rs256(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message.as_bytes(), &mut signature).unwrap();
                signature
            }
        };
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    const fn algorithm(&self) -> &'static str {
        match self.pair {
            Pair::EdDsa(_) => "EdDSA",
            Pair::Rs256(_) => "RS256",
        }
    }

    fn jwk(&self) -> Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let mut key = match &self.pair {
            Pair::EdDsa(key) => json!({ "kty": "OKP", "crv": "Ed25519", "x": text(key.public_key().as_ref()) }),
            Pair::Rs256(key) => {
                let modulus = key.public_key().modulus().big_endian_without_leading_zero();
                let exponent = key.public_key().exponent().big_endian_without_leading_zero();
                json!({ "kty": "RSA", "n": text(modulus), "e": text(exponent) })
            }
        };
        key["kid"] = self.id.clone().into();
        key["use"] = "sig".into();
        key["alg"] = self.algorithm().into();
        key
    }
}
