//! The nodes of this installation.

use std::sync::Arc;

use axum::response::Response;
use kms_client::wire::node::{LeaseState, Node, NodeKind, NodeList};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Api,
    error::Failure,
    exchange::Exchange,
    names::{outgoing, revision},
};
use crate::{
    model::Error,
    service::{MemberKind, SeenNode},
};

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::default().routes(routes!(list_nodes))
}

/// The nodes that control changes wait for, and what the answering node knows of their leases.
#[utoipa::path(
    get, path = "/v1/nodes", operation_id = "list_nodes", tag = "nodes",
    responses((status = 200, description = "All nodes, ordered by id", body = NodeList))
)]
async fn list_nodes(exchange: Exchange) -> Result<Response, Failure> {
    let nodes = exchange.service().list_nodes(exchange.call()).await?;
    let terms = exchange.service().cluster().lease_terms();
    exchange.answer(nodes, |nodes, record| {
        let nodes = nodes.iter().map(view).collect::<Result<_, _>>()?;
        Ok(NodeList { lease_milliseconds: terms.lease_milliseconds, nodes, record })
    })
}

fn view(seen: &SeenNode) -> Result<Node, Error> {
    let SeenNode { member, silent, holds } = seen;
    Ok(Node {
        id: member.node,
        kind: match member.kind {
            MemberKind::Server => NodeKind::Server,
            MemberKind::Host => NodeKind::Host,
        },
        address: member.address.clone(),
        region: outgoing(&member.region)?,
        version: member.version.clone(),
        joined_at: member.joined_at,
        revision: revision(member.revision),
        lease: if *holds { LeaseState::Held } else { LeaseState::Ended },
        silent_milliseconds: u64::try_from(silent.as_millis()).unwrap_or(u64::MAX),
    })
}
