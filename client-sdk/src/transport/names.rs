//! What the endpoints' names stand for.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::time::sleep;
use tonic::transport::Endpoint;

use super::lines::Lines;
use super::replicas::Place;
use super::{EndpointOptions, Named, Replicas};

/// The endpoints, each with the addresses that it was last known by.
#[derive(Debug)]
pub(super) struct Names {
    options: EndpointOptions,
    names: Vec<(Named, Vec<SocketAddr>)>,
}

impl Names {
    pub(super) fn new(endpoints: Vec<Named>, options: EndpointOptions) -> Self {
        Self { options, names: endpoints.into_iter().map(|named| (named, Vec::new())).collect() }
    }

    /// Where the replicas are, and how to connect to them. A name that could not be looked up so far
    /// is a place itself.
    pub(super) fn places(&self) -> impl Iterator<Item = (Place, impl FnOnce() -> Option<Lines>)> {
        self.names.iter().enumerate().flat_map(move |(name, (named, addresses))| {
            let itself = addresses.is_empty().then_some(None);
            let places = itself.into_iter().chain(addresses.iter().copied().map(Some));
            let connect = move |address| {
                let endpoint = self.at(named, address)?;
                Some(Lines::to(endpoint, self.options.dial.clone()))
            };
            places.map(move |address| (Place { name, address }, move || connect(address)))
        })
    }

    fn at(&self, named: &Named, address: Option<SocketAddr>) -> Option<Endpoint> {
        let Some(address) = address else {
            return Some(named.endpoint.clone());
        };
        let endpoint = self.options.at(named, address);
        endpoint.inspect_err(|error| tracing::warn!(%error, "a replica is left out")).ok()
    }

    /// Looks the names up now and then, and tells the replicas.
    pub(super) async fn follow<L, A>(mut self, look_up: L, every: Duration, replicas: Arc<Replicas>)
    where
        L: Fn(String, u16) -> A,
        A: Future<Output = io::Result<Vec<SocketAddr>>>,
    {
        loop {
            self.look_up(&look_up).await;
            replicas.update(self.places());
            sleep(every).await;
        }
    }

    /// A name that can't be looked up keeps the addresses that it had: better an old one than none.
    async fn look_up<L, A>(&mut self, look_up: &L)
    where
        L: Fn(String, u16) -> A,
        A: Future<Output = io::Result<Vec<SocketAddr>>>,
    {
        for (named, addresses) in &mut self.names {
            let Some((host, port)) = named.host.clone() else {
                continue;
            };
            match look_up(host.clone(), port).await {
                Ok(found) if !found.is_empty() => *addresses = found,
                Ok(_) => tracing::warn!(host, "a name of the keypool service has no address"),
                Err(error) => {
                    tracing::warn!(host, %error, "a name of the keypool service has no answer");
                }
            }
        }
    }
}

pub(super) async fn look_up(host: String, port: u16) -> io::Result<Vec<SocketAddr>> {
    let mut addresses: Vec<_> = lookup_host((host, port)).await?.collect();
    addresses.sort_unstable();
    addresses.dedup();
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::task::yield_now;

    use super::*;
    use crate::transport::Dial;

    /// A name server, and how often it was asked.
    #[derive(Clone, Default)]
    struct Server(Arc<Mutex<(usize, Option<Vec<u16>>)>>);

    impl Server {
        /// From now on the name stands for these ports, or there is no answer.
        async fn says(&self, ports: Option<&[u16]>) {
            self.0.lock().unwrap().1 = ports.map(Vec::from);
            let asked = self.asked();
            // When it is asked for the second time, the first answer has been taken in.
            while self.asked() < asked + 2 {
                yield_now().await;
            }
        }

        fn asked(&self) -> usize {
            self.0.lock().unwrap().0
        }

        fn look_up(&self) -> io::Result<Vec<SocketAddr>> {
            let (asked, ports) = &mut *self.0.lock().unwrap();
            *asked += 1;
            let ports = ports.as_ref().ok_or(io::ErrorKind::TimedOut)?;
            Ok(ports.iter().copied().map(address).collect())
        }

        fn followed(&self) -> Arc<Replicas> {
            let options = EndpointOptions {
                connect_timeout: Duration::from_secs(1),
                dial: Dial::default(),
                keeps_tokens: false,
                #[cfg(feature = "tls")]
                tls: None,
            };
            let named = options.parse("http://keypool.example:1").unwrap();
            let names = Names::new(vec![named], options);
            let replicas = Arc::new(Replicas::to(names.places()));
            let server = self.clone();
            let look_up = move |_, _| std::future::ready(server.look_up());
            tokio::spawn(names.follow(look_up, Duration::from_millis(1), replicas.clone()));
            replicas
        }
    }

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[tokio::test]
    async fn replicas_come_and_go_with_their_addresses() {
        let server = Server::default();
        let replicas = server.followed();
        server.says(None).await;
        assert_eq!(replicas.addresses(), [None], "the name itself");
        server.says(Some(&[1, 2])).await;
        assert_eq!(replicas.addresses(), [1, 2].map(address).map(Some));
        let kept = replicas.at(address(2)).unwrap();

        server.says(Some(&[2, 3])).await;
        assert_eq!(replicas.addresses(), [2, 3].map(address).map(Some));
        assert!(Arc::ptr_eq(&kept, &replicas.at(address(2)).unwrap()));
    }

    #[tokio::test]
    async fn without_an_answer_the_old_addresses_stay() {
        let server = Server::default();
        let replicas = server.followed();
        server.says(Some(&[1])).await;
        for no_answer in [None, Some(&[][..])] {
            server.says(no_answer).await;
            assert_eq!(replicas.addresses(), [Some(address(1))]);
        }
    }
}
