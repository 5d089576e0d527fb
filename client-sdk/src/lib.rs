#![cfg_attr(docsrs, feature(doc_cfg))]
//! Client of [keypool](https://github.com/keypool/keypool), a service that keeps a pool of one-time
//! MLS KeyPackages ([RFC 9420]) for every device, and hands each of them out exactly once.
//!
//! | you are | start with |
//! | --- | --- |
//! | a device that wants to be invited | [`PoolKeeper`](#keeping-a-pool-filled) |
//! | a device that invites others | [`Inviter::invite`](#inviting) |
//! | a back end, or not on OpenMLS | [`Client::reserve`](#reserving-by-hand), [`Client::upload`] |
//! | looking for what went wrong | [`Error`](#errors), [`Client::pool_status`] |
//!
//! All of them need a [`Client`]:
//!
//! ```no_run
//! # async fn example() -> keypool_client::Result<()> {
//! use std::time::Duration;
//! use keypool_client::Client;
//!
//! let client = Client::builder("http://127.0.0.1:50051")
//!     .timeout(Duration::from_secs(5))
//!     .connect()
//!     .await?;
//! # Ok(())
//! # }
//! ```
//!
//! [`Client::from_env`] takes the endpoint from `KEYPOOL_ENDPOINT`, and a client is cheap to clone.
#![cfg_attr(feature = "openmls", doc = include_str!("mls/manual.md"))]
//! # Reserving by hand
//!
//! [`Client::reserve`] holds one package for each device, for a limited time. Spend them *before* the
//! Welcome goes out: that is what makes sure that nobody else uses the same package. If the spend
//! fails, drop the commit.
//!
//! ```no_run
//! # async fn example(client: keypool_client::Client) -> keypool_client::Result<()> {
//! let mut reservation = client.reserve(b"group 1").user("bob").cipher_suite(1).send().await?;
//! for missing in reservation.missing() {
//!     println!("{}: {}", missing.user_id, missing.message);
//! }
//! // … verify the packages, and make the commit and the Welcome from them …
//! reservation.spend().await?;
//! // … publish the commit and the Welcome …
//! # Ok(())
//! # }
//! ```
//!
//! A [`Reservation`] that is dropped before anything was spent is released in the background.
//!
//! # Retries
//!
//! Every call may be repeated word for word with the same effect, so the client repeats it when the
//! service or the connection fails: with growing, jittered delays, honouring what the service asks
//! for, and never beyond the call's deadline ([`ClientBuilder::timeout`], 10 seconds unless set).
//! The service knows that deadline, too. All tries of a reserve carry the same reservation id, so a
//! lost answer loses no package. [`RetryPolicy`] says after which errors, and changes how often and
//! how fast.
//!
//! With several replicas ([`ClientBuilder::endpoint`], [`ClientBuilder::resolve_every`]), the next
//! try goes to another one at once.
//!
//! While the service refuses many calls of a method as overloaded, only a part of them is sent, so that
//! it has time for those that it takes. The others fail as [`Error::Overloaded`] at once, or are tried
//! again as if the service had refused them. A client that makes only a few calls a second is not kept
//! back for long.
//!
//! The future of a call may be dropped at any time: nothing of it goes on in the client. What the
//! service had begun it may still finish, and the same call later tells.
//!
//! # TLS and tokens
//!
//! ```no_run
//! # #[cfg(feature = "tls")]
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use keypool_client::{Client, TlsConfig, Token};
//!
//! let tls = TlsConfig::new()
//!     .root_certificates(std::fs::read("ca.pem")?)
//!     .client_certificate(std::fs::read("client.pem")?, std::fs::read("client.key")?);
//! let client = Client::builder("https://keypool.example:50051")
//!     .tls(tls)
//!     .token_provider(Token::new(std::env::var("KEYPOOL_TOKEN")?)?)
//!     .connect()
//!     .await?;
//! # Ok(())
//! # }
//! ```
//!
//! An `https` endpoint takes the feature `tls`. A service asks for a client certificate, for a bearer
//! token, or for either. Tokens that expire come from a [`TokenProvider`] of the application; the
//! client asks it once for all calls, before a token's time is over, and when the service refuses
//! one: then the call is repeated once. Tokens are in no `Debug` output and in no log, and leave the host by
//! `https` only, unless [`ClientBuilder::plain_text_tokens`] is called.
//!
//! # Observing calls
//!
//! Each call is a [`tracing`] span `keypool_call` at level INFO, with `method`, `reservation_id`
//! where there is one, `attempts` and `outcome`: `ok`, or the name of the [`Error`] in snake case. Each
//! opening of a watch is a call.
//!
//! With the feature `opentelemetry`, calls carry the W3C headers `traceparent` and `tracestate` of
//! that span, provided that the application's subscriber has the layer of `tracing-opentelemetry`.
//! The service's spans are then children of the application's.
//!
//! With the feature `metrics`, the recorder of the application (see the crate [`metrics`]) gets
//!
//! | metric | kind | labels | what |
//! | --- | --- | --- | --- |
//! | `keypool_client_calls_total` | counter | `method`, `outcome` | calls that ended; `outcome` as above, or `cancelled` |
//! | `keypool_client_call_duration_seconds` | histogram | `method` | how long they took, retries included |
//! | `keypool_client_retries_total` | counter | `method` | tries but for each call's first |
//! | `keypool_client_rejected_packages_total` | counter | `reason` | packages of a `PoolKeeper` that the service rejected, such as `pool_full` |
//! | `keypool_client_kept_back_total` | counter | `method` | tries that were not sent, because the service is overloaded |
//!
//! `method` is the name in the protocol, such as `ReserveKeyPackages`.
//!
//! [`tracing`]: https://docs.rs/tracing
//! [`metrics`]: https://docs.rs/metrics
//!
//! # Errors
//!
//! [`Error`] has a variant for each reason that the service gives:
//!
//! ```no_run
//! # async fn example(client: keypool_client::Client) -> keypool_client::Result<()> {
//! use keypool_client::Error;
//!
//! match client.reserve(b"group 1").user("bob").send().await {
//!     Ok(reservation) => println!("{} packages", reservation.packages().len()),
//!     Err(Error::PoolExhausted(failure)) => println!("bob is out of packages: {failure}"),
//!     Err(Error::UnknownUser(_)) => println!("bob never uploaded any"),
//!     Err(error) => return Err(error),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! An answer that does not fit the call is [`Error::WrongAnswer`]: every target must have a package or a
//! reason why there is none, and nothing else may be in the answer.
//!
//! After [`Error::Unavailable`], [`Error::Transport`] and [`Error::DeadlineExceeded`], what the call
//! asked for may or may not have happened. Repeating it tells.
//!
//! # Features
//!
//! - `openmls` (default): verified invites and the pool keeper, on [OpenMLS]. Without it, packages are
//!   bytes
//! - `serde` (by `openmls`): [`Reservation::save`], a reservation as plain data
//! - `sqlite`: `mls::SqlitePoolStore`, `mls::SqliteInviteJournal` and `mls::SqlitePinStore`. They link the SQLite of
//!   `openmls_sqlite_storage`, so that one file may have it all
//! - `tls`: `https` endpoints, by rustls, with roots and client certificates of your own
//! - `tls-native-roots`, `tls-webpki-roots`: `tls`, and the roots of the operating system, or those of
//!   Mozilla, where no others are given
//! - `opentelemetry`: calls carry the trace context of the current span
//! - `metrics`: calls are counted and timed
//! - `test-server`: `TestServer`, a real service on a real database for your own tests
//!
//! [RFC 9420]: https://www.rfc-editor.org/rfc/rfc9420
//! [OpenMLS]: https://docs.rs/openmls

