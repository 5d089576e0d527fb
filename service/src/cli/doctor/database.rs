//! The database: can it be reached, does it keep what it is told, may the service do what it must?

use super::finding::Findings;
use crate::{
    causes::causes,
    clock::{DatabaseClock, MAX_SKEW},
    config::Config,
    server::Database,
    store::{Check, Examined, Fault, SchemaState, Store, StoreError},
};
use std::{sync::Arc, time::Duration};

/// How long connecting may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Connections of a replica beside the pool's and the lanes': readiness, and one to spare for operators.
const OTHER_CONNECTIONS: usize = 2;

pub(super) async fn examine(config: &Config, findings: &mut Findings) {
    let database = match Database::open(config).await {
        Ok(database) => database,
        Err(error) => {
            return findings.failed(
                "database",
                causes(&error),
                "check database_url and [database_tls]; without database_url, that nobody else uses the data directory",
            );
        }
    };
    if config.database_url.is_none() {
        findings.warning(
            "database",
            "is a private one of this machine",
            "fine for trying; set database_url for everything else",
        );
    }
    let looked = look(config, &database, findings).await;
    if let Err(error) = looked {
        match Fault::of(&error) {
            Some(fault) => findings.failed("database", fault.to_string(), fault.advice()),
            None => findings.failed(
                "database",
                causes(&error),
                "check database_url, that PostgreSQL runs and takes connections, its pg_hba.conf, the password, and with TLS \
                 the certificate; through PgBouncer, that it is 1.21 or newer with max_prepared_statements",
            ),
        }
    }
    if let Err(error) = database.close().await {
        findings.warning("database", causes(&error), "see its log");
    }
}

async fn look(
    config: &Config,
    database: &Database,
    findings: &mut Findings,
) -> Result<(), StoreError> {
    let store =
        Store::new(database.connector().clone(), Arc::new(DatabaseClock::default()), 1, PATIENCE)?;
    let examined = store.examine().await?;
    let check = store.check().await?;
    server(config, &examined, &check.faults, findings);
    clocks(&check, findings);
    if schema(config, check.schema, &examined, findings) {
        rights(&store, &examined, findings).await?;
        fences(&store, findings).await?;
    }
    store.close();
    Ok(())
}

/// PostgreSQL itself.
fn server(config: &Config, found: &Examined, faults: &[Fault], findings: &mut Findings) {
    findings
        .ok("database", format!("PostgreSQL {} answers, as role {}", found.version, found.role));
    // Which rights are lacking comes below.
    for fault in faults.iter().filter(|fault| !matches!(fault, Fault::LacksRights)) {
        let about = if matches!(fault, Fault::Volatile { .. }) { "durability" } else { "database" };
        findings.failed(about, fault.to_string(), fault.advice());
    }
    if !faults.iter().any(|fault| matches!(fault, Fault::Volatile { .. })) {
        findings.ok("durability", "what is acknowledged is on disk");
    }
    if config.synchronous_standbys && found.synchronous_standbys.is_empty() {
        findings.failed(
            "durability",
            "synchronous_standbys is true, but PostgreSQL waits for no standby: a failover may forget spends",
            "set PostgreSQL's synchronous_standby_names, or synchronous_standbys = false",
        );
    }
    let lanes = &config.lanes;
    let wanted =
        config.database_connections + lanes.reserve + lanes.hold + lanes.upload + OTHER_CONNECTIONS;
    let says = format!(
        "each replica takes up to {wanted} of PostgreSQL's {} connections",
        found.max_connections
    );
    if wanted > found.max_connections {
        findings.failed(
            "connections",
            says,
            "raise max_connections, or lower database_connections",
        );
    } else {
        findings.ok("connections", says);
    }
}

fn clocks(check: &Check, findings: &mut Findings) {
    let skew = check.clock_skew.as_secs_f64();
    let says = format!("the database's is {skew:.3} s ahead of this machine's");
    if check.clock_skew.abs() > MAX_SKEW {
        findings.failed(
            "clock",
            says,
            "let NTP set both: at more than 2 s the service is not ready",
        );
    } else {
        findings.ok("clock", says);
    }
}

/// Whether the schema is there.
fn schema(
    config: &Config,
    schema: SchemaState,
    examined: &Examined,
    findings: &mut Findings,
) -> bool {
    match schema {
        SchemaState::Behind { found, .. }
            if config.migrate_on_start
                && !(examined.may_create && (found == 0 || examined.may_rewrite)) =>
        {
            findings.failed(
                "rights",
                format!("role {} may not create or change tables in the schema", examined.role),
                "GRANT CREATE ON SCHEMA, or run `keypool migrate` as the role that owns the tables",
            );
        }
        SchemaState::Behind { found, known } if config.migrate_on_start => findings.ok(
            "schema",
            format!("has version {found}; `keypool serve` brings it to {known} when it starts"),
        ),
        _ => match schema.unserved() {
            None => findings.ok("schema", schema.to_string()),
            Some(why) => findings.failed("schema", why, schema.to_string()),
        },
    }
    schema.unserved().is_none()
}

async fn rights(
    store: &Store,
    examined: &Examined,
    findings: &mut Findings,
) -> Result<(), StoreError> {
    let missing = store.missing_rights().await?;
    if !missing.is_empty() {
        findings.failed(
            "rights",
            format!("role {} lacks {}", examined.role, missing.join(", ")),
            Fault::LacksRights.advice(),
        );
    } else if examined.may_rewrite {
        findings.warning(
            "rights",
            format!("role {} may change the tables and all that was recorded", examined.role),
            "let another role own them, and set runtime_role: see docs/security.md",
        );
    } else {
        findings.ok("rights", "are those that the service needs, and no other");
    }
    Ok(())
}

async fn fences(store: &Store, findings: &mut Findings) -> Result<(), StoreError> {
    let fences = store.list_fences().await?;
    match fences.iter().find(|fence| fence.lifted_at.is_none()) {
        None => findings.ok("fence", "none is up"),
        Some(fence) => findings.warning(
            "fence",
            format!("fence {} is up since {:.0}: {}", fence.number, fence.raised_at, fence.cause),
            "one-time packages of before come back as their devices reconcile; see docs/runbooks/restore.md",
        ),
    }
    Ok(())
}
