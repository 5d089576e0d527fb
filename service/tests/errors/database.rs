//! A database that is not as it should be for a while: what calls are told, and that they succeed as soon as it is again.

use crate::{
    service::UNAVAILABLE,
    support::{
        Client,
        calls::{named, reserve_one},
        client, device, fill,
        locks::connect,
        pool, reserve, spend, upload, upload_request,
    },
};
use keypool_proto::v1::{ErrorReason, GetPoolStatusRequest};
use keypool_service::{
    config::DatabaseUrl,
    testing::{database::TestDatabase, packages::PackageMaker, server::TestServer},
};
use tonic::{Code, Status};

/// A service that has prepared its statements, on one connection of the pool.
async fn start() -> (TestServer, Client, tokio_postgres::Client) {
    let server = TestServer::start_with(|config| {
        config.database_connections = 1;
        config.lanes.reserve = 1;
    })
    .await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", 40).await;
    each(&mut client, "before").await.unwrap();
    let database = connect(&server.database().config()).await;
    (server, client, database)
}

/// A call of each kind: reserves, changes of holds, uploads, and what the pool of connections does.
async fn each(client: &mut Client, reservation: &str) -> Result<(), Status> {
    let package = reserve_one(client, reservation, "bob", "phone").await?;
    spend(client, reservation, named(&package)).await?;
    let new = PackageMaker::new("bob", "phone").make();
    client.upload_key_packages(upload_request("bob", "phone", vec![new])).await?;
    let status = GetPoolStatusRequest { user_id: "bob".into(), device_id: "phone".into() };
    client.get_pool_status(status).await?;
    Ok(())
}

#[tokio::test]
async fn statements_are_prepared_anew_when_a_column_changes() {
    let (_server, mut client, database) = start().await;
    let changes = [
        "ALTER TABLE one_time ALTER not_after TYPE timestamptz(3), ALTER held_until TYPE timestamptz(3)",
        "ALTER TABLE last_resort ALTER not_after TYPE timestamptz(3)",
        "ALTER TABLE device ALTER last_upload_at TYPE timestamptz(3)",
        "ALTER TABLE one_time ALTER reservation_id TYPE varchar COLLATE \"C\"",
        "ALTER TABLE spend_log ALTER user_id TYPE varchar(300) COLLATE \"C\", ALTER held_until TYPE timestamptz(2)",
        "CREATE TABLE other (LIKE one_time INCLUDING ALL); INSERT INTO other SELECT * FROM one_time; \
         DROP TABLE one_time; ALTER TABLE other RENAME TO one_time",
    ];
    for (number, change) in changes.into_iter().enumerate() {
        database.batch_execute(change).await.unwrap();
        let reservation = format!("after {number}");
        each(&mut client, &reservation).await.unwrap_or_else(|error| panic!("{change}: {error:?}"));
    }
}

/// Statements after each of which the service can't do its work, and what makes it able to again.
const UNFIT: &[(&str, &str)] = &[
    ("ALTER TABLE one_time RENAME TO hidden", "ALTER TABLE hidden RENAME TO one_time"),
    (
        "ALTER TABLE one_time RENAME asked_at TO hidden",
        "ALTER TABLE one_time RENAME hidden TO asked_at",
    ),
    (
        "ALTER TABLE one_time ALTER cipher_suite TYPE bigint",
        "ALTER TABLE one_time ALTER cipher_suite TYPE integer",
    ),
    (
        "ALTER TABLE one_time ALTER cipher_suite TYPE text",
        "ALTER TABLE one_time ALTER cipher_suite TYPE integer USING cipher_suite::integer",
    ),
    ("ALTER SCHEMA public RENAME TO hidden", "ALTER SCHEMA hidden RENAME TO public"),
    (
        "DROP INDEX key_package_init_key",
        "CREATE UNIQUE INDEX key_package_init_key ON key_package (bucket, init_key) WHERE init_key IS NOT NULL",
    ),
];

#[tokio::test]
async fn what_does_not_fit_is_unavailable_and_served_again_without_a_restart() {
    let (_server, mut client, database) = start().await;
    for (number, (unfit, fit)) in UNFIT.iter().enumerate() {
        database.batch_execute(unfit).await.unwrap();
        if let Err(error) = each(&mut client, &format!("during {number}")).await {
            UNAVAILABLE.assert(&error);
        } else {
            assert!(unfit.contains("DROP INDEX"), "{unfit} is noticed");
        }
        database.batch_execute(fit).await.unwrap();
        let reservation = format!("after {number}");
        each(&mut client, &reservation).await.unwrap_or_else(|error| panic!("{fit}: {error:?}"));
    }
}

