//! A small installation, built row by row.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use kms_client::{
    format::record::{PrincipalKind, Surface},
    id::{BindingId, ClientCaId, CredentialId, IssuerId, KeyId, KeyVersion, PrincipalId, RequestId, RoleId},
};

use super::super::{Denial, Permit, Policies, authorise, bundle::Bundle};
use crate::{
    authn::{Caller, Intent, Proof, Request},
    cluster::Snapshot,
    model::{
        Action, Algorithm, Binding, ClientCa, ControlState, Credential, CredentialMatch, CustomRole, Environment,
        GrantedRole, Issuer, JwksSource, Key, KeyState, Origin, Period, Principal, PrincipalState, Purpose, Revision,
        Role, Rotation, Row, RuleState, Scope, Tags, Target, Text, TrustState,
    },
};

pub(super) const NOW: Timestamp = Timestamp::constant(1_800_000_000, 0);
pub(super) const LATER: Timestamp = Timestamp::constant(1_800_000_001, 0);
pub(super) const ISSUER: IssuerId = IssuerId::from_bytes([1; 16]);
pub(super) const CLIENT_CA: ClientCaId = ClientCaId::from_bytes([2; 16]);
pub(super) const CREDENTIAL: CredentialId = CredentialId::from_bytes([3; 16]);
pub(super) const NOBODY: [u8; 16] = [0xff; 16];

pub(super) struct World {
    pub(super) state: ControlState,
    ids: u64,
}

impl World {
    pub(super) fn new() -> Self {
        let mut world = Self { state: ControlState::default(), ids: 0 };
        world.trust(TrustState::Trusted, TrustState::Trusted);
        world
    }

    pub(super) fn trust(&mut self, issuer: TrustState, client_ca: TrustState) {
        self.state.put(Row::Issuer(Arc::new(Issuer {
            id: ISSUER,
            issuer: "https://issuer.example".to_owned(),
            audiences: vec!["keyward".to_owned()],
            jwks: JwksSource::Inline("{}".to_owned()),
            state: issuer,
            created_at: NOW,
            revision: Revision(1),
        })));
        self.state.put(Row::ClientCa(Arc::new(ClientCa {
            id: CLIENT_CA,
            name: "ca".parse().unwrap(),
            certificate_pem: String::new(),
            state: client_ca,
            created_at: NOW,
            revision: Revision(1),
        })));
    }

    fn id(&mut self) -> [u8; 16] {
        self.ids += 1;
        u128::from(self.ids).to_be_bytes()
    }

    pub(super) fn principal(&mut self, environment: Environment, person: &str) -> PrincipalId {
        let id = PrincipalId::from_bytes(self.id());
        self.state.put(Row::Principal(Arc::new(Principal {
            id,
            name: format!("account-{}", self.ids).parse().unwrap(),
            kind: PrincipalKind::User,
            person: Some(person.parse().unwrap()),
            environment,
            team: None,
            description: Text::default(),
            state: PrincipalState::Active,
            reason: None,
            credentials: vec![Credential {
                id: CREDENTIAL,
                matches: CredentialMatch::JwtSubject { issuer: ISSUER, subject: id.to_string() },
                created_at: NOW,
                removed_at: None,
            }],
            created_at: NOW,
            revision: Revision(1),
        })));
        id
    }

    pub(super) fn change_principal(&mut self, id: PrincipalId, change: impl FnOnce(&mut Principal)) {
        let mut principal = Principal::clone(self.state.principal(id).unwrap());
        change(&mut principal);
        self.state.put(Row::Principal(Arc::new(principal)));
    }

    pub(super) fn bind_custom(&mut self, principal: PrincipalId, name: &str, actions: &[Action], scope: Scope) {
        let id = RoleId::from_bytes(self.id());
        self.state.put(Row::Role(Arc::new(CustomRole {
            id,
            name: name.parse().unwrap(),
            description: Text::default(),
            actions: actions.to_vec(),
            state: RuleState::Active,
            created_at: NOW,
            revision: Revision(1),
        })));
        let binding = self.bind(principal, Role::Auditor, scope);
        self.change_binding(binding, |binding| binding.role = GrantedRole::Custom(name.parse().unwrap()));
    }

    pub(super) fn change_key(&mut self, id: KeyId, change: impl FnOnce(&mut Key)) {
        let mut key = Key::clone(self.state.key(id).unwrap());
        change(&mut key);
        self.state.put(Row::Key(Arc::new(key)));
    }

    pub(super) fn bind(&mut self, principal: PrincipalId, role: Role, scope: Scope) -> BindingId {
        let id = BindingId::from_bytes(self.id());
        self.state.put(Row::Binding(Arc::new(Binding {
            id,
            principal,
            role: role.into(),
            scope,
            period: Period::default(),
            sponsor: None,
            purpose: Text::default(),
            ended_at: None,
            reason: None,
            created_at: NOW,
            revision: Revision(1),
        })));
        id
    }

    pub(super) fn change_binding(&mut self, id: BindingId, change: impl FnOnce(&mut Binding)) {
        let mut binding = Binding::clone(self.state.binding(id).unwrap());
        change(&mut binding);
        self.state.put(Row::Binding(Arc::new(binding)));
    }

    pub(super) fn key(&mut self, environment: Environment, class: &str, region: &str) -> KeyId {
        let id = KeyId::from_bytes(self.id());
        self.state.put(Row::Key(Arc::new(Key {
            id,
            aliases: Vec::new(),
            former_aliases: Vec::new(),
            description: Text::default(),
            owner: None,
            tags: Tags::default(),
            data_class: class.parse().unwrap(),
            region: region.parse().unwrap(),
            environment,
            key_store: "store".parse().unwrap(),
            purpose: Purpose::Wrap,
            algorithm: Algorithm::Aes256,
            origin: Origin::Hsm,
            state: KeyState::Enabled,
            reason: None,
            rotation: Rotation::default(),
            deletion: None,
            destroyed_at: None,
            primary_version: KeyVersion::FIRST,
            versions: Vec::new(),
            created_at: NOW,
            revision: Revision(1),
        })));
        id
    }

    pub(super) fn snapshot(&self, bundle: &Arc<Bundle>) -> Snapshot<Policies> {
        let derived = Policies::of(Arc::clone(bundle));
        Snapshot::of(self.state.clone(), derived)
    }
}

pub(super) fn caller(principal: PrincipalId) -> Arc<Caller> {
    Caller::for_test(principal, CREDENTIAL, Proof::Token { issuer: ISSUER, expires_at: Timestamp::MAX })
}

pub(super) fn request() -> Arc<Request> {
    Arc::new(Request {
        id: RequestId::from_bytes([4; 16]),
        source: Some([192, 0, 2, 1].into()),
        surface: Surface::Native,
        deadline: Duration::MAX,
    })
}

pub(super) fn intent(principal: PrincipalId, action: Action, target: Target) -> Intent {
    caller(principal).intends(&request(), action, target)
}

pub(super) fn ask(
    snapshot: &Snapshot<Policies>,
    principal: PrincipalId,
    action: Action,
    target: Target,
) -> Result<Permit, Denial> {
    authorise(snapshot, NOW, &intent(principal, action, target))
}
