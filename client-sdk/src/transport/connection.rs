//! What all clones of a client share.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint, Error};

use super::lines::Lines;
use super::names::{Names, look_up};
use super::{EndpointOptions, Named, Replicas};
use crate::throttle::Throttle;

/// The replicas, the task that follows their names, and how much of what is called is sent. Dropping
/// it ends the task.
#[derive(Debug)]
pub(crate) struct Connection {
    replicas: Arc<Replicas>,
    following: Option<JoinHandle<()>>,
    throttle: Throttle,
}

impl Connection {
    pub(crate) fn over(channel: Channel) -> Self {
        Self::with(Replicas::by(Lines::over(channel)).into(), None)
    }

    /// There is one replica, which is connected to at once.
    pub(crate) async fn now(endpoint: &Endpoint, options: EndpointOptions) -> Result<Self, Error> {
        let lines = Lines::now(endpoint.clone(), options.dial).await?;
        Ok(Self::with(Replicas::by(lines).into(), None))
    }

    /// Each endpoint is a replica, or whatever its name stands for when it is connected to.
    pub(crate) fn to(endpoints: Vec<Named>, options: EndpointOptions) -> Self {
        let names = Names::new(endpoints, options);
        Self::with(Replicas::to(names.places()).into(), None)
    }

    /// Each address of each name is a replica, and the names are looked up again and again.
    pub(crate) fn following(
        endpoints: Vec<Named>,
        options: EndpointOptions,
        every: Duration,
    ) -> Self {
        let names = Names::new(endpoints, options);
        let replicas = Arc::new(Replicas::to(names.places()));
        let following = tokio::spawn(names.follow(look_up, every, replicas.clone()));
        Self::with(replicas, Some(following))
    }

    fn with(replicas: Arc<Replicas>, following: Option<JoinHandle<()>>) -> Self {
        Self { replicas, following, throttle: Throttle::default() }
    }

    pub(crate) fn replicas(&self) -> &Replicas {
        &self.replicas
    }

    pub(crate) fn throttle(&self) -> &Throttle {
        &self.throttle
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(following) = &self.following {
            following.abort();
        }
    }
}
