//! What is measured: callers, each of which makes one call after another.

mod channels;
mod database;
mod echo;
mod offered;
mod offered_by_sdk;
mod requests;
mod reserve;
mod reserver;
mod spend;
mod upload;

pub(crate) use channels::{Channels, Clients};
pub(crate) use database::{Connections, DeleteOnRead, SingleStatement};
pub(crate) use echo::Echo;
pub(crate) use offered::Offered;
pub(crate) use offered_by_sdk::OfferedBySdk;
pub(crate) use requests::{Requests, Users};
pub(crate) use reserve::Reserve;
pub(crate) use reserver::Reserver;
pub(crate) use spend::ReserveThenSpend;
pub(crate) use upload::{Upload, UploadQueue, Validation, cores, make_upload, make_uploads};

use std::time::Duration;

/// How long reserves hold: so short that no pool runs dry. What has lapsed costs more than what nobody has seen: it is logged.
pub(crate) const TTL: Duration = Duration::from_millis(250);

/// How long reserves of the one hot user hold: all calls share its packages.
pub(crate) const HOT_TTL: Duration = Duration::from_millis(100);

/// How long reserves hold where few packages are stored.
pub(crate) const SCALE_TTL: Duration = Duration::from_millis(50);

/// How long reserves hold that are spent: nothing comes back, so that it need not be soon.
pub(crate) const SPEND_TTL: Duration = Duration::from_secs(30);

/// One reserve in so many is repeated.
pub(crate) const REPEAT_ONE_IN: u32 = 1000;
