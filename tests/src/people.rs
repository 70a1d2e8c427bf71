//! Who is there from the first change on, and how they prove who they are.

use jiff::Timestamp;
use kms_client::{
    format::record::PrincipalKind,
    id::{BindingId, ClientCaId, CredentialId, IssuerId, PrincipalId},
};
use kms_server::model::{CredentialMatch, Environment, Ids, NewCredential, Operation, Period, Role, Scope, Text};

/// Who is there from the start, and what they may.
pub struct Founders;

impl Founders {
    /// Name, kind and role over everything.
    pub const ALL: [(&str, PrincipalKind, Option<Role>); 6] = [
        ("ada", PrincipalKind::User, Some(Role::KeyAdmin)),
        ("ben", PrincipalKind::User, Some(Role::KeyAdmin)),
        ("audrey", PrincipalKind::User, Some(Role::Auditor)),
        ("olaf", PrincipalKind::User, Some(Role::Offboarder)),
        ("storage", PrincipalKind::Service, None),
        ("stranger", PrincipalKind::Service, None),
    ];
}

/// The anchors that the first change trusts.
#[derive(Debug, Clone, Copy)]
pub struct Trust {
    /// The issuer of tokens.
    pub issuer: IssuerId,
    /// The authority of client certificates.
    pub client_ca: ClientCaId,
}

/// Somebody of the first change.
#[derive(Debug, Clone)]
pub struct Newcomer {
    /// The name, in tokens and certificates too.
    pub name: &'static str,
    /// What it is.
    pub kind: PrincipalKind,
    /// Whose account it is, unless its own.
    pub person: Option<&'static str>,
    /// Where it works.
    pub environment: Environment,
    /// Its roles, without end.
    pub roles: Vec<(Role, Scope)>,
}

impl Newcomer {
    /// Somebody with these roles over everything.
    pub fn new(name: &'static str, kind: PrincipalKind, roles: &[Role]) -> Self {
        let roles = roles.iter().map(|role| (*role, Scope::All)).collect();
        Self { name, kind, person: None, environment: Environment::Production, roles }
    }

    /// What makes it known, gives it a token's subject and a certificate's name, and its roles.
    pub fn operations(self, trust: Trust, now: Timestamp) -> Vec<Operation> {
        let Self { name, kind, person, environment, roles } = self;
        let principal = PrincipalId::new(Ids.fresh(now));
        let mut operations = vec![Operation::CreatePrincipal {
            principal,
            name: name.parse().unwrap(),
            kind,
            person: person.map(|person| person.parse().unwrap()),
            environment,
            team: None,
            description: Text::default(),
        }];
        let proofs = [
            CredentialMatch::JwtSubject { issuer: trust.issuer, subject: name.to_owned() },
            CredentialMatch::CertificateSan { client_ca: trust.client_ca, san: format!("uri:{}", uri(name)) },
        ];
        for matches in proofs {
            let credential = NewCredential { id: CredentialId::new(Ids.fresh(now)), matches };
            operations.push(Operation::AddCredential { principal, credential });
        }
        for (role, scope) in roles {
            operations.push(Operation::CreateBinding {
                binding: BindingId::new(Ids.fresh(now)),
                principal,
                role: role.into(),
                scope,
                period: Period::default(),
                sponsor: None,
                purpose: Text::default(),
            });
        }
        operations
    }
}

/// The name in a founder's certificate.
pub fn uri(name: &str) -> String {
    format!("spiffe://clinic.example/{name}")
}
