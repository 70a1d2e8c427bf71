//! Every operation that can be asked of Keyward, by the name under which policies and records know it.

use kms_client::id::{BindingId, ClientCaId, IssuerId, KeyId, PolicyId, PrincipalId, RoleId};
use serde::{Deserialize, Serialize};

use super::{DataClass, Environment, Region};

macro_rules! actions {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $family:ident;)*) => {
        /// One operation. Its code stands in policies, in audit records and in the authorisation table.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Action {
            $($(#[$doc])* #[serde(rename = $code)] $variant,)*
        }

        impl Action {
            /// Every action there is.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The stable code, for example `unwrap`.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self {
                    $(Self::$variant => $code,)*
                }
            }

            const fn family(self) -> Family {
                match self {
                    $(Self::$variant => Family::$family,)*
                }
            }
        }
    };
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    /// Uses a key's material.
    Data,
    /// Changes keys, principals, bindings or trust.
    Control,
    /// Reads control state or records.
    Read,
}

actions! {
    /// Make a data key, return it in plain and wrapped.
    Generate = "generate", Data;
    /// Make a data key, return it wrapped only.
    GenerateWithoutPlaintext = "generate_without_plaintext", Data;
    /// Wrap a data key that the caller brings.
    Wrap = "wrap", Data;
    /// Return a wrapped data key in plain.
    Unwrap = "unwrap", Data;
    /// Wrap a data key again under the primary version of its key.
    Rewrap = "rewrap", Data;
    /// Take a data key out of a key or context, to be wrapped under another.
    TransferFrom = "transfer_from", Data;
    /// Take a data key in from another key or context.
    TransferTo = "transfer_to", Data;
    /// Random bytes of the HSM.
    Random = "random", Data;

    /// Create a key.
    CreateKey = "create_key", Control;
    /// Read one key's record.
    DescribeKey = "describe_key", Read;
    /// List keys.
    ListKeys = "list_keys", Read;
    /// Change a key's description, tags, aliases or owner.
    UpdateKey = "update_key", Control;
    /// Make a new primary version.
    RotateKey = "rotate_key", Control;
    /// Let a disabled key be used again.
    EnableKey = "enable_key", Control;
    /// Suspend a key.
    DisableKey = "disable_key", Control;
    /// Declare a key compromised.
    RevokeKey = "revoke_key", Control;
    /// Declare one version compromised.
    RevokeKeyVersion = "revoke_key_version", Control;
    /// Let a key be destroyed after a waiting period.
    ScheduleKeyDeletion = "schedule_key_deletion", Control;
    /// Do not let it be destroyed.
    CancelKeyDeletion = "cancel_key_deletion", Control;
    /// Give a key's material up for ever.
    DestroyKey = "destroy_key", Control;
    /// Read who used a key, and when.
    DescribeKeyUsage = "describe_key_usage", Read;

    /// Make a principal known.
    CreatePrincipal = "create_principal", Control;
    /// Read one principal.
    DescribePrincipal = "describe_principal", Read;
    /// List principals.
    ListPrincipals = "list_principals", Read;
    /// Change a principal's description or team.
    UpdatePrincipal = "update_principal", Control;
    /// Take every right from a principal until it is reinstated.
    SuspendPrincipal = "suspend_principal", Control;
    /// Let a suspended principal act again.
    ReinstatePrincipal = "reinstate_principal", Control;
    /// Give a principal another way to prove who it is.
    AddCredential = "add_credential", Control;
    /// Take one of those ways away.
    RemoveCredential = "remove_credential", Control;

    /// Give a principal a role.
    CreateBinding = "create_binding", Control;
    /// Read one binding.
    DescribeBinding = "describe_binding", Read;
    /// List bindings.
    ListBindings = "list_bindings", Read;
    /// Take a role away.
    EndBinding = "end_binding", Control;
    /// List the roles there are.
    ListRoles = "list_roles", Read;
    /// Make a role of data actions.
    CreateRole = "create_role", Control;
    /// Read one role.
    DescribeRole = "describe_role", Read;
    /// Change what a role gives.
    UpdateRole = "update_role", Control;
    /// Take a role out of use.
    RemoveRole = "remove_role", Control;

    /// Add or replace a custom policy.
    PutPolicy = "put_policy", Control;
    /// Read a custom policy, or an older version of it.
    DescribePolicy = "describe_policy", Read;
    /// List custom policies.
    ListPolicies = "list_policies", Read;
    /// Take a custom policy out of force.
    RemovePolicy = "remove_policy", Control;
    /// Check a custom policy without storing it.
    ValidatePolicy = "validate_policy", Read;
    /// Ask what one may do, and why.
    Explain = "explain", Read;
    /// Ask what somebody else may do, and why.
    ExplainOthers = "explain_others", Read;
    /// List who may do something with a key.
    ListAccess = "list_access", Read;
    /// See what a change would do, without making it.
    PreviewChange = "preview_change", Read;

    /// Trust an issuer of tokens.
    AddIssuer = "add_issuer", Control;
    /// List trusted issuers.
    ListIssuers = "list_issuers", Read;
    /// Trust an issuer no longer.
    RemoveIssuer = "remove_issuer", Control;
    /// Trust a certification authority of clients.
    AddClientCa = "add_client_ca", Control;
    /// List trusted certification authorities.
    ListClientCas = "list_client_cas", Read;
    /// Trust a certification authority no longer.
    RemoveClientCa = "remove_client_ca", Control;

    /// Create the installation: first administrators, first trust.
    Initialise = "initialise", Control;
    /// Accept a database older than what this host or token remembers.
    AcceptDatabase = "accept_database", Control;
    /// Make or reinstate an administrator, where there are too few.
    RecoverAdmin = "recover_admin", Control;

    /// Read one control change.
    DescribeChange = "describe_change", Read;
    /// List control changes.
    ListChanges = "list_changes", Read;
    /// List the nodes of the installation.
    ListNodes = "list_nodes", Read;
    /// Search the audit log, or read one record.
    SearchAudit = "search_audit", Read;
    /// Ask who one is.
    WhoAmI = "whoami", Read;
}

