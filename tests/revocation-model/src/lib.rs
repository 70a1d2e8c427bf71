#![doc = include_str!("../README.md")]

mod configuration;
mod model;
mod protocol;
mod rules;
mod state;
mod story;

pub use configuration::{Configuration, Drift, Event};
pub use model::{Action, NO_OLD_ANSWER, Protocol};
pub use rules::{Rule, Rules};
pub use state::{Id, State};
pub use story::story;
