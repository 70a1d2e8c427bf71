//! `kms whoami`.

use kms_client::{client::Client, wire::whoami::Whoami};

use crate::{
    binding,
    failure::Failure,
    output::{Output, fields, text},
};

pub(crate) async fn run(client: &Client, output: Output) -> Result<(), Failure> {
    output.print(&client.whoami().await?, show)
}

fn show(whoami: &Whoami) -> String {
    let Whoami { principal, credential, solo, bindings, revision, node, record } = whoami;
    let mut shown = fields([
        ("name", principal.name.to_string()),
        ("kind", principal.kind.to_string()),
        ("person", text(principal.person.as_ref())),
        ("team", text(principal.team.as_ref())),
        ("environment", principal.environment.to_string()),
        ("id", principal.id.to_string()),
        ("credential", credential.to_string()),
        ("revision", revision.to_string()),
        ("node", node.to_string()),
        ("record", record.to_string()),
    ]);
    if *solo {
        shown.push_str("\nThis installation has a single administrator: nobody checks what that one does.\n");
    }
    shown.push('\n');
    shown.push_str(&binding::table_of(bindings));
    shown
}
