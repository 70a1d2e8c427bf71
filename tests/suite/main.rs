//! The product's tests, through its own surfaces.

mod authorisation;
mod line;
