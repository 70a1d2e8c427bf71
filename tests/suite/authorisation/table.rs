//! The table itself: every operation, who must not and who may. What stands in path and body by placeholders,
//! [`World::make`](super::world::World) fills in anew for each row.

/// What a row needs to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum On {
    Nothing,
    /// `{key}`, and `{other}` of the same class.
    Key,
    /// The same, disabled.
    DisabledKey,
    /// The same, with two versions.
    RotatedKey,
    /// The same, waiting for its destruction.
    EndingKey,
    /// A key and `{wrapped}` under it.
    Wrapped,
    /// `{principal}` with one `{credential}`, and a key.
    Principal,
    /// The same, suspended.
    SuspendedPrincipal,
    /// The same, with one `{binding}`.
    Binding,
    /// `{policy}`, by name.
    Policy,
    /// `{role}`, by name.
    Role,
    /// `{change}`.
    Change,
    /// `{operation}`.
    Operation,
    /// `{record}`.
    Record,
}

/// One operation and who may ask for it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    /// Method and path as the document has them.
    pub(crate) call: &'static str,
    /// The body; none for an empty text, and a query where it begins with `?`.
    pub(crate) body: &'static str,
    /// What must be there.
    pub(crate) on: On,
    /// What its records call it.
    pub(crate) actions: &'static [&'static str],
    /// Who must not, and the status and code of the answer.
    pub(crate) refused: &'static [(&'static str, u16)],
    /// Who may; nobody where everybody may.
    pub(crate) right: &'static str,
    /// Whether it takes two persons.
    pub(crate) gated: bool,
}

const fn row(
    call: &'static str,
    body: &'static str,
    on: On,
    actions: &'static [&'static str],
    refused: &'static [(&'static str, u16)],
    right: &'static str,
) -> Row {
    Row { call, body, on, actions, refused, right, gated: false }
}

const fn gated(row: Row) -> Row {
    Row { gated: true, ..row }
}

/// Data operations: one answer for all who may not.
const DATA: &[(&str, u16)] = &[("stranger", 403), ("ada", 403), ("audrey", 403), ("olaf", 403)];
/// Changes of a key: `storage` and `audrey` may describe it, so they may know that it is there.
const KEY: &[(&str, u16)] = &[("stranger", 404), ("storage", 403), ("audrey", 403), ("olaf", 404)];
/// What of a key only its administrators and auditors see.
const USAGE: &[(&str, u16)] = &[("stranger", 404), ("storage", 403), ("olaf", 404)];
/// What only an administrator changes, with `audrey` and `olaf` able to describe it.
const PEOPLE: &[(&str, u16)] = &[("stranger", 404), ("storage", 404), ("audrey", 403), ("olaf", 403)];
/// What an offboarder may do too.
const CUT: &[(&str, u16)] = &[("stranger", 404), ("storage", 404), ("audrey", 403)];
/// Anchors, which `audrey` may list.
const ANCHOR: &[(&str, u16)] = &[("stranger", 404), ("storage", 404), ("audrey", 403), ("olaf", 404)];
/// What belongs to the installation as a whole: there is nothing to hide.
const WHOLE: &[(&str, u16)] = &[("stranger", 403), ("storage", 403), ("audrey", 403), ("olaf", 403)];
/// Roles, which whoever has any right may read.
const ROLE: &[(&str, u16)] = &[("stranger", 404), ("storage", 403), ("audrey", 403), ("olaf", 403)];
const LIST: &[(&str, u16)] = &[("stranger", 403), ("storage", 403), ("olaf", 403)];
const LIST_PEOPLE: &[(&str, u16)] = &[("stranger", 403), ("storage", 403)];
const AUDIT: &[(&str, u16)] = &[("stranger", 403), ("storage", 403), ("ada", 403), ("olaf", 403)];

pub(crate) const REASON: &str = r#"{"reason":"test"}"#;
const GENERATE: &str = r#"{"key":"{key}","context":{"a":"b"}}"#;
const GENERATE_WRAPPED: &str = r#"{"key":"{key}","plaintext":false}"#;
const WRAP: &str = r#"{"key":"{key}","plaintext":"AAECAw=="}"#;
const WRAPPED: &str = r#"{"wrapped":"{wrapped}"}"#;
const TRANSFER: &str = r#"{"wrapped":"{wrapped}","target_key":"{other}"}"#;
const ISSUER: &str = r#"{"issuer":"https://{fresh}.example","audiences":["keyward"],"jwks":{"inline":{key_set}}}"#;
const CLIENT_CA: &str = r#"{"name":"{fresh}","certificate_pem":{ca}}"#;
const POLICY: &str = r#"{"text":"forbid (principal in Team::\"nobody\", action == Action::\"unwrap\", resource);"}"#;
const PREVIEW: &str = r#"{"change":{"type":"disable_key","key":"{key}"},"days":0}"#;
const CREDENTIAL: &str = r#"{"type":"certificate_fingerprint","sha256":"{fingerprint}"}"#;

