//! stub
pub fn routes(_state: super::AppState) -> axum::Router { axum::Router::new() }
