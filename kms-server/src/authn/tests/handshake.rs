//! Client certificates in TLS handshakes, in memory.

use std::sync::Arc;

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer},
};

use super::{
    ALICE, World,
    certificate::{Authority, client, san},
    client_ca, principal,
};
use crate::{authn::PeerCertificates, model::TrustState};

type Identity = (CertificateDer<'static>, PrivateKeyDer<'static>);

/// One side of connections to a server of this world.
struct Server {
    server: Arc<ServerConfig>,
    authority: Authority,
}

impl Server {
    fn new(world: &World) -> Self {
        let authority = Authority::new("servers");
        let (certificate, key) = authority.issue(&rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap());
        let server = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_client_cert_verifier(world.authenticator.client_certificates())
            .with_single_cert(vec![certificate], key)
            .unwrap();
        Self { server: Arc::new(server), authority }
    }

    /// What the server knows of a client of this identity after the handshake.
    fn accept(&self, identity: Option<&Identity>) -> Result<Option<PeerCertificates>, rustls::Error> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.der()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots);
        let config = match identity {
            Some((certificate, key)) => {
                config.with_client_auth_cert(vec![certificate.clone()], key.clone_key()).unwrap()
            }
            None => config.with_no_client_auth(),
        };
        let mut client = ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
        let mut server = ServerConnection::new(Arc::clone(&self.server)).unwrap();
        while server.is_handshaking() || client.is_handshaking() {
            let mut wire = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut wire).unwrap();
            }
            server.read_tls(&mut wire.as_slice()).unwrap();
            server.process_new_packets()?;
            let mut wire = Vec::new();
            while server.wants_write() {
                server.write_tls(&mut wire).unwrap();
            }
            client.read_tls(&mut wire.as_slice()).unwrap();
            client.process_new_packets()?;
        }
        Ok(server.peer_certificates().map(|chain| PeerCertificates::parse(chain).unwrap()))
    }
}

#[test]
fn a_handshake_asks_the_newest_trust() {
    let clients = Authority::new("clients");
    let alice = clients.issue(&client("alice.example"));
    let stranger = Authority::new("clients").issue(&client("alice.example"));
    let mut world = World::new();
    world.put(principal(ALICE, [san(1, "dns:alice.example")]));
    let server = Server::new(&world);
    // Nobody is trusted, so nobody is asked.
    assert!(server.accept(Some(&alice)).unwrap().is_none());

    world.put(client_ca(1, &clients.pem(), TrustState::Trusted));
    let peer = server.accept(Some(&alice)).unwrap().unwrap();
    assert_eq!(peer.caller(world.moment()).unwrap().principal(), ALICE);
    assert!(server.accept(None).unwrap().is_none());
    assert!(server.accept(Some(&stranger)).is_err());

    world.put(client_ca(2, &Authority::new("others").pem(), TrustState::Trusted));
    world.put(client_ca(1, &clients.pem(), TrustState::Removed));
    assert!(server.accept(Some(&alice)).is_err());
    assert!(server.accept(None).unwrap().is_none());
}

#[test]
fn one_unreadable_authority_is_in_no_others_way() {
    let clients = Authority::new("clients");
    let alice = clients.issue(&client("alice.example"));
    let mut world = World::new();
    world.put(client_ca(2, "no certificate", TrustState::Trusted));
    world.put(client_ca(1, &clients.pem(), TrustState::Trusted));
    let server = Server::new(&world);
    assert!(server.accept(Some(&alice)).unwrap().is_some());
}
