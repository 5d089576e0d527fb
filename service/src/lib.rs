//! The keypool service: pools of one-time MLS KeyPackages (RFC 9420) in PostgreSQL, handed out exactly once, by gRPC.
//!
//! Most people run the binary, `keypool`. This library is for tests, the service's own and those of applications.
//!
//! Layers, each of which knows only those below it:
//!
//! | module | what it does |
//! | --- | --- |
//! | [`grpc`] | decode, authenticate, call, encode; the one place that maps errors to status |
//! | [`auth`] | who calls, and what it may do |
//! | [`pool`] | the rules: [`pool::KeyPackagePool`], validation, policy; no tonic, no SQL |
//! | [`lane`] | group commit: calls that wait become one statement |
//! | [`fence`] | has the database forgotten something? |
//! | [`store`] | PostgreSQL: one file for each family of statements; no proto types |
//! | [`types`], [`clock`], [`pem`], [`roots`] | ids, buckets; time; certificates in files, and which of them are trusted |
//! | [`transport`] | connections: TLS, and limits in number and time |
//! | [`telemetry`], [`survey`] | metrics, traces, the log; what the whole database holds |
//! | [`server`], [`config`], [`embedded`] | the whole of it, started and stopped as one |
//! | [`supervise`] | background tasks, none of which may end before the service does |

pub mod admin;
pub mod auth;
mod caller;
mod causes;
pub mod cli;
pub mod clock;
pub mod config;
pub mod embedded;
pub mod fence;
mod freeze;
pub mod grpc;
mod jitter;
pub mod lane;
pub mod limits;
pub mod pem;
pub mod pool;
pub mod roots;
pub mod security;
pub mod server;
pub mod store;
pub mod supervise;
pub mod survey;
pub mod sweeper;
pub mod telemetry;
#[cfg(feature = "testing")]
pub mod testing;
pub mod transport;
pub mod types;
