//! What is charged to a limit was had: a call that fails costs nothing, and who waits as long as it is told is let in.

use super::support::{
    Client, calls::eventually, client, device, fill, locks::connect, reason, reserve_request,
    upload_request,
};
use jiff::SignedDuration;
use keypool_proto::v1::{ErrorReason, RejectionReason, ReserveKeyPackagesRequest, UploadOutcome};
use keypool_service::{
    config::Config,
    limits::Rate,
    testing::{packages::PackageMaker, server::TestServer},
};
use tonic::Status;
use tonic_types::StatusExt;

const HOUR: SignedDuration = SignedDuration::from_hours(1);
const ONE_AN_HOUR: Rate = Rate::new(1, HOUR);

/// A limit that allows one call, and the call.
struct Case {
    limit: &'static str,
    set: fn(&mut Config),
    is_upload: bool,
    /// Who reserves.
    holder: &'static str,
}

const CASES: [Case; 7] = [
    Case {
        limit: "holder",
        set: |config| config.limits.rates.holder = ONE_AN_HOUR,
        is_upload: false,
        holder: "alice",
    },
    Case {
        limit: "holder_and_device",
        set: |config| config.limits.rates.holder_and_device = ONE_AN_HOUR,
        is_upload: false,
        holder: "alice",
    },
    Case {
        limit: "device",
        set: |config| {
            config.limits.rates.fair_share = Rate::UNLIMITED;
            config.limits.rates.device = ONE_AN_HOUR;
        },
        is_upload: false,
        holder: "alice",
    },
    Case {
        limit: "holds",
        set: |config| config.limits.holds_per_holder_and_device = 1,
        is_upload: false,
        holder: "alice",
    },
    Case {
        limit: "upload",
        set: |config| config.limits.rates.upload = ONE_AN_HOUR,
        is_upload: true,
        holder: "",
    },
    Case {
        limit: "own_devices",
        set: |config| config.limits.rates.own_devices = ONE_AN_HOUR,
        is_upload: false,
        holder: "bob",
    },
    Case {
        limit: "holds",
        set: |config| config.limits.holds_of_own_devices = 1,
        is_upload: false,
        holder: "bob",
    },
];

/// The limit that a refusal names.
pub(super) fn limit(refused: &Status) -> String {
    let details = refused.get_error_details();
    let limit = details.error_info().and_then(|info| info.metadata.get("limit"));
    limit.unwrap_or_else(|| panic!("no limit in {refused:?}")).clone()
}

/// The server that a case is tried on.
struct Tried {
    server: TestServer,
    client: Client,
    case: Case,
    calls: usize,
}

impl Tried {
    async fn start(case: Case) -> Self {
        let server = TestServer::start_with(case.set).await;
        let mut client = client(&server).await;
        // Uploads of one package each: a limit on uploads lets each device in once.
        if case.is_upload {
            fill(&mut client, "bob", "other", 1).await;
        } else {
            fill(&mut client, "bob", "phone", 20).await;
        }
        Self { server, client, case, calls: 0 }
    }

    /// One more call, about bob's phone.
    async fn call(&mut self) -> Result<(), Status> {
        self.calls += 1;
        if self.case.is_upload {
            let package = PackageMaker::new("bob", "phone").make();
            let request = upload_request("bob", "phone", vec![package]);
            return self.client.upload_key_packages(request).await.map(drop);
        }
        let request = ReserveKeyPackagesRequest {
            on_behalf_of: self.case.holder.into(),
            ..reserve_request(&format!("r{}", self.calls), vec![device("bob", "phone")])
        };
        self.client.reserve_key_packages(request).await.map(drop)
    }
}

