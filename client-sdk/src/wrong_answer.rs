//! Answers that do not fit the call.

use keypool_proto::v1::KeyPackageName;

use crate::{Error, Missing, Target};

/// How an answer of the service does not fit the call: the service is broken, or it lies.
///
/// A complete answer can still be a lie. Which devices a user has is known to the service alone, so an
/// answer to [`Target::user`] may leave devices out, or add devices that the user does not have.
#[cfg_attr(
    feature = "openmls",
    doc = "[`PinnedDevices`](crate::mls::PinnedDevices), which remembers the devices of each user, notices both."
)]
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum WrongAnswer {
    /// The target got neither a package nor a reason why there is none. A target that
    /// [excludes devices](Target::user_except) needs no answer: there may be no other devices.
    #[error("it says nothing about {}", shown(.0.user_id(), .0.device_id()))]
    Unanswered(Target),

    /// A package or a reason is about a device that is in none of the targets, or excluded; or a
    /// status is about another device.
    #[error("it is about {}, which was not asked for", shown(user_id, device_id.as_deref()))]
    NotAskedFor {
        /// The user.
        user_id: String,
        /// The device. `None` if it is about the whole user.
        device_id: Option<String>,
    },

    /// A device got two packages, or a package and a reason why there is none.
    #[error("it has two answers for {}", shown(user_id, Some(device_id)))]
    TwoAnswers {
        /// The user.
        user_id: String,
        /// The device.
        device_id: String,
    },

    /// A package has a cipher suite that was not asked for.
    #[error(
        "the package of {} has the cipher suite {cipher_suite}, which was not asked for",
        shown(&name.user_id, Some(&name.device_id))
    )]
    CipherSuite {
        /// The package.
        name: KeyPackageName,
        /// Its cipher suite, as the service says.
        cipher_suite: u16,
    },

    /// All targets were required, some are missing, and the call did not fail.
    #[error("all targets were required, {} are missing, and it is no error", .0.len())]
    NotAll(Vec<Missing>),

    /// The reservation has another id, or is for another group.
    #[error("it is about another reservation or group")]
    AnotherReservation,

    /// There is not exactly one result for each package of the call, in the order of the call; or a
    /// result is a failure, and the call did not fail.
    #[error("its results are not those of the packages of the call")]
    Results,
}

impl WrongAnswer {
    /// The service's answer is about this device, or user.
    pub(crate) fn not_asked_for(user_id: &str, device_id: Option<&str>) -> Self {
        let (user_id, device_id) = (user_id.to_owned(), device_id.map(str::to_owned));
        Self::NotAskedFor { user_id, device_id }
    }
}

impl From<WrongAnswer> for Error {
    fn from(wrong: WrongAnswer) -> Self {
        Self::WrongAnswer(Box::new(wrong))
    }
}

fn shown(user_id: &str, device_id: Option<&str>) -> String {
    match device_id {
        Some(device_id) => format!("the device `{device_id}` of the user `{user_id}`"),
        None => format!("the user `{user_id}`"),
    }
}
