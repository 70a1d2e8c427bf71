//! Decisions as cases in JSON beside this file, and what must hold for all of them.

mod cases;
mod cut;
mod speed;
mod world;

use std::sync::Arc;

use super::bundle::Bundle;
use crate::model::Region;

fn node_region() -> Region {
    "eu".parse().unwrap()
}

fn built_in() -> Arc<Bundle> {
    Arc::new(Bundle::built_in(&node_region()).unwrap())
}