mod audit;
mod auth;
mod builder;
mod call;
mod client;
mod config_error;
mod decode;
mod device;
mod error;
mod keep_alive;
mod method;
#[cfg(feature = "openmls")]
#[cfg_attr(docsrs, doc(cfg(feature = "openmls")))]
pub mod mls;
mod observe;
mod package;
mod reservation;
mod reserve;
mod retry;
#[cfg(feature = "serde")]
mod saved;
mod target;
#[cfg(feature = "test-server")]
mod test_server;
mod throttle;
mod transport;
mod watch;
mod wrong_answer;

pub use auth::{InvalidToken, Token, TokenFuture, TokenProvider};
pub use builder::ClientBuilder;
pub use client::Client;
pub use config_error::ConfigError;
pub use device::{Reconciled, Revoke, UploadOutcome, Uploaded, UploadedPackage};
pub use error::{Error, Failure, FieldViolation, Missing, PackageOutcome, Result};
pub use keep_alive::KeepAlive;
#[cfg(feature = "openmls")]
#[cfg_attr(docsrs, doc(cfg(feature = "openmls")))]
pub use mls::{
    AmbiguousIdentity, BasicIdentity, CredentialVerifier, InvalidTemplate, InviteError, Invited,
    Inviter, PackageFault, PinnedDevices, PoolKeeper, PoolKeeperBuilder, PoolStore, PublishError,
    Recovered,
};
pub use package::ReservedPackage;
pub use reservation::{Reservation, ReservationParts};
pub use reserve::ReserveBuilder;
pub use retry::RetryPolicy;
#[cfg(feature = "serde")]
#[cfg_attr(docsrs, doc(cfg(feature = "serde")))]
pub use saved::SavedReservation;
pub use target::Target;
#[cfg(feature = "test-server")]
#[cfg_attr(docsrs, doc(cfg(feature = "test-server")))]
pub use test_server::TestServer;
#[cfg(feature = "tls")]
#[cfg_attr(docsrs, doc(cfg(feature = "tls")))]
pub use transport::TlsConfig;
pub use watch::PoolWatch;
pub use wrong_answer::WrongAnswer;

pub use keypool_proto as proto;
pub use keypool_proto::v1::{
    CipherSuitePool, DevicePoolStatus, ErrorReason, KeyPackageName, LastResortStatus, PoolHealth,
    ReconciledKeyPackage, RejectionReason, SpendLogEntry, SpendLogFilter, UnavailableState,
    UnusableKeyPackage, UnusableReason,
};
