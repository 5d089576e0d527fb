//! A reservation that outlives its process.

use keypool_proto::v1::ReserveKeyPackagesRequest;
use serde::{Deserialize, Serialize};

use crate::{Client, Missing, Reservation, ReservedPackage};

/// A [`Reservation`] as plain data, to be stored and taken up again after a crash. See
/// [`Reservation::save`] and [`Client::resume`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SavedReservation {
    #[serde(with = "message")]
    pub(crate) request: ReserveKeyPackagesRequest,
    pub(crate) packages: Vec<ReservedPackage>,
    pub(crate) missing: Vec<Missing>,
}

impl SavedReservation {
    /// The reservation's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.request.reservation_id
    }

    /// The group that it was made for.
    #[must_use]
    pub fn group_id(&self) -> &[u8] {
        &self.request.group_id
    }
}

impl Client {
    /// Takes up a reservation that an earlier process made, for whomever this client acts. Nothing is
    /// asked of the service: what became of the packages meanwhile is known with the next
    /// [`Reservation::spend`] or [`Reservation::ensure`].
    ///
    /// ```no_run
    /// # async fn example(client: keypool_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let reservation = client.reserve(b"group 1").user("bob").send().await?;
    /// std::fs::write("reservation.json", serde_json::to_vec(&reservation.save())?)?;
    /// // … the process ends here, and another one begins …
    /// let saved = serde_json::from_slice(&std::fs::read("reservation.json")?)?;
    /// client.resume(saved).spend().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn resume(&self, saved: SavedReservation) -> Reservation {
        Reservation::taken_up(self.clone(), saved)
    }
}

/// A message in its protobuf encoding.
pub(crate) mod message {
    use prost::Message;
    use serde::de::{Deserialize, Deserializer, Error};
    use serde::{Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(
        message: &impl Message,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        message.encode_to_vec().serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D, M>(deserializer: D) -> Result<M, D::Error>
    where
        D: Deserializer<'de>,
        M: Message + Default,
    {
        let bytes = Vec::<u8>::deserialize(deserializer)?;
        M::decode(bytes.as_slice()).map_err(D::Error::custom)
    }
}
