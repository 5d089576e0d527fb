//! Packages that somebody has seen and not spent: who gets them again, and what the device and the log tell of them.

use super::support::{
    Client,
    calls::{named, packages, release_request, spend_log},
    client, device, fill, fill_last_resort,
    locks::connect,
    package_details, pool, reason, reserve_details, reserve_request, spend_request,
};
use jiff::SignedDuration;
use keypool_proto::v1::{
    self, ErrorReason, ReservedKeyPackage, SpendLogEntry, SpendLogFilter, UnusableReason,
};
use keypool_service::{
    config::Config,
    testing::{issuer::TestIssuer, packages::PackageMaker, server::TestServer},
    types::ReturnedTo,
};
use std::collections::HashSet;
use tonic::{Code, Request, Status};

/// Longer than any hold.
const LATER: SignedDuration = SignedDuration::from_mins(11);

/// A service with tokens.
struct Stage {
    server: TestServer,
    issuer: TestIssuer,
    client: Client,
}

impl Stage {
    /// Carol's phone has so many packages.
    async fn with(packages: usize, configure: impl FnOnce(&mut Config)) -> Self {
        let issuer = TestIssuer::new();
        let server = TestServer::start_with(|config| {
            config.auth = issuer.config();
            // These tests take all that a pool has.
            config.pool.low_watermark = 0;
            configure(config);
        })
        .await;
        let client = client(&server).await;
        let stage = Self { server, issuer, client };
        let upload = super::support::upload_request("carol", "phone", stage.make(packages));
        stage.client.clone().upload_key_packages(stage.by("service:chat", upload)).await.unwrap();
        stage
    }

    fn make(&self, packages: usize) -> Vec<Vec<u8>> {
        PackageMaker::new("carol", "phone").make_many(packages)
    }

    /// A request of a back end, whose name begins with `service:`, or else of a user who invites.
    fn by<T>(&self, caller: &str, message: T) -> Request<T> {
        let token = match caller.strip_prefix("service:") {
            Some("desk") => self.issuer.service("desk", &["admin"]),
            Some(name) => self.issuer.service(name, &["backend"]),
            None => self.issuer.user(caller, Some("phone"), &["inviter"]),
        };
        super::support::by(&token, message)
    }

    async fn reserve(&self, by: &str, reservation: &str) -> Result<ReservedKeyPackage, Status> {
        let request = reserve_request(reservation, vec![device("carol", "phone")]);
        let answer = self.client.clone().reserve_key_packages(self.by(by, request)).await?;
        Ok(packages(answer.get_ref())[0].clone())
    }

    async fn release(
        &self,
        by: &str,
        reservation: &str,
        package: &ReservedKeyPackage,
        why: UnusableReason,
    ) {
        let request = release_request(reservation, named(package), why);
        self.client.clone().release_reservation(self.by(by, request)).await.unwrap();
    }

    async fn spend(
        &self,
        by: &str,
        reservation: &str,
        package: &ReservedKeyPackage,
    ) -> Result<(), Status> {
        let request = spend_request(reservation, named(package));
        self.client.clone().spend_reservation(self.by(by, request)).await.map(drop)
    }

    async fn status(&self) -> v1::DevicePoolStatus {
        let request =
            v1::GetPoolStatusRequest { user_id: "carol".into(), device_id: "phone".into() };
        let answer = self.client.clone().get_pool_status(self.by("service:chat", request)).await;
        answer.unwrap().into_inner().devices.remove(0)
    }

    async fn pool(&self) -> v1::CipherSuitePool {
        let pool = self.status().await.pools.remove(0);
        super::support::assert_balanced(&pool);
        pool
    }

    async fn log(&self, holder: &str) -> Vec<SpendLogEntry> {
        let mut audit =
            v1::audit_service_client::AuditServiceClient::connect(self.server.endpoint())
                .await
                .unwrap();
        let filter = SpendLogFilter { holder: holder.into(), ..SpendLogFilter::default() };
        let request = v1::ListSpendLogRequest { filter: Some(filter), ..<_>::default() };
        audit.list_spend_log(self.by("service:desk", request)).await.unwrap().into_inner().entries
    }

