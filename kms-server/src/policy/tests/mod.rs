//! Decisions as cases in JSON beside this file, and what must hold for all of them.

mod cases;
mod custom;
mod cut;
mod random;
mod speed;
mod world;

use std::sync::{Arc, LazyLock};

use super::bundle::Bundle;
use crate::model::Region;

fn node_region() -> Region {
    "eu".parse().unwrap()
}

fn built_in() -> Arc<Bundle> {
    static BUILT_IN: LazyLock<Arc<Bundle>> = LazyLock::new(|| Arc::new(Bundle::built_in(node_region()).unwrap()));
    Arc::clone(&BUILT_IN)
}
