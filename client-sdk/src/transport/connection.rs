//! What all clones of a client share.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tonic::transport::Channel;

use super::names::{Names, look_up};
use super::{EndpointOptions, Named, Replicas};

/// The replicas, and the task that follows their names. Dropping it ends the task.
#[derive(Debug)]
pub(crate) struct Connection {
    replicas: Arc<Replicas>,
    following: Option<JoinHandle<()>>,
}

impl Connection {
    pub(crate) fn over(channel: Channel) -> Self {
        Self { replicas: Arc::new(Replicas::over(channel)), following: None }
    }

    /// Each endpoint is a replica, or whatever its name stands for when it is connected to.
    pub(crate) fn to(endpoints: Vec<Named>, options: EndpointOptions) -> Self {
        let names = Names::new(endpoints, options);
        Self { replicas: Arc::new(Replicas::to(names.places())), following: None }
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
        Self { replicas, following: Some(following) }
    }

    pub(crate) fn replicas(&self) -> &Replicas {
        &self.replicas
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(following) = &self.following {
            following.abort();
        }
    }
}
