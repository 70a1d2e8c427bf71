//! `kms nodes`: which nodes changes wait for.

use kms_client::{
    client::Client,
    wire::node::{LeaseState, Node, NodeList},
};

use crate::{
    failure::Failure,
    output::{Output, table, time},
};

pub(crate) async fn run(client: &Client, output: Output) -> Result<(), Failure> {
    output.print(&client.list_nodes().await?, nodes)
}

fn nodes(list: &NodeList) -> String {
    let row = |node: &Node| {
        let lease = match node.lease {
            LeaseState::Held => "held",
            LeaseState::Ended => "ended",
        };
        let seen = format!("{} ms ago", node.silent_milliseconds);
        let (id, address, region) = (node.id.to_string(), node.address.clone(), node.region.to_string());
        let (revision, version) = (node.revision.to_string(), node.version.clone());
        [id, address, region, version, revision, lease.to_owned(), seen, time(node.joined_at)]
    };
    table(["id", "address", "region", "version", "revision", "lease", "renewed", "joined"], list.nodes.iter().map(row))
}
