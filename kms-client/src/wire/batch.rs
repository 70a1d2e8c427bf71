//! Batches: many operations of one kind in one request, each with a result of its own.

use serde::{Deserialize, Serialize};

use super::problem::Problem;

/// The most items of one batch.
pub const MOST_ITEMS: usize = 1000;

/// 1 to 1,000 operations. Each is authorised, recorded and answered by itself: one bad item does not fail the others.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Batch<T> {
    /// The operations.
    pub items: Vec<T>,
}

/// What became of each operation, in the order of the request.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BatchAnswer<T> {
    /// A result or a problem for each operation.
    pub items: Vec<Item<T>>,
}

/// What became of one operation of a batch.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Item<T> {
    /// Its answer, as if it had been alone.
    Result(T),
    /// Why it has none.
    Error(Problem),
}

impl<T> Item<T> {
    /// The outcome as a `Result`.
    ///
    /// # Errors
    /// When the operation had no answer.
    pub fn into_result(self) -> Result<T, Box<Problem>> {
        match self {
            Self::Result(answer) => Ok(answer),
            Self::Error(problem) => Err(Box::new(problem)),
        }
    }
}
