//! Where unknown users are hidden, they look like users whose pools are empty.

use super::{
    charges::limit,
    holders::inviter,
    support::{
        Client, by,
        calls::{ending_in, packages},
        client, device, reason, reserve_details, reserve_request, upload_request, user,
    },
};
use jiff::SignedDuration;
use keypool_proto::v1::{ErrorReason, ReserveErrorDetails, ReserveKeyPackagesRequest, Target};
use keypool_service::{
    config::Config,
    limits::{Rate, Rates},
    testing::{issuer::TestIssuer, packages::PackageMaker, server::TestServer},
    types::CipherSuite,
};
use prost::Message;
use std::collections::BTreeMap;
use tonic::Status;
use tonic_types::StatusExt;

/// Users of whom nothing can be reserved: two devices that are empty, packages of another suite only, packages that don't
/// live long enough, and nobody. Their names have one length.
const NOTHING: [&str; 4] = ["empty", "suite", "short", "ghost"];

const DAY: SignedDuration = SignedDuration::from_hours(24);

fn unlimited(config: &mut Config) {
    config.limits.rates = Rates::UNLIMITED;
}

struct Hidden {
    server: TestServer,
    issuer: TestIssuer,
    client: Client,
}

impl Hidden {
    async fn start(configure: impl FnOnce(&mut Config)) -> Self {
        let issuer = TestIssuer::new();
        let server = TestServer::start_with(|config| {
            config.auth = issuer.config();
            config.pool.hide_unknown = true;
            configure(config);
        })
        .await;
        let client = client(&server).await;
        let mut this = Self { server, issuer, client };
        for (user, count) in [("empty", 1), ("suite", 1), ("short", 1), ("carol", 9)] {
            for device in ["phone", "tablet"] {
                this.upload(user, device, count).await;
            }
        }
        let empty = by(&this.backend(), reserve_request("taken", vec![user("empty")]));
        this.client.reserve_key_packages(empty).await.unwrap();
        this
    }

    fn backend(&self) -> String {
        self.issuer.service("chat", &["backend"])
    }

    async fn upload(&mut self, user: &str, device: &str, count: usize) {
        let maker = PackageMaker::new(user, device);
        let packages = match user {
            "suite" => vec![maker.cipher_suite(CipherSuite(3)).make()],
            "short" => vec![ending_in(user, device, SignedDuration::from_hours(2)).make()],
            _ => maker.make_many(count),
        };
        let upload = by(&self.backend(), upload_request(user, device, packages));
        for result in self.client.upload_key_packages(upload).await.unwrap().into_inner().results {
            assert!(result.message.is_empty(), "{}", result.message);
        }
    }

    /// What an inviter is told, as bytes in which the user has the same name.
    async fn told(&mut self, user: &str, targets: Vec<Target>, require_all: bool) -> Vec<u8> {
        let request = ReserveKeyPackagesRequest {
            require_all,
            min_remaining_lifetime: Some(prost_types::Duration { seconds: 86_400, nanos: 0 }),
            ..reserve_request("r", targets)
        };
        let token = inviter(&self.issuer, "mallory");
        let (head, missing) = match self.client.reserve_key_packages(by(&token, request)).await {
            Ok(reserved) => {
                let reserved = reserved.into_inner();
                let missing = ReserveErrorDetails { missing: reserved.missing, omitted_count: 0 };
                ("reserved".into(), missing)
            }
            Err(status) => (head(&status), reserve_details(&status)),
        };
        let all = [head.as_bytes(), &missing.encode_to_vec()].concat();
        replaced(&all, user.as_bytes(), b"XXXXX")
    }
}

/// All of an error but its own details. Maps are encoded in any order.
fn head(status: &Status) -> String {
    let details = status.get_error_details();
    let info = details.error_info().unwrap();
    let metadata: BTreeMap<_, _> = info.metadata.iter().collect();
    let headers: Vec<_> = status.metadata().keys().collect();
    let length = status.details().len();
    format!(
        "{:?} {:?} {headers:?} {length} {} {metadata:?} {:?} {:?}",
        status.code(),
        status.message(),
        info.reason,
        details.precondition_failure(),
        details.retry_info(),
    )
}

fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for place in 0..bytes.len().saturating_sub(from.len() - 1) {
        if bytes[place..].starts_with(from) {
            bytes[place..place + to.len()].copy_from_slice(to);
        }
    }
    bytes
}

fn but(user: &str, excluded: &[&str]) -> Target {
    let excluded_device_ids = excluded.iter().map(|&device| device.to_owned()).collect();
    Target { user_id: user.into(), excluded_device_ids, ..Target::default() }
}