    /// Everything that others get while nothing is spent.
    async fn all_for_others(&self) -> HashSet<Vec<u8>> {
        let mut got = HashSet::new();
        for n in 0.. {
            match self.reserve(&format!("guest {n}"), "r").await {
                Ok(package) => assert!(got.insert(package.key_package)),
                Err(status) => {
                    assert_eq!(reason(&status), ErrorReason::PoolExhausted);
                    break;
                }
            }
        }
        got
    }
}

#[tokio::test]
async fn what_an_inviter_has_seen_goes_to_nobody_else() {
    for lapses in [false, true] {
        let stage = Stage::with(6, |_| {}).await;
        let seen = stage.reserve("mallory", "m").await.unwrap();
        if lapses {
            stage.server.clock().advance(LATER);
        } else {
            stage.release("mallory", "m", &seen, UnusableReason::Unspecified).await;
        }
        let pool = stage.pool().await;
        assert_eq!((pool.available, pool.returned), (5, 1), "lapses: {lapses}");

        // The one who has seen it gets it again, and no other.
        let again = stage.reserve("mallory", "m2").await.unwrap();
        assert_eq!(again.key_package, seen.key_package);
        let others = stage.all_for_others().await;
        assert_eq!(others.len(), 5);
        assert!(!others.contains(&seen.key_package));
    }
}

#[tokio::test]
async fn what_was_seen_is_on_record() {
    let stage = Stage::with(4, |_| {}).await;
    let released = stage.reserve("mallory", "released").await.unwrap();
    stage.release("mallory", "released", &released, UnusableReason::Unspecified).await;
    let unusable = stage.reserve("trent", "unusable").await.unwrap();
    stage.release("trent", "unusable", &unusable, UnusableReason::Other).await;
    let lapsed = stage.reserve("eve", "lapsed").await.unwrap();
    stage.server.clock().advance(LATER);
    stage.server.server().pool().sweep().await.unwrap();

    let of = async |holder: &str| {
        let [entry] = <[_; 1]>::try_from(stage.log(holder).await).unwrap();
        assert_eq!(entry.spend_time, None);
        entry
    };
    let entry = of("mallory").await;
    assert_eq!(entry.key_package_ref, released.name.unwrap().key_package_ref);
    assert!(entry.release_time.is_some() && entry.lapse_time.is_none(), "{entry:?}");
    let entry = of("trent").await;
    assert_eq!(entry.unusable_reason(), UnusableReason::Other);
    let entry = of("eve").await;
    assert!(entry.lapse_time.is_some() && entry.release_time.is_none(), "{entry:?}");
    assert_eq!((entry.principal.as_str(), entry.spend_time), ("", None));
    let pool = stage.pool().await;
    assert_eq!((pool.unspent_hand_outs, pool.returned, pool.available), (3, 3, 1));

    // A spend that comes late is one all the same, and has the entry of the hold.
    stage.spend("eve", "lapsed", &lapsed).await.unwrap();
    assert!(of_spent(&stage.log("eve").await));
    let pool = stage.pool().await;
    assert_eq!((pool.unspent_hand_outs, pool.returned, pool.spent), (2, 2, 1));
}

fn of_spent(entries: &[SpendLogEntry]) -> bool {
    matches!(entries, [entry] if entry.spend_time.is_some() && entry.lapse_time.is_some())
}

#[tokio::test]
async fn what_a_back_end_has_seen_comes_after_all_that_nobody_has() {
    let stage = Stage::with(3, |_| {}).await;
    let seen = stage.reserve("service:chat", "first").await.unwrap();
    stage.release("service:chat", "first", &seen, UnusableReason::Unspecified).await;
    assert_eq!(stage.pool().await.available, 3);
    for n in 0..2 {
        let other = stage.reserve("service:other", &format!("r{n}")).await.unwrap();
        assert_ne!(other.key_package, seen.key_package);
    }
    let last = stage.reserve("alice", "a").await.unwrap();
    assert_eq!(last.key_package, seen.key_package);
    // An inviter has seen it now.
    stage.release("alice", "a", &last, UnusableReason::Unspecified).await;
    stage.reserve("service:chat", "again").await.unwrap_err();
    assert_eq!(stage.reserve("alice", "b").await.unwrap().key_package, seen.key_package);
}

