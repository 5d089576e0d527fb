use crate::{limits::Rates, pool::Policy};
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How much one caller, and all of them, may ask for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// How many live holds one holder may have on one device.
    pub holds_per_holder_and_device: u32,
    /// How many live holds a user may have on each of its own devices, instead of `holds_per_holder_and_device`.
    pub holds_of_own_devices: u32,
    /// How many calls may wait for the database; any further one is refused at once.
    pub calls_in_flight: usize,
    /// How many pools may be watched at the same time.
    pub watches: usize,
    /// How many connections callers may have in all; any further one is closed at once.
    pub connections: usize,
    /// How many calls may be under way on one HTTP/2 connection, watches included; clients keep further ones back. At
    /// least 2: half of them may be watches, so that other calls never wait behind those.
    pub streams_per_connection: u32,
    /// The most bytes of a request's headers, counted as HTTP/2 does (RFC 9113, 6.5.2).
    pub header_bytes: u32,
    /// The most bytes of a request's message.
    pub message_bytes: usize,
    /// The most bytes of all requests and answers in memory, each request counted three times. One user or service may have an
    /// eighth, a back end half, and all callers that have not proven who they are an eighth together.
    pub memory_bytes: usize,
    /// How long a call may take until its answer, or its first of several, begins; less if its caller wants it sooner.
    pub call_timeout: SignedDuration,
    /// How long a new connection may take to shake hands by TLS and to send its first bytes.
    pub handshake_timeout: SignedDuration,
    /// How long a connection may stay without a byte in either direction. On HTTP/2 the service pings, so that only
    /// peers that are gone are silent.
    pub idle_timeout: SignedDuration,
    /// How long a connection stays on which nobody has proven who calls and nothing is called, health checks included.
    pub stranger_timeout: SignedDuration,
    /// How long a connection may not take what there is to send, and how long one answer may wait to be sent.
    pub write_timeout: SignedDuration,
    /// After how long a connection is asked to end when its calls have, so that clients spread over replicas anew. Its
    /// watches end within 5 seconds from then. With 0, never: then a client certificate that has expired since still counts.
    pub connection_age: SignedDuration,
    /// How many calls one principal may have under way at the same time. Back ends, which stand for many, may have any
    /// number.
    pub calls_per_principal: usize,
    /// How many pools one principal may watch at the same time. Back ends may watch any number.
    pub watches_per_principal: usize,
    /// How often holders may ask, and devices may be asked for.
    pub rates: Rates,
}

impl LimitsConfig {
    /// The age at which a connection is asked to end; none if it may stay.
    pub(crate) fn oldest_connection(&self) -> Option<Duration> {
        (!self.connection_age.is_zero()).then(|| self.connection_age.unsigned_abs())
    }

    /// How many streams of one connection may be watches, or others that go on: half of them.
    #[must_use]
    pub fn watches_per_connection(&self) -> usize {
        usize::try_from(self.streams_per_connection / 2).unwrap_or(usize::MAX)
    }
}

impl Default for LimitsConfig {
    fn default() -> Self {
        let policy = Policy::default();
        Self {
            holds_per_holder_and_device: policy.max_holds.of_others,
            holds_of_own_devices: policy.max_holds.of_own_devices,
            calls_in_flight: policy.max_calls_in_flight,
            watches: policy.max_watches,
            connections: 10_000,
            streams_per_connection: 256,
            header_bytes: 16 * 1024,
            // 100 packages that are large, and what is around them.
            message_bytes: 4 * 1024 * 1024,
            memory_bytes: 128 * 1024 * 1024,
            call_timeout: SignedDuration::from_secs(60),
            handshake_timeout: SignedDuration::from_secs(10),
            idle_timeout: SignedDuration::from_mins(5),
            stranger_timeout: SignedDuration::from_secs(10),
            write_timeout: SignedDuration::from_secs(30),
            connection_age: SignedDuration::from_hours(1),
            calls_per_principal: 64,
            watches_per_principal: 16,
            rates: policy.rates,
        }
    }
}