#[tokio::test]
async fn nobody_and_somebody_without_packages_look_the_same() {
    type Asked = fn(&str) -> Vec<Target>;
    let asked: [Asked; 8] = [
        |name| vec![user(name)],
        |name| vec![device(name, "phone")],
        |name| vec![device(name, "none")],
        |name| vec![device(name, "none"), device(name, "phone")],
        |name| vec![user(name), device(name, "phone")],
        |name| vec![but(name, &["phone"])],
        |name| vec![but(name, &["phone", "tablet"])],
        |name| vec![user(name), user("carol")],
    ];
    let mut hidden = Hidden::start(unlimited).await;
    for (number, asked) in asked.into_iter().enumerate() {
        for require_all in [false, true] {
            let expected = hidden.told("ghost", asked("ghost"), require_all).await;
            for name in NOTHING {
                let told = hidden.told(name, asked(name), require_all).await;
                assert_eq!(
                    String::from_utf8_lossy(&told),
                    String::from_utf8_lossy(&expected),
                    "{name}, targets {number}, all required: {require_all}"
                );
            }
        }
    }
}

#[tokio::test]
async fn who_is_reserved_of_is_told_about_in_full_and_so_is_a_back_end() {
    let mut hidden = Hidden::start(unlimited).await;
    let token = inviter(&hidden.issuer, "mallory");
    let backend = hidden.backend();
    let mut reserve = async |token: &str, targets| {
        let request = by(token, reserve_request("r", targets));
        hidden.client.reserve_key_packages(request).await.map(tonic::Response::into_inner)
    };
    let reserved = reserve(&token, vec![user("carol"), device("carol", "none")]).await.unwrap();
    assert_eq!(packages(&reserved).len(), 2);
    assert_eq!((reserved.missing.len(), reserved.missing[0].device_id.as_str()), (1, "none"));
    // A user without other devices of its own needs nothing.
    let own = inviter(&hidden.issuer, "carol");
    let none = reserve(&own, vec![but("carol", &["phone", "tablet"])]).await.unwrap();
    assert!(none.missing.is_empty());
    let truth = reserve(&backend, vec![user("ghost")]).await.unwrap_err();
    assert_eq!(reason(&truth), ErrorReason::UnknownUser);
}

#[tokio::test]
async fn the_rate_of_unknown_targets_does_not_tell_them_either() {
    for name in NOTHING {
        let mut hidden =
            Hidden::start(|config| config.limits.rates.unknown = Rate::new(2, DAY)).await;
        hidden.told(name, vec![user(name)], false).await;
        hidden.told(name, vec![device(name, "phone")], false).await;
        let token = inviter(&hidden.issuer, "mallory");
        let request = by(&token, reserve_request("r", vec![user("carol")]));
        let refused = hidden.client.reserve_key_packages(request).await.unwrap_err();
        assert_eq!(limit(&refused), "unknown", "{name}");
        drop(hidden.server);
    }
}

#[tokio::test]
async fn the_rate_of_a_holder_does_not_tell_how_many_devices_a_user_has() {
    let mut left = BTreeMap::new();
    for name in ["empty", "ghost", "herds"] {
        let mut hidden =
            Hidden::start(|config| config.limits.rates.holder = Rate::new(24, DAY)).await;
        for number in 0..12 {
            hidden.upload("herds", &format!("device-{number}"), 1).await;
        }
        let all = by(&hidden.backend(), reserve_request("all", vec![user("herds")]));
        hidden.client.reserve_key_packages(all).await.unwrap();
        for _ in 0..2 {
            hidden.told(name, vec![user(name)], false).await;
        }
        let token = inviter(&hidden.issuer, "mallory");
        let limit = loop {
            let request = by(&token, reserve_request("r", vec![device("ghost", "phone")]));
            let refused = hidden.client.reserve_key_packages(request).await.unwrap_err();
            if reason(&refused) == ErrorReason::RateLimited {
                break limit(&refused);
            }
            *left.entry(name).or_insert(0) += 1;
        };
        assert_eq!(limit, "holder");
    }
    assert_eq!(left, BTreeMap::from([("empty", 22), ("ghost", 22), ("herds", 22)]));
}

#[tokio::test]
async fn what_others_were_handed_is_not_told_and_what_the_caller_was_is() {
    let mut hidden = Hidden::start(|config| {
        config.limits.rates.device = Rate::new(1, DAY);
        config.limits.holds_per_holder_and_device = 1;
    })
    .await;
    let alice = inviter(&hidden.issuer, "alice");
    let first = by(&alice, reserve_request("first", vec![user("carol")]));
    hidden.client.reserve_key_packages(first).await.unwrap();
    let expected = hidden.told("ghost", vec![user("ghost")], false).await;
    assert_eq!(hidden.told("carol", vec![user("carol")], false).await, expected);
    let own = by(&alice, reserve_request("second", vec![user("carol")]));
    let own = hidden.client.reserve_key_packages(own).await.unwrap_err();
    assert_eq!((limit(&own).as_str(), reserve_details(&own).missing.len()), ("holds", 1));
}
