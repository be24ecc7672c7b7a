//! The Helm chart, as `helm template` renders it and as a real API server takes it.
//!
//! A test's name begins with the line that it proves of what the chart must do: 01 one process without
//! values, 02 modes and impossible mixes, 03 schema, 04 roles, 05 autoscaling, 06 grace period, 08 pod
//! security, 09 credentials, 10 network policies, 11 ways in, 12 monitoring, 13 NATS and database, 14
//! migration, 15 changes of configuration, 16 same text, 17 `helm test`, 18 images.

mod apiserver;
mod config;
mod documented;
mod expose;
mod network;
mod observe;
mod outside;
mod page;
mod program;
mod refuse;
mod reload;
mod render;
mod roles;
mod scale;
mod schemas;
mod secrets;
mod security;
mod support;
