//! The client against the real service with everything turned on: TLS, tokens, client certificates, roles.
#![allow(clippy::unwrap_used)]

mod support;

use std::path::PathBuf;
use std::sync::Mutex;

use keypool_client::mls::{Invite, RefreshError};
use keypool_client::{
    BasicIdentity, Client, Error, ErrorReason, Inviter, PoolKeeper, PublishError, Target,
    TlsConfig, Token,
};
use keypool_service::config::{self, CertificateConfig};
use keypool_service::testing::{issuer::TestIssuer, server::TestServer};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use support::device::{Device, SUITE};
use tempfile::TempDir;

const BACK_END: &str = "spiffe://example.org/ns/chat/sa/backend";

struct Secured {
    server: TestServer,
    issuer: TestIssuer,
    authority: CertifiedIssuer<'static, KeyPair>,
    _files: TempDir,
}

impl Secured {
    async fn start() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let files = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &str| -> PathBuf {
            let path = files.path().join(name);
            std::fs::write(&path, content).unwrap();
            path
        };
        let (certificate, key) =
            certificate(&authority, SanType::DnsName("localhost".try_into().unwrap()));
        let mut tls = config::TlsConfig::new(file("tls.crt", &certificate), file("tls.key", &key));
        tls.client_ca = Some(file("ca.crt", &authority.pem()));
        let issuer = TestIssuer::new();
        let server = TestServer::start_with(|config| {
            config.tls = Some(tls);
            config.auth = issuer.config();
            config.auth.certificates = vec![CertificateConfig {
                name: BACK_END.to_owned().try_into().unwrap(),
                roles: vec![keypool_service::auth::Role::Backend],
            }];
        })
        .await;
        Self { server, issuer, authority, _files: files }
    }

    fn trusted(&self) -> TlsConfig {
        TlsConfig::new().root_certificates(self.authority.pem())
    }

    fn client(&self, token: Option<&str>, tls: TlsConfig) -> Client {
        let endpoint = self.server.endpoint().replace("127.0.0.1", "localhost");
        let mut builder = Client::builder(endpoint).tls(tls);
        if let Some(token) = token {
            builder = builder.token_provider(Token::new(token).unwrap());
        }
        builder.connect_lazy().unwrap()
    }

    /// The client of an application on a user's device.
    fn application(&self, device: &Device) -> Client {
        let roles = ["device", "inviter"];
        let token = self.issuer.user(&device.user_id, Some(&device.device_id), &roles);
        self.client(Some(&token), self.trusted())
    }
}

/// A certificate of a name, and its key.
fn certificate(authority: &CertifiedIssuer<'static, KeyPair>, name: SanType) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![name];
    (params.signed_by(&key, authority).unwrap().pem(), key.serialize_pem())
}

async fn refresh(client: &Client, device: &Device) -> keypool_client::Result<usize> {
    let keeper = PoolKeeper::builder(client.clone(), &device.user_id, &device.device_id, [SUITE])
        .store(device.store.clone())
        .build(&device.provider, device.credential.clone(), &device.signer);
    keeper.refresh().await.map(|refreshed| refreshed.uploaded.len()).map_err(|error| match error {
        RefreshError::Status(error) => error,
        error => panic!("{error:?}"),
    })
}

#[tokio::test]
async fn two_applications_invite_and_join() {
    let secured = Secured::start().await;
    let (alice, bob) = (Device::new("alice", "laptop"), Device::new("bob", "phone"));
    let [alices, bobs] = [&alice, &bob].map(|device| secured.application(device));
    assert_eq!(refresh(&bobs, &bob).await.unwrap(), 33);

    let mut group = alice.group();
    let welcome = Mutex::new(Vec::new());
    let publish = async |invite: Invite| {
        *welcome.lock().unwrap() = invite.welcome;
        Ok::<_, PublishError>(())
    };
    Inviter::new(alices, BasicIdentity::default())
        .own_device("alice", "laptop")
        .invite(&mut group, &alice.provider, &alice.signer, [Target::user("bob")], publish)
        .await
        .unwrap();
    assert_eq!(bob.join(&welcome.into_inner().unwrap()).members().count(), 2);
}

#[tokio::test]
async fn an_application_looks_after_its_own_device_only() {
    let secured = Secured::start().await;
    let (alice, bob) = (Device::new("alice", "laptop"), Device::new("bob", "phone"));
    let error = refresh(&secured.application(&alice), &bob).await.unwrap_err();
    assert!(matches!(error, Error::PermissionDenied(_)), "{error:?}");
}

#[tokio::test]
async fn a_back_end_is_known_by_its_certificate() {
    let secured = Secured::start().await;
    let name = SanType::URI(BACK_END.try_into().unwrap());
    let (certificate, key) = certificate(&secured.authority, name);
    let back_end = secured.client(None, secured.trusted().client_certificate(certificate, key));
    let bob = Device::new("bob", "phone");
    assert_eq!(refresh(&back_end, &bob).await.unwrap(), 33);
    back_end.reserve(b"group").user("bob").send().await.unwrap().spend().await.unwrap();
}

#[tokio::test]
async fn nobody_is_refused() {
    let secured = Secured::start().await;
    let error =
        refresh(&secured.client(None, secured.trusted()), &Device::new("bob", "phone")).await;
    let error = error.unwrap_err();
    assert!(matches!(error, Error::Unauthenticated(_)), "{error:?}");
}

#[tokio::test]
async fn an_error_about_many_devices_with_long_ids_arrives_whole() {
    let secured = Secured::start().await;
    let alices = secured.application(&Device::new("alice", "laptop"));
    let mut reserve = alices.reserve(b"group");
    for n in 0..100 {
        reserve = reserve.device(format!("{n:0>255}"), format!("{n:0>255}"));
    }
    let error = reserve.send().await.unwrap_err();
    assert_eq!(error.missing().len(), 100);
    assert!(error.missing().iter().all(|one| one.reason == ErrorReason::UnknownUser));
}
