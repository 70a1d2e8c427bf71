//! The operations as the OpenAPI document lists them: what a request is called in records, logs and metrics.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, OnceLock},
};

use axum::{
    extract::{MatchedPath, Request},
    http::Method,
};
use metrics::{Counter, Histogram, counter, histogram};
use utoipa::openapi::{HttpMethod, OpenApi, path::PathItem};

use crate::model::Action;

/// One operation of the document.
pub(super) struct Operation {
    id: String,
    action: Option<Action>,
    /// Made at the first request, when whoever collects metrics is there.
    meters: OnceLock<Meters>,
}

struct Meters {
    /// By the first digit of the status, from 1.
    answers: [Counter; 5],
    seconds: Histogram,
}

/// Every operation, by path and method.
#[derive(Debug)]
pub(super) struct Operations {
    by_path: HashMap<String, Vec<(Method, Arc<Operation>)>>,
    unknown: Arc<Operation>,
}

impl Operations {
    /// Those of the document.
    pub(super) fn new(document: &OpenApi) -> Self {
        let by_path = document.paths.paths.iter().map(|(path, item)| (path.clone(), of_path(item))).collect();
        Self { by_path, unknown: Arc::new(Operation::new("unknown")) }
    }

    /// The one that a request is for, once its path was matched.
    pub(super) fn of(&self, request: &Request) -> &Arc<Operation> {
        let method = if request.method() == Method::HEAD { &Method::GET } else { request.method() };
        request
            .extensions()
            .get::<MatchedPath>()
            .and_then(|path| self.by_path.get(path.as_str()))
            .and_then(|operations| operations.iter().find(|(of, _)| of == method))
            .map_or(&self.unknown, |(_, operation)| operation)
    }
}

impl Operation {
    fn new(id: &str) -> Self {
        Self { id: id.to_owned(), action: action(id), meters: OnceLock::new() }
    }

    /// The action that policy decides on, where it is one.
    pub(super) fn action(&self) -> Option<Action> {
        self.action
    }

    /// The action as records name it.
    pub(super) fn code(&self) -> &'static str {
        self.action.map_or("unknown", Action::code)
    }

    /// Counts an answer.
    pub(super) fn count(&self, status: u16, seconds: f64) {
        let meters = self.meters.get_or_init(|| Meters::new(&self.id));
        let class = usize::from(status / 100).checked_sub(1);
        if let Some(answers) = class.and_then(|class| meters.answers.get(class)) {
            answers.increment(1);
        }
        meters.seconds.record(seconds);
    }
}

impl Meters {
    fn new(id: &str) -> Self {
        let answers = ["1xx", "2xx", "3xx", "4xx", "5xx"]
            .map(|status| counter!("keyward_requests_total", "operation" => id.to_owned(), "status" => status));
        Self { answers, seconds: histogram!("keyward_request_seconds", "operation" => id.to_owned()) }
    }
}

impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operation").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The action that an operation of this id asks for; of a transfer, its first.
pub(super) fn action(id: &str) -> Option<Action> {
    match id.strip_suffix("_batch").unwrap_or(id) {
        "transfer" => Some(Action::TransferFrom),
        "describe_record" => Some(Action::SearchAudit),
        "describe_operation" => Some(Action::DescribeChange),
        id => Action::from_code(id),
    }
}

/// The operations of one path.
pub(super) fn methods(item: &PathItem) -> impl Iterator<Item = (HttpMethod, &utoipa::openapi::path::Operation)> {
    let all = [
        (HttpMethod::Get, &item.get),
        (HttpMethod::Post, &item.post),
        (HttpMethod::Put, &item.put),
        (HttpMethod::Patch, &item.patch),
        (HttpMethod::Delete, &item.delete),
    ];
    all.into_iter().filter_map(|(method, operation)| operation.as_ref().map(|operation| (method, operation)))
}

fn of_path(item: &PathItem) -> Vec<(Method, Arc<Operation>)> {
    let named = |(method, operation): (HttpMethod, &utoipa::openapi::path::Operation)| {
        let method = match method {
            HttpMethod::Post => Method::POST,
            HttpMethod::Put => Method::PUT,
            HttpMethod::Patch => Method::PATCH,
            HttpMethod::Delete => Method::DELETE,
            _ => Method::GET,
        };
        (method, Arc::new(Operation::new(operation.operation_id.as_deref().unwrap_or("unknown"))))
    };
    methods(item).map(named).collect()
}