impl Action {
    /// Whether the action uses key material; such actions answer 403 where others answer 404.
    #[must_use]
    pub fn is_data(self) -> bool {
        self.family() == Family::Data
    }

    /// Whether the action uses the material of one key.
    #[must_use]
    pub fn uses_key(self) -> bool {
        self.is_data() && self != Self::Random
    }

    /// Whether the host or the server itself does it, and no caller ever may.
    #[must_use]
    pub const fn is_internal(self) -> bool {
        matches!(self, Self::Initialise | Self::AcceptDatabase | Self::RecoverAdmin | Self::DestroyKey)
    }

    /// Whether no custom policy may forbid the action: access is cut by it, a policy or role is taken back, or one looks
    /// at one's own standing. So a bad policy can always be undone, and a cut always made.
    #[must_use]
    pub const fn is_always_open(self) -> bool {
        matches!(
            self,
            Self::DisableKey
                | Self::RevokeKey
                | Self::RevokeKeyVersion
                | Self::SuspendPrincipal
                | Self::RemoveCredential
                | Self::EndBinding
                | Self::RemoveIssuer
                | Self::RemoveClientCa
                | Self::UpdateRole
                | Self::RemoveRole
                | Self::PutPolicy
                | Self::RemovePolicy
                | Self::DescribePolicy
                | Self::ListPolicies
                | Self::WhoAmI
                | Self::Explain
        )
    }

    /// Whether the action is a control change.
    #[must_use]
    pub fn is_control(self) -> bool {
        self.family() == Family::Control
    }

    /// Whether the action makes something, so that it may be asked for under an idempotency key.
    #[must_use]
    pub const fn is_creation(self) -> bool {
        matches!(
            self,
            Self::CreateKey
                | Self::RotateKey
                | Self::CreatePrincipal
                | Self::AddCredential
                | Self::CreateBinding
                | Self::AddIssuer
                | Self::AddClientCa
                | Self::CreateRole
        )
    }

    /// Whether the action changes something that was there before, and so has a revision to expect.
    #[must_use]
    pub fn is_edit(self) -> bool {
        let begins = matches!(
            self,
            Self::CreateKey
                | Self::CreatePrincipal
                | Self::CreateBinding
                | Self::AddIssuer
                | Self::AddClientCa
                | Self::CreateRole
                | Self::Initialise
                | Self::AcceptDatabase
                | Self::RecoverAdmin
        );
        self.is_control() && !begins
    }

    /// The action of this code.
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|action| action.code() == code)
    }
}

/// What an action is done to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A key by id, whether or not it exists.
    Key(KeyId),
    /// A key about to be created; these three decide who may.
    NewKey {
        /// Its data class.
        data_class: DataClass,
        /// Its region.
        region: Region,
        /// Its environment.
        environment: Environment,
    },
    /// A principal by id.
    Principal(PrincipalId),
    /// A binding by id.
    Binding(BindingId),
    /// A trusted issuer by id.
    Issuer(IssuerId),
    /// A trusted certification authority by id.
    ClientCa(ClientCaId),
    /// A custom policy by id.
    Policy(PolicyId),
    /// A custom role by id.
    Role(RoleId),
    /// The installation as a whole.
    Installation,
}

impl Target {
    /// The key that is meant, where one is.
    #[must_use]
    pub const fn key(&self) -> Option<KeyId> {
        match self {
            Self::Key(key) => Some(*key),
            Self::NewKey { .. }
            | Self::Principal(_)
            | Self::Binding(_)
            | Self::Issuer(_)
            | Self::ClientCa(_)
            | Self::Policy(_)
            | Self::Role(_)
            | Self::Installation => None,
        }
    }
}
