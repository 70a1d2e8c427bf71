//! Who the caller is.

use axum::response::Response;
use kms_client::wire::whoami::{PrincipalSummary, Whoami};

use super::{
    bindings,
    error::Failure,
    exchange::Exchange,
    names::{outgoing, outgoing_option, revision},
};

/// Who the server takes the caller for.
#[utoipa::path(
    get, path = "/v1/whoami", operation_id = "whoami", tag = "about",
    responses((status = 200, description = "The caller", body = Whoami))
)]
pub(super) async fn whoami(exchange: Exchange) -> Result<Response, Failure> {
    let standing = exchange.service().whoami(exchange.call()).await?;
    let credential = exchange.call().caller.credential();
    exchange.answer(standing, |standing, record| {
        let principal = &standing.principal;
        Ok(Whoami {
            principal: PrincipalSummary {
                id: principal.id,
                name: outgoing(principal.name.as_str())?,
                kind: principal.kind,
                person: outgoing_option(principal.person.as_ref())?,
                environment: principal.environment.into(),
                team: outgoing_option(principal.team.as_ref())?,
            },
            credential,
            solo: standing.solo,
            bindings: standing.bindings.iter().map(|binding| bindings::view(binding)).collect::<Result<_, _>>()?,
            revision: revision(standing.revision),
            node: standing.node,
            record,
        })
    })
}