#[tokio::test]
async fn a_hold_of_which_nobody_was_told_leaves_no_trace() {
    let stage = Stage::with(2, |_| {}).await;
    let mut all = reserve_request("m", vec![device("carol", "phone"), device("nobody", "phone")]);
    all.require_all = true;
    let error = stage.client.clone().reserve_key_packages(stage.by("mallory", all)).await;
    assert_eq!(reserve_details(&error.unwrap_err()).missing.len(), 1);
    let pool = stage.pool().await;
    assert_eq!((pool.available, pool.returned, pool.unspent_hand_outs), (2, 0, 0));
    assert_eq!(stage.log("mallory").await, []);
}

#[tokio::test]
async fn nobody_gets_again_what_the_policy_says_so() {
    let stage = Stage::with(2, |config| {
        config.pool.returned_packages.inviter = ReturnedTo::Nobody;
        config.pool.returned_packages.backend = ReturnedTo::SameHolder;
    })
    .await;
    let seen = stage.reserve("alice", "a").await.unwrap();
    stage.release("alice", "a", &seen, UnusableReason::Unspecified).await;
    let other = stage.reserve("alice", "b").await.unwrap();
    assert_ne!(other.key_package, seen.key_package);
    // The same reservation still has what it has seen, while it may be held.
    stage.server.clock().advance(LATER);
    assert_eq!(stage.reserve("alice", "b").await.unwrap().key_package, other.key_package);
    stage.reserve("service:chat", "c").await.unwrap_err();
}

#[tokio::test]
async fn returned_packages_do_not_keep_a_pool_from_being_filled() {
    let stage = Stage::with(4, |config| (config.pool.target, config.pool.cap) = (4, 4)).await;
    for n in 0..4 {
        let by = format!("mallory {n}");
        let seen = stage.reserve(&by, "m").await.unwrap();
        stage.release(&by, "m", &seen, UnusableReason::Unspecified).await;
    }
    let status = stage.status().await;
    assert_eq!(status.health(), v1::PoolHealth::Empty);
    assert_eq!(status.pools[0].recommended_upload_count, 4);
    let upload = super::support::upload_request("carol", "phone", stage.make(6));
    let answer = stage.client.clone().upload_key_packages(stage.by("service:chat", upload)).await;
    let accepted = answer
        .unwrap()
        .into_inner()
        .results
        .iter()
        .filter(|one| one.outcome() == v1::UploadOutcome::Accepted)
        .count();
    assert_eq!(accepted, 4);
    // They don't grow without end, and never keep the device from filling its pool.
    for n in 4..8 {
        let by = format!("mallory {n}");
        let seen = stage.reserve(&by, "m").await.unwrap();
        stage.release(&by, "m", &seen, UnusableReason::Unspecified).await;
    }
    assert_eq!(stage.status().await.pools[0].recommended_upload_count, 4);
    let upload = super::support::upload_request("carol", "phone", stage.make(6));
    stage.client.clone().upload_key_packages(stage.by("service:chat", upload)).await.unwrap();
    let pool = stage.pool().await;
    assert_eq!((pool.available, pool.returned, pool.revoked), (4, 4, 4));
}

#[tokio::test]
async fn a_report_takes_a_last_resort_from_nobody() {
    let stage = Stage::with(1, |_| {}).await;
    let last = PackageMaker::new("carol", "phone").last_resort().make();
    let upload = super::support::upload_request("carol", "phone", vec![last]);
    stage.client.clone().upload_key_packages(stage.by("service:chat", upload)).await.unwrap();
    stage.reserve("guest", "g").await.unwrap();
    for by in ["mallory", "service:chat"] {
        let shared = stage.reserve(by, "m").await.unwrap();
        assert!(shared.last_resort);
        stage.release(by, "m", &shared, UnusableReason::Other).await;
        assert!(stage.reserve("alice", by).await.unwrap().last_resort);
    }
    // The device learns of it.
    let reports = stage.status().await.unusable_key_packages;
    assert_eq!(reports.len(), 2);
}