#[tokio::test]
async fn what_is_rejected_tells_why_and_is_not_charged_as_added() {
    let server = TestServer::start_with(|config| {
        config.limits.rates.upload = Rate::new(2, HOUR);
        config.limits.rates.validation = Rate::new(8, HOUR);
    })
    .await;
    let mut client = client(&server).await;
    let maker = PackageMaker::new("bob", "phone");
    let good = maker.make();
    let mut upload =
        async |packages| client.upload_key_packages(upload_request("bob", "phone", packages)).await;
    for _ in 0..3 {
        let results = upload(vec![vec![7; 40]]).await.unwrap().into_inner().results;
        assert_eq!(results[0].outcome(), UploadOutcome::Rejected);
        assert_eq!(results[0].rejection_reason(), RejectionReason::UnsupportedProtocolVersion);
    }
    for outcome in [UploadOutcome::Accepted, UploadOutcome::AlreadyPresent] {
        let results = upload(vec![good.clone()]).await.unwrap().into_inner().results;
        assert_eq!(results[0].outcome(), outcome);
    }
    // One of the two is left, and three of what may be validated.
    upload(maker.make_many(1)).await.unwrap();
    let refused = upload(maker.make_many(1)).await.unwrap_err();
    assert_eq!(limit(&refused), "upload");
    // A package that is large costs more than one.
    let refused = upload(vec![vec![7; 5000]]).await.unwrap_err();
    assert_eq!(limit(&refused), "validation");
}

#[tokio::test]
async fn a_call_that_fails_is_not_charged() {
    for case in CASES {
        let limit = case.limit;
        let mut tried = Tried::start(case).await;
        let database = connect(&tried.server.database().config()).await;
        database.batch_execute("ALTER TABLE key_package RENAME TO gone").await.unwrap();
        for _ in 0..3 {
            let failed = tried.call().await.unwrap_err();
            assert_ne!(reason(&failed), ErrorReason::RateLimited, "{limit}");
        }
        database.batch_execute("ALTER TABLE gone RENAME TO key_package").await.unwrap();
        eventually("it is let in", async || match tried.call().await {
            Ok(()) => true,
            Err(error) => {
                assert_ne!(reason(&error), ErrorReason::RateLimited, "{limit}");
                false
            }
        })
        .await;
    }
}

#[tokio::test]
async fn a_refusal_names_its_limit_and_how_long_to_wait() {
    for case in CASES {
        let limit = case.limit;
        let mut tried = Tried::start(case).await;
        tried.call().await.unwrap();
        for _ in 0..3 {
            let refused = tried.call().await.unwrap_err();
            assert_eq!(reason(&refused), ErrorReason::RateLimited, "{limit}: {refused:?}");
            let details = refused.get_error_details();
            assert_eq!(details.error_info().unwrap().metadata["limit"], limit);
            let wait = details.retry_info().unwrap().retry_delay.unwrap();
            assert!(!wait.is_zero());
            // Not one moment before.
            let almost = SignedDuration::try_from(wait).unwrap() - SignedDuration::from_secs(5);
            tried.server.clock().advance(almost);
            tried.call().await.expect_err(limit);
            tried.server.clock().advance(SignedDuration::from_secs(5));
            tried.call().await.unwrap_or_else(|error| panic!("{limit}: {error:?}"));
        }
    }
}

#[tokio::test]
async fn all_limits_that_refuse_are_waited_out_at_once() {
    let case = Case {
        limit: "holder_and_device",
        set: |config| {
            config.limits.rates.holder_and_device = ONE_AN_HOUR;
            config.limits.rates.device = Rate::new(1, SignedDuration::from_mins(20));
            config.limits.holds_per_holder_and_device = 1;
        },
        is_upload: false,
        holder: "alice",
    };
    let mut tried = Tried::start(case).await;
    tried.call().await.unwrap();
    let refused = tried.call().await.unwrap_err();
    let wait = refused.get_error_details().retry_info().unwrap().retry_delay.unwrap();
    tried.server.clock().advance(SignedDuration::try_from(wait).unwrap());
    tried.call().await.unwrap();
}
