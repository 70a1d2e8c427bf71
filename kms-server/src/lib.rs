#![doc = include_str!("../README.md")]

pub mod audit;
pub mod authn;
pub mod cluster;
pub mod config;
pub mod crash;
pub mod dev;
pub mod doctor;
mod flush_trace;
pub mod gate;
pub mod host;
pub mod http;
pub mod init;
mod jobs;
pub mod model;
pub mod policy;
pub mod recover;
pub mod serve;
pub mod service;
pub mod store;
pub mod supervisor;
pub mod telemetry;