#[tokio::test]
async fn reports_are_rated_and_those_that_the_service_can_refute_change_nothing() {
    let stage = Stage::with(6, |config| {
        config.limits.rates.reports = keypool_service::limits::Rate::new(2, LATER);
    })
    .await;
    let refuted = [
        UnusableReason::Malformed,
        UnusableReason::InvalidSignature,
        UnusableReason::InvalidLifetime,
        UnusableReason::WrongIdentity,
        UnusableReason::UnsupportedCapabilities,
    ];
    for why in refuted {
        let seen = stage.reserve("service:chat", "r").await.unwrap();
        stage.release("service:chat", "r", &seen, why).await;
        assert_eq!(stage.pool().await.available, 6, "{why:?}");
    }
    assert_eq!(stage.status().await.unusable_key_packages.len(), refuted.len());
    let seen = stage.reserve("service:chat", "r").await.unwrap();
    stage.release("service:chat", "r", &seen, UnusableReason::Other).await;
    assert_eq!((stage.pool().await.available, stage.pool().await.revoked), (5, 1));

    let before = stage.status().await.unusable_key_packages.len();
    for n in 0..4 {
        let reservation = format!("m{n}");
        let seen = stage.reserve("mallory", &reservation).await.unwrap();
        stage.release("mallory", &reservation, &seen, UnusableReason::Other).await;
        if n >= 2 {
            // Beyond its rate, a package is just given back: to the same holder.
            assert_eq!(stage.reserve("mallory", "again").await.unwrap().name, seen.name);
            stage.release("mallory", "again", &seen, UnusableReason::Unspecified).await;
        }
    }
    assert_eq!(stage.status().await.unusable_key_packages.len(), before + 2);
}

/// The service looks at what it has stored, not at what the caller says: also at a last resort, which everybody shares.
#[tokio::test]
async fn a_package_that_is_broken_in_the_database_is_revoked_by_a_report() {
    let damages = [
        "substr(key_package, 1, 40)",
        "set_byte(key_package, length(key_package) - 1, get_byte(key_package, length(key_package) - 1) # 1)",
        "(SELECT o.key_package FROM key_package o WHERE o.key_package_ref <> k.key_package_ref LIMIT 1)",
    ];
    for (by, damage, why) in [
        ("mallory", damages[0], UnusableReason::Malformed),
        ("service:chat", damages[1], UnusableReason::InvalidSignature),
        ("mallory", damages[1], UnusableReason::InvalidLifetime),
        ("service:chat", damages[2], UnusableReason::WrongIdentity),
        ("mallory", damages[2], UnusableReason::UnsupportedCapabilities),
    ] {
        let stage = Stage::with(2, |_| {}).await;
        let last = PackageMaker::new("carol", "phone").last_resort().make();
        let upload = super::support::upload_request("carol", "phone", vec![last]);
        stage.client.clone().upload_key_packages(stage.by("service:chat", upload)).await.unwrap();
        let database = connect(&stage.server.database().config()).await;
        let (mut left, mut got) = (2, Vec::new());
        for n in 0..3 {
            let seen = stage.reserve(by, &format!("r{n}")).await.unwrap();
            let name = seen.name.clone().unwrap();
            if seen.last_resort || n == 1 {
                let damage = format!(
                    "UPDATE key_package k SET key_package = {damage} WHERE key_package_ref = $1"
                );
                database.execute(&damage, &[&name.key_package_ref]).await.unwrap();
            }
            got.push((seen, n == 1));
        }
        for (n, (seen, is_broken)) in got.iter().enumerate() {
            stage.release(by, &format!("r{n}"), seen, why).await;
            left -= usize::from(*is_broken);
        }
        let pool = stage.pool().await;
        assert_eq!(pool.available + pool.returned, left as u64, "{by} {why:?}");
        assert_eq!(pool.revoked, 1, "{by} {why:?}");
        assert_eq!(pool.last_resort, None, "{by} {why:?}");
        assert_eq!(stage.status().await.unusable_key_packages.len(), 3, "{by} {why:?}");
    }
}