#[tokio::test]
async fn a_role_that_loses_a_right_is_unavailable_until_it_has_it_again() {
    let database = TestDatabase::create().await;
    let admin = connect(&database.config()).await;
    let role = database.create_owner("secret").await;
    let url = database.url_as(&role, "secret");
    let server = TestServer::start_with_database(database, |config| {
        config.database_url = Some(DatabaseUrl::new(url));
    })
    .await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", 4).await;
    each(&mut client, "before").await.unwrap();
    for (number, right) in ["UPDATE", "SELECT"].into_iter().enumerate() {
        admin.batch_execute(&format!("REVOKE {right} ON one_time FROM {role}")).await.unwrap();
        UNAVAILABLE.assert(&each(&mut client, "during").await.unwrap_err());
        admin.batch_execute(&format!("GRANT {right} ON one_time TO {role}")).await.unwrap();
        each(&mut client, &format!("after {number}")).await.unwrap();
    }
}

/// Makes every change of `one_time` and `revoked` run some PL/pgSQL first, but not those of the sweep, which comes at any time.
async fn before_each_change(database: &tokio_postgres::Client, does: &str) {
    let trigger = format!(
        "CREATE SEQUENCE IF NOT EXISTS changes; \
         CREATE OR REPLACE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql \
         AS $$ BEGIN IF current_query() NOT LIKE '/* keypool: log_lapsed%' THEN {does}; END IF; RETURN NULL; END $$; \
         CREATE OR REPLACE TRIGGER meddle BEFORE UPDATE ON one_time FOR EACH STATEMENT EXECUTE FUNCTION meddle(); \
         CREATE OR REPLACE TRIGGER meddle BEFORE INSERT ON revoked FOR EACH STATEMENT EXECUTE FUNCTION meddle()"
    );
    database.batch_execute(&trigger).await.unwrap();
}

#[tokio::test]
async fn statements_are_prepared_anew_when_the_connection_has_lost_them() {
    let (_server, mut client, database) = start().await;
    before_each_change(&database, "EXECUTE 'DEALLOCATE ALL'").await;
    for number in 0..3 {
        let reservation = format!("after {number}");
        each(&mut client, &reservation).await.unwrap();
        // On the pool's only connection.
        crate::support::calls::revoke_all(&mut client, "bob", "phone").await;
        pool(&mut client, "bob", "phone").await;
        upload(&mut client, "bob", "phone", PackageMaker::new("bob", "phone").make_many(4)).await;
    }
}

#[tokio::test]
async fn an_error_that_a_new_connection_does_not_meet_is_not_seen() {
    let (_server, mut client, database) = start().await;
    for (number, code) in
        ["XX000", "0A000", "26000", "25P02", "25006", "42P18", "08006", "40001", "40003", "57P01"]
            .into_iter()
            .enumerate()
    {
        let once = format!(
            "IF nextval('changes') % 2 = 1 THEN RAISE EXCEPTION 'on purpose' USING ERRCODE = '{code}'; END IF"
        );
        before_each_change(&database, &once).await;
        let reservation = format!("r {number}");
        let taken = reserve_one(&mut client, &reservation, "bob", "phone").await;
        taken.unwrap_or_else(|error| panic!("{code}: {error:?}"));
    }
}

#[tokio::test]
async fn an_error_that_lasts_is_told_by_its_kind() {
    let (_server, mut client, database) = start().await;
    let unavailable = [
        "25006", "26000", "42P01", "42703", "42501", "3F000", "3D000", "28000", "53100", "55000",
        "57014", "57P05", "58030",
    ];
    let internal =
        ["XX000", "XX001", "0A000", "22012", "23505", "23514", "54000", "P0001", "42601"];
    for (codes, reason) in [
        (&unavailable[..], ErrorReason::DatabaseUnavailable),
        (&internal[..], ErrorReason::Internal),
    ] {
        for code in codes {
            let always = format!("RAISE EXCEPTION 'on purpose' USING ERRCODE = '{code}'");
            before_each_change(&database, &always).await;
            let error = reserve(&mut client, "r", vec![device("bob", "phone")]).await.unwrap_err();
            assert_eq!(crate::support::reason(&error), reason, "{code}: {error:?}");
        }
    }
    before_each_change(&database, "NULL").await;
    each(&mut client, "after").await.unwrap();
}

#[tokio::test]
async fn a_statement_that_always_fails_makes_one_new_connection_a_run() {
    let (_server, mut client, database) = start().await;
    // A sequence counts what is rolled back, too.
    let always = "PERFORM nextval('changes'); RAISE EXCEPTION 'on purpose' USING ERRCODE = 'XX000'";
    before_each_change(&database, always).await;
    let error = reserve_one(&mut client, "r", "bob", "phone").await.unwrap_err();
    assert_eq!(error.code(), Code::Internal, "{error:?}");
    let tries: i64 =
        database.query_one("SELECT last_value FROM changes", &[]).await.unwrap().get(0);
    assert_eq!(tries, 2, "the first, and one more");
}
