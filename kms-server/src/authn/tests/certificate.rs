//! Whose a client certificate is, at which revision and moment.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType,
    date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::{ALICE, BOB, World, changed, client_ca, principal, refused, start};
use crate::{
    authn::{PeerCertificates, Proof, Refused, check_authority},
    model::{CredentialMatch, PrincipalState, TrustState},
};
use kms_client::id::ClientCaId;

/// A certification authority of the test.
pub(in crate::authn) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(in crate::authn) fn new(name: &str) -> Self {
        Self(CertifiedIssuer::self_signed(Self::params(name), KeyPair::generate().unwrap()).unwrap())
    }

    pub(in crate::authn) fn params(name: &str) -> CertificateParams {
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
    }

    pub(in crate::authn) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(in crate::authn) fn der(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    /// An authority under this one.
    pub(in crate::authn) fn authority(&self, params: CertificateParams) -> Self {
        Self(CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), &self.0).unwrap())
    }

    pub(in crate::authn) fn issue(
        &self,
        params: &CertificateParams,
    ) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        (certificate.der().clone(), key.into())
    }

    /// A certificate for a client of this DNS name.
    pub(in crate::authn) fn client(&self, name: &str) -> CertificateDer<'static> {
        self.issue(&client(name)).0
    }
}

pub(in crate::authn) fn client(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

fn peer(chain: &[CertificateDer<'static>]) -> PeerCertificates {
    PeerCertificates::parse(chain).unwrap()
}

pub(in crate::authn) fn san(authority: u8, san: &str) -> CredentialMatch {
    CredentialMatch::CertificateSan { client_ca: ClientCaId::from_bytes([authority; 16]), san: san.to_owned() }
}

fn fingerprint(certificate: &CertificateDer<'static>) -> CredentialMatch {
    let own = peer(std::slice::from_ref(certificate));
    CredentialMatch::CertificateFingerprint { sha256: hex::encode(own.fingerprint()) }
}

/// A world that trusts this authority by the number 1.
fn trusting(authority: &Authority) -> World {
    let mut world = World::new();
    world.put(client_ca(1, &authority.pem(), TrustState::Trusted));
    world
}

#[test]
fn a_name_under_its_authority_is_its_principals() {
    let authority = Authority::new("clients");
    let mut world = trusting(&authority);
    world.put(principal(ALICE, [san(1, "uri:spiffe://example/alice"), san(1, "dns:alice.example")]));
    let mut by_uri = client("unknown.example");
    by_uri.subject_alt_names.push(SanType::URI("spiffe://example/alice".try_into().unwrap()));
    for certificate in [authority.issue(&by_uri).0, authority.client("alice.example")] {
        let caller = peer(&[certificate]).caller(world.moment()).unwrap();
        assert_eq!(caller.principal(), ALICE);
        assert!(matches!(caller.proof(), Proof::Certificate { client_ca, .. } if client_ca.as_bytes() == &[1; 16]));
    }
    for stranger in ["bob.example", "ALICE.example", "alice.example.org", "*.example"] {
        let stranger = peer(&[authority.client(stranger)]).caller(world.moment());
        assert_eq!(refused(stranger), Refused::PrincipalUnknown);
    }
}

#[test]
fn a_common_name_means_nothing() {
    let authority = Authority::new("clients");
    let mut world = trusting(&authority);
    world.put(principal(ALICE, [san(1, "dns:alice.example")]));
    let mut params = client("other.example");
    params.distinguished_name.push(rcgen::DnType::CommonName, "alice.example");
    let caller = peer(&[authority.issue(&params).0]).caller(world.moment());
    assert_eq!(refused(caller), Refused::PrincipalUnknown);
}

#[test]
fn a_name_under_another_trusted_authority_is_nobodys() {
    let (authority, other) = (Authority::new("clients"), Authority::new("others"));
    let mut world = trusting(&authority);
    world.put(client_ca(2, &other.pem(), TrustState::Trusted));
    world.put(principal(ALICE, [san(1, "dns:alice.example")]));
    let caller = peer(&[other.client("alice.example")]).caller(world.moment());
    assert_eq!(refused(caller), Refused::PrincipalUnknown);
}

#[test]
fn an_authority_of_the_same_name_but_another_key_vouches_for_nobody() {
    let (authority, thief) = (Authority::new("clients"), Authority::new("clients"));
    let mut world = trusting(&authority);
    world.put(principal(ALICE, [san(1, "dns:alice.example")]));
    for chain in [vec![thief.client("alice.example")], vec![thief.client("alice.example"), thief.der()]] {
        assert_eq!(refused(peer(&chain).caller(world.moment())), Refused::CertificateUntrusted);
    }
}

#[test]
fn a_fingerprint_is_one_certificates() {
    let authority = Authority::new("clients");
    let mut world = trusting(&authority);
    let certificate = authority.client("alice.example");
    world.put(principal(ALICE, [fingerprint(&certificate)]));
    assert_eq!(peer(&[certificate]).caller(world.moment()).unwrap().principal(), ALICE);
    let renewed = peer(&[authority.client("alice.example")]).caller(world.moment());
    assert_eq!(refused(renewed), Refused::PrincipalUnknown);
    let untrusted = Authority::new("others").client("alice.example");
    world.put(principal(ALICE, [fingerprint(&untrusted)]));
    assert_eq!(refused(peer(&[untrusted]).caller(world.moment())), Refused::CertificateUntrusted);
}

#[test]
fn names_of_two_principals_are_nobodys() {
    let authority = Authority::new("clients");
    let mut world = trusting(&authority);
    let mut params = client("alice.example");
    params.subject_alt_names.push(SanType::DnsName("bob.example".try_into().unwrap()));
    let certificate = peer(&[authority.issue(&params).0]);
    world.put(principal(ALICE, [san(1, "dns:alice.example")]));
    assert_eq!(certificate.caller(world.moment()).unwrap().principal(), ALICE);
    world.put(principal(BOB, [san(1, "dns:bob.example")]));
    assert_eq!(refused(certificate.caller(world.moment())), Refused::CertificateAmbiguous);
    // A removed credential is in nobody's way.
    world.put(changed(BOB, [san(1, "dns:bob.example")], |bob| bob.credentials[0].removed_at = Some(start())));
    assert_eq!(certificate.caller(world.moment()).unwrap().principal(), ALICE);
}

#[test]
fn intermediates_lead_to_the_authority() {
    let authority = Authority::new("clients");
    let mut world = trusting(&authority);
    world.put(principal(ALICE, [san(1, "dns:alice.example")]));
    let intermediate = authority.authority(Authority::params("clients of the east"));
    let own = intermediate.client("alice.example");
    let caller = peer(&[own.clone(), intermediate.der()]).caller(world.moment()).unwrap();
    assert_eq!(caller.principal(), ALICE);
    assert_eq!(refused(peer(std::slice::from_ref(&own)).caller(world.moment())), Refused::CertificateUntrusted);

    let mut short = Authority::params("clients of the west");
    short.not_after = date_time_ymd(2027, 3, 2);
    let intermediate = authority.authority(short);
    let chain = peer(&[intermediate.client("alice.example"), intermediate.der()]);
    let caller = chain.caller(world.moment()).unwrap();
    let expires_at = "2027-03-02T00:00:01Z".parse().unwrap();
    assert!(matches!(*caller.proof(), Proof::Certificate { expires_at: first, .. } if first == expires_at));
}

#[test]
fn a_certificate_is_for_clients_and_no_authority_itself() {
    let authority = Authority::new("clients");
    let mut world = trusting(&authority);
    world.put(principal(ALICE, [san(1, "dns:alice.example")]));
    let mut params = client("alice.example");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let server = peer(&[authority.issue(&params).0]);
    assert_eq!(refused(server.caller(world.moment())), Refused::CertificateUntrusted);
    params.extended_key_usages = Vec::new();
    peer(&[authority.issue(&params).0]).caller(world.moment()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuing = peer(&[authority.issue(&params).0]);
    assert_eq!(refused(issuing.caller(world.moment())), Refused::CertificateUntrusted);
}

#[test]
fn a_certificate_has_its_time() {
    let authority = Authority::new("clients");
    let mut world = trusting(&authority);
    world.put(principal(ALICE, [san(1, "dns:alice.example")]));
    let mut params = client("alice.example");
    (params.not_before, params.not_after) = (date_time_ymd(2027, 3, 2), date_time_ymd(2027, 3, 3));
    let own = peer(&[authority.issue(&params).0]);
    assert_eq!(refused(own.caller(world.moment())), Refused::CertificateUntrusted);
    world.clock.advance(12 * 3600);
    own.caller(world.moment()).unwrap();
    world.clock.advance(24 * 3600);
    own.caller(world.moment()).unwrap();
    world.clock.advance(1);
    assert_eq!(refused(own.caller(world.moment())), Refused::NoLonger);
    world.put(principal(BOB, []));
    assert_eq!(refused(own.caller(world.moment())), Refused::CertificateUntrusted);
}

#[test]
fn an_authority_has_its_time() {
    let mut params = Authority::params("clients");
    params.not_after = date_time_ymd(2027, 3, 2);
    let authority = Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap());
    let mut world = trusting(&authority);
    world.put(principal(ALICE, [san(1, "dns:alice.example")]));
    let own = peer(&[authority.client("alice.example")]);
    own.caller(world.moment()).unwrap();
    world.clock.advance(12 * 3600 + 1);
    assert_eq!(refused(own.caller(world.moment())), Refused::NoLonger);
}

#[test]
fn a_cut_ends_an_open_connection() {
    let authority = Authority::new("clients");
    let credential = || [san(1, "dns:alice.example")];
    let cuts = [
        (client_ca(1, &authority.pem(), TrustState::Removed), Refused::CertificateUntrusted),
        (changed(ALICE, credential(), |alice| alice.state = PrincipalState::Suspended), Refused::NoLonger),
        (
            changed(ALICE, credential(), |alice| alice.credentials[0].removed_at = Some(start())),
            Refused::PrincipalUnknown,
        ),
    ];
    for (cut, reason) in cuts {
        let mut world = trusting(&authority);
        world.put(principal(ALICE, credential()));
        let own = peer(&[authority.client("alice.example")]);
        let caller = own.caller(world.moment()).unwrap();
        assert!(std::sync::Arc::ptr_eq(&caller, &own.caller(world.moment()).unwrap()));
        world.put(cut);
        assert_eq!(refused(own.caller(world.moment())), reason);
        assert!(caller.stands(&world.state, start()).is_err());
    }
}

#[test]
fn an_authority_is_one_certificate_of_an_authority() {
    let authority = Authority::new("clients");
    check_authority(&authority.pem()).unwrap();
    let key = KeyPair::generate().unwrap();
    let own = client("alice.example").self_signed(&key).unwrap().pem();
    for bad in [String::new(), own, authority.pem() + &authority.pem(), key.serialize_pem(), "x".repeat(100)] {
        assert!(check_authority(&bad).is_err(), "{bad}");
    }
}