#[tokio::test]
async fn a_report_makes_the_service_look_only_at_a_package_that_its_reservation_has_had() {
    let stage = Stage::with(2, |_| {}).await;
    let held = stage.reserve("alice", "r").await.unwrap();
    let database = connect(&stage.server.database().config()).await;
    let damage = "UPDATE key_package SET key_package = 'broken' WHERE key_package_ref = $1";
    let reference = &held.name.as_ref().unwrap().key_package_ref;
    database.execute(damage, &[reference]).await.unwrap();
    for (by, reservation) in [("mallory", "r"), ("alice", "other"), ("service:chat", "r")] {
        stage.release(by, reservation, &held, UnusableReason::Malformed).await;
        assert_eq!(stage.pool().await.revoked, 0, "{by} {reservation}");
    }
    stage.release("alice", "r", &held, UnusableReason::Malformed).await;
    assert_eq!(stage.pool().await.revoked, 1);
}

#[tokio::test]
async fn nobody_holds_a_package_for_ever() {
    let stage = Stage::with(2, |config| {
        config.pool.max_total_hold = SignedDuration::from_mins(30);
    })
    .await;
    let held = stage.reserve("mallory", "m").await.unwrap();
    let mut minutes = 0;
    let refused = loop {
        let request = v1::ExtendReservationRequest {
            ttl: Some(prost_types::Duration { seconds: 600, nanos: 0 }),
            ..super::support::calls::extend_request("m", named(&held))
        };
        match stage.client.clone().extend_reservation(stage.by("mallory", request)).await {
            Ok(_) => assert!(minutes < 30, "held for {minutes} minutes"),
            Err(status) => break status,
        }
        stage.server.clock().advance(SignedDuration::from_mins(9));
        minutes += 9;
    };
    assert!(minutes > 30, "{minutes}");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    let failures = package_details(&refused).failures;
    assert_eq!(failures[0].reason(), ErrorReason::HoldTooLong);
    // It was seen, and may be spent as long as nobody else has had it.
    assert_eq!(stage.pool().await.reserved, 0);
    stage.spend("mallory", "m", &held).await.unwrap();
}

/// Its time is over for the reservation, and not for others, whatever the policy and however often the reservation asks.
#[tokio::test]
async fn a_reservation_gets_no_package_again_that_it_held_for_as_long_as_it_may() {
    for (by, returned_to, other) in [
        ("service:chat", ReturnedTo::Anyone, "guest"),
        ("mallory", ReturnedTo::Anyone, "guest"),
        ("mallory", ReturnedTo::SameHolder, "mallory"),
    ] {
        for last_resort in [false, true] {
            let stage = Stage::with(1, |config| {
                config.pool.max_total_hold = SignedDuration::from_mins(30);
                config.pool.returned_packages.inviter = returned_to;
                config.pool.returned_packages.backend = returned_to;
                config.limits.rates.fair_share = keypool_service::limits::Rate::new(8, LATER);
            })
            .await;
            if last_resort {
                let last = PackageMaker::new("carol", "phone").last_resort().make();
                let upload = super::support::upload_request("carol", "phone", vec![last]);
                let upload = stage.by("service:chat", upload);
                stage.client.clone().upload_key_packages(upload).await.unwrap();
            }
            let held = stage.reserve(by, "r").await.unwrap();
            for minutes in (5..35).step_by(5) {
                assert_eq!(stage.reserve(by, "r").await.unwrap().name, held.name, "{minutes} min");
                stage.server.clock().advance(SignedDuration::from_mins(5));
            }
            stage.server.clock().advance(LATER);
            for _ in 0..2 {
                match stage.reserve(by, "r").await {
                    Ok(package) => assert!(last_resort && package.last_resort, "{by}"),
                    Err(status) => {
                        assert!(!last_resort, "{by}: {status:?}");
                        assert_eq!(reason(&status), ErrorReason::PoolExhausted);
                    }
                }
            }
            assert_eq!(stage.reserve(other, "other").await.unwrap().name, held.name);
            if !last_resort {
                let upload = super::support::upload_request("carol", "phone", stage.make(1));
                let upload = stage.by("service:chat", upload);
                stage.client.clone().upload_key_packages(upload).await.unwrap();
                assert_ne!(stage.reserve(by, "r").await.unwrap().name, held.name);
            }
        }
    }
}