/// Every operation there is.
pub(crate) const ROWS: &[Row] = &[
    row("GET /v1/openapi.json", "", On::Nothing, &[], &[], ""),
    row("GET /v1/whoami", "", On::Nothing, &["whoami"], &[], "stranger"),
    // Keys.
    row("POST /v1/keys", r#"{"data_class":"records","alias":"{fresh}"}"#, On::Nothing, &["create_key"], WHOLE, "ada"),
    row("GET /v1/keys", "", On::Key, &["list_keys"], &[("stranger", 403), ("olaf", 403)], "storage"),
    row("GET /v1/keys/{key}", "", On::Key, &["describe_key"], &[("stranger", 404), ("olaf", 404)], "storage"),
    row("PATCH /v1/keys/{key}", r#"{"description":"new"}"#, On::Key, &["update_key"], KEY, "ada"),
    row("POST /v1/keys/{key}/rotate", "{}", On::Key, &["rotate_key"], KEY, "ada"),
    row("POST /v1/keys/{key}/enable", "{}", On::DisabledKey, &["enable_key"], KEY, "ada"),
    row("POST /v1/keys/{key}/disable", REASON, On::Key, &["disable_key"], KEY, "ada"),
    row("POST /v1/keys/{key}/revoke", REASON, On::Key, &["revoke_key"], KEY, "ada"),
    Row {
        call: "POST /v1/keys/{key}/versions/{version}/revoke",
        ..row("", REASON, On::RotatedKey, &["revoke_key_version"], KEY, "ada")
    },
    row("GET /v1/keys/{key}/usage", "", On::Key, &["describe_key_usage"], USAGE, "ada"),
    row("GET /v1/keys/{key}/usage", "", On::Key, &["describe_key_usage"], USAGE, "audrey"),
    row("POST /v1/keys/{key}/schedule-deletion", REASON, On::Key, &["schedule_key_deletion"], KEY, "ada"),
    row("POST /v1/keys/{key}/cancel-deletion", "{}", On::EndingKey, &["cancel_key_deletion"], KEY, "ada"),
    // Data keys.
    row("POST /v1/data-keys/generate", GENERATE, On::Key, &["generate"], DATA, "storage"),
    row("POST /v1/data-keys/generate", GENERATE_WRAPPED, On::Key, &["generate_without_plaintext"], DATA, "storage"),
    row("POST /v1/data-keys/generate/batch", GENERATE, On::Key, &["generate"], DATA, "storage"),
    row("POST /v1/data-keys/wrap", WRAP, On::Key, &["wrap"], DATA, "storage"),
    row("POST /v1/data-keys/wrap/batch", WRAP, On::Key, &["wrap"], DATA, "storage"),
    row("POST /v1/data-keys/unwrap", WRAPPED, On::Wrapped, &["unwrap"], DATA, "storage"),
    row("POST /v1/data-keys/unwrap/batch", WRAPPED, On::Wrapped, &["unwrap"], DATA, "storage"),
    row("POST /v1/data-keys/rewrap", WRAPPED, On::Wrapped, &["rewrap"], DATA, "storage"),
    row("POST /v1/data-keys/rewrap/batch", WRAPPED, On::Wrapped, &["rewrap"], DATA, "storage"),
    row("POST /v1/data-keys/transfer", TRANSFER, On::Wrapped, &["transfer_from", "transfer_to"], DATA, "storage"),
    row("POST /v1/data-keys/transfer/batch", TRANSFER, On::Wrapped, &["transfer_from", "transfer_to"], DATA, "storage"),
    row("POST /v1/random", "{}", On::Nothing, &["random"], DATA, "storage"),
    row("POST /v1/random/batch", "{}", On::Nothing, &["random"], DATA, "storage"),
    // Principals.
    row(
        "POST /v1/principals",
        r#"{"name":"{fresh}","kind":"service"}"#,
        On::Nothing,
        &["create_principal"],
        WHOLE,
        "ada",
    ),
    row("GET /v1/principals", "", On::Nothing, &["list_principals"], LIST_PEOPLE, "olaf"),
    row(
        "GET /v1/principals/{principal}",
        "",
        On::Principal,
        &["describe_principal"],
        &[("stranger", 404), ("storage", 404)],
        "olaf",
    ),
    row("PATCH /v1/principals/{principal}", r#"{"team":"t"}"#, On::Principal, &["update_principal"], PEOPLE, "ada"),
    row("POST /v1/principals/{principal}/suspend", REASON, On::Principal, &["suspend_principal"], CUT, "olaf"),
    gated(row(
        "POST /v1/principals/{principal}/reinstate",
        REASON,
        On::SuspendedPrincipal,
        &["reinstate_principal"],
        PEOPLE,
        "ada",
    )),
    row("POST /v1/principals/{principal}/credentials", CREDENTIAL, On::Principal, &["add_credential"], PEOPLE, "ada"),
    gated(Row {
        // Another proof for somebody who administers.
        actions: &["add_credential"],
        ..row("POST /v1/principals/{principal}/credentials", CREDENTIAL, On::Nothing, &[], PEOPLE, "ada")
    }),
    row(
        "DELETE /v1/principals/{principal}/credentials/{credential}",
        "",
        On::Principal,
        &["remove_credential"],
        CUT,
        "olaf",
    ),
    // Bindings.
    row(
        "POST /v1/bindings",
        r#"{"principal":"{principal}","role":"wrapper","scope":{"key":"{key}"}}"#,
        On::Principal,
        &["create_binding"],
        WHOLE,
        "ada",
    ),
    gated(row(
        "POST /v1/bindings",
        r#"{"principal":"{principal}","role":"offboarder","scope":"all"}"#,
        On::Principal,
        &["create_binding"],
        WHOLE,
        "ada",
    )),
    row("GET /v1/bindings", "", On::Nothing, &["list_bindings"], LIST_PEOPLE, "olaf"),
    row(
        "GET /v1/bindings/{binding}",
        "",
        On::Binding,
        &["describe_binding"],
        &[("stranger", 404), ("storage", 404)],
        "audrey",
    ),
    row("POST /v1/bindings/{binding}/end", REASON, On::Binding, &["end_binding"], CUT, "olaf"),
    // Policies, roles, and who may do what.
    row("PUT /v1/policies/{policy}", POLICY, On::Policy, &["put_policy"], WHOLE, "ada"),
    row("GET /v1/policies", "", On::Nothing, &["list_policies"], LIST, "audrey"),
    row(
        "GET /v1/policies/{policy}",
        "",
        On::Policy,
        &["describe_policy"],
        &[("stranger", 404), ("storage", 404), ("olaf", 404)],
        "audrey",
    ),
    row("DELETE /v1/policies/{policy}", "", On::Policy, &["remove_policy"], ANCHOR, "ada"),
    row("POST /v1/policies/validate", POLICY, On::Nothing, &["validate_policy"], LIST, "audrey"),
    row("POST /v1/roles", r#"{"name":"{fresh}","actions":["unwrap"]}"#, On::Nothing, &["create_role"], WHOLE, "ada"),
    row("GET /v1/roles", "", On::Nothing, &["list_roles"], &[("stranger", 403)], "storage"),
    row("GET /v1/roles/{role}", "", On::Role, &["describe_role"], &[("stranger", 404)], "storage"),
    row("PATCH /v1/roles/{role}", r#"{"actions":["wrap"]}"#, On::Role, &["update_role"], ROLE, "ada"),
    row("DELETE /v1/roles/{role}", "", On::Role, &["remove_role"], ROLE, "ada"),
    row("POST /v1/explain", r#"{"action":"unwrap","key":"{key}"}"#, On::Key, &["explain"], &[], "stranger"),
    row(
        "POST /v1/explain",
        r#"{"action":"unwrap","key":"{key}","principal":"ben"}"#,
        On::Key,
        &["explain_others"],
        &[("stranger", 404), ("storage", 404), ("olaf", 403)],
        "audrey",
    ),
    row(
        "GET /v1/keys/{key}/access",
        "?action=unwrap",
        On::Key,
        &["list_access"],
        &[("stranger", 404), ("storage", 403), ("olaf", 404)],
        "audrey",
    ),
    // Trust.
    gated(row("POST /v1/trust/issuers", ISSUER, On::Nothing, &["add_issuer"], WHOLE, "ada")),
    row("GET /v1/trust/issuers", "", On::Nothing, &["list_issuers"], LIST, "audrey"),
    row("DELETE /v1/trust/issuers/{issuer}", "", On::Nothing, &["remove_issuer"], ANCHOR, "ada"),
    gated(row("POST /v1/trust/client-cas", CLIENT_CA, On::Nothing, &["add_client_ca"], WHOLE, "ada")),
    row("GET /v1/trust/client-cas", "", On::Nothing, &["list_client_cas"], LIST, "audrey"),
    row("DELETE /v1/trust/client-cas/{client_ca}", "", On::Nothing, &["remove_client_ca"], ANCHOR, "ada"),
    // Changes and records.
    row("GET /v1/changes", "", On::Nothing, &["list_changes"], LIST, "audrey"),
    row("GET /v1/nodes", "", On::Nothing, &["list_nodes"], LIST, "audrey"),
    row("POST /v1/changes/preview", PREVIEW, On::Key, &["preview_change"], LIST, "audrey"),
    row("GET /v1/changes/{change}", "", On::Change, &["describe_change"], LIST_PEOPLE, "olaf"),
    row("GET /v1/operations/{operation}", "", On::Operation, &["describe_change"], LIST_PEOPLE, "olaf"),
    row("POST /v1/audit/search", r#"{"limit":1}"#, On::Nothing, &["search_audit"], AUDIT, "audrey"),
    row("GET /v1/audit/records/{record}", "", On::Record, &["search_audit"], AUDIT, "audrey"),
];