#[tokio::test]
async fn an_open_service_gives_back_to_anyone() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    fill(&mut client, "carol", "phone", 1).await;
    fill_last_resort(&mut client, "carol", "phone").await;
    let seen =
        super::support::calls::reserve_one(&mut client, "a", "carol", "phone").await.unwrap();
    super::support::calls::release(&mut client, "a", named(&seen)).await.unwrap();
    assert_eq!(pool(&mut client, "carol", "phone").await.available, 1);
    let again =
        super::support::calls::reserve_one(&mut client, "b", "carol", "phone").await.unwrap();
    assert_eq!(again.name, seen.name);
    let filter = SpendLogFilter { reservation_id: "a".into(), ..SpendLogFilter::default() };
    assert_eq!(spend_log(&server.endpoint(), filter).await.len(), 1);
}

/// As after a second commit, or a lost answer.
#[tokio::test]
async fn a_reservation_that_has_released_and_spent_a_package_has_spent_it() {
    let stage = Stage::with(4, |_| {}).await;
    let held = stage.reserve("alice", "r").await.unwrap();
    stage.release("alice", "r", &held, UnusableReason::Unspecified).await;
    let again = stage.reserve("alice", "r").await.unwrap();
    assert_eq!(again.name, held.name);
    stage.spend("alice", "r", &again).await.unwrap();
    let repeated = stage.reserve("alice", "r").await.unwrap();
    assert!(repeated.spent && repeated.name == held.name, "{repeated:?}");
    assert_eq!(stage.pool().await.reserved, 0);
}

/// A user asks for what a back end has reserved for it: from then on the user has seen the package.
#[tokio::test]
async fn what_an_inviter_has_asked_for_again_is_its_own() {
    for lapses in [false, true] {
        let stage = Stage::with(1, |_| {}).await;
        let request = v1::ReserveKeyPackagesRequest {
            on_behalf_of: "alice".into(),
            ..reserve_request("r", vec![device("carol", "phone")])
        };
        stage.client.clone().reserve_key_packages(stage.by("service:chat", request)).await.unwrap();
        let seen = stage.reserve("alice", "r").await.unwrap();
        if lapses {
            stage.server.clock().advance(LATER);
        } else {
            stage.release("alice", "r", &seen, UnusableReason::Unspecified).await;
        }
        assert_eq!(stage.pool().await.returned, 1, "lapses: {lapses}");
        stage.reserve("guest", "g").await.unwrap_err();
    }
}

#[tokio::test]
async fn a_hold_that_a_fence_made_doubtful_is_on_record() {
    for revokes in [false, true] {
        let stage = Stage::with(1, |_| {}).await;
        let seen = stage.reserve("mallory", "m").await.unwrap();
        stage.server.clock().advance(LATER);
        stage.server.raise_fence().await;
        if revokes {
            let all = v1::revoke_key_packages_request::Selector::All(v1::AllKeyPackages {});
            let request = super::support::calls::revoke_request("carol", "phone", all);
            stage
                .client
                .clone()
                .revoke_key_packages(stage.by("service:chat", request))
                .await
                .unwrap();
        } else {
            let request = v1::ReconcilePoolRequest {
                user_id: "carol".into(),
                device_id: "phone".into(),
                key_package_refs: vec![seen.name.clone().unwrap().key_package_ref],
                as_of: None,
            };
            stage.client.clone().reconcile_pool(stage.by("service:chat", request)).await.unwrap();
        }
        let [entry] = <[_; 1]>::try_from(stage.log("mallory").await).unwrap();
        assert!(entry.lapse_time.is_some(), "{entry:?}");
    }
}

#[tokio::test]
async fn who_spends_late_is_on_record() {
    let stage = Stage::with(1, |_| {}).await;
    let request = v1::ReserveKeyPackagesRequest {
        on_behalf_of: "alice".into(),
        ..reserve_request("r", vec![device("carol", "phone")])
    };
    let answer =
        stage.client.clone().reserve_key_packages(stage.by("service:chat", request)).await.unwrap();
    stage.server.clock().advance(LATER);
    stage.server.server().pool().sweep().await.unwrap();
    stage.spend("alice", "r", &packages(answer.get_ref())[0]).await.unwrap();
    let [entry] = <[_; 1]>::try_from(stage.log("alice").await).unwrap();
    assert_eq!((entry.principal.as_str(), entry.spend_time.is_some()), ("alice", true));
}
