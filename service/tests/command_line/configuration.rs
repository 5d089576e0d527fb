use super::{
    fails, file, keypool,
    serving::{ANYWHERE, Serving},
    succeeds,
};
use rustix::process::Signal;
use serde_json::Value;
use std::process::Command;

const SECRET: &str = "hunter2";

/// The configuration as the program understands it.
async fn checked(command: Command) -> Value {
    serde_json::from_str(&succeeds(command).await).unwrap()
}

#[tokio::test]
async fn check_config_prints_what_is_in_force() {
    let defaults = checked(keypool(&["check-config"])).await;
    assert_eq!(defaults["listen"], "127.0.0.1:50051");
    assert_eq!(defaults["admin_listen"], "127.0.0.1:9090");
    assert_eq!(defaults["database_url"], Value::Null);
    assert_eq!(defaults["pool"]["target"], 32);

    let (_folder, path) = file("listen = '127.0.0.1:1'\n[pool]\ntarget = 40\ndefault_hold = '30s'");
    let changed = checked(keypool(&["check-config", "--config", path.to_str().unwrap()])).await;
    assert_eq!(changed["listen"], "127.0.0.1:1");
    assert_eq!(changed["pool"]["target"], 40);
    assert_eq!(changed["pool"]["cap"], 64);
}

#[tokio::test]
async fn flags_win_over_variables_and_variables_over_the_file() {
    let (_folder, path) = file("listen = '127.0.0.1:1'\n[pool]\ntarget = 41\nlow_watermark = 4");
    let mut command = keypool(&["--listen", "127.0.0.1:3", "check-config"]);
    command.env("KEYPOOL_CONFIG", &path);
    command.env("KEYPOOL_LISTEN", "127.0.0.1:2").env("KEYPOOL_POOL__TARGET", "42");
    let config = checked(command).await;
    assert_eq!(config["listen"], "127.0.0.1:3");
    assert_eq!(config["pool"]["target"], 42);
    assert_eq!(config["pool"]["low_watermark"], 4);
}

#[tokio::test]
async fn an_unknown_key_is_refused_by_its_name() {
    let (_folder, path) = file("[pool]\ntargets = 40");
    let in_file = fails(keypool(&["check-config", "--config", path.to_str().unwrap()]), 1).await;
    assert!(in_file.contains("targets") && in_file.contains("keypool.toml"), "{in_file}");

    let variables = [("KEYPOOL_POOL__TARGETS", "POOL.TARGETS"), ("KEYPOOL_LISTENS", "LISTENS")];
    for (variable, key) in variables {
        let mut command = keypool(&["check-config"]);
        command.env(variable, "40");
        let error = fails(command, 1).await;
        assert!(error.contains(&format!("\"{key}\"")), "{error}");
    }
}

#[tokio::test]
async fn variables_of_clients_and_of_kubernetes_are_not_ours() {
    let mut command = keypool(&["check-config"]);
    command.env("KEYPOOL_ENDPOINT", "http://127.0.0.1:1").env("KEYPOOL_PORT", "tcp://10.0.0.1:1");
    command.env("KEYPOOL_SERVICE_HOST", "10.0.0.1").env("KEYPOOL_LOG", "warn");
    succeeds(command).await;
}

#[tokio::test]
async fn a_value_of_the_wrong_kind_is_refused_by_its_key() {
    let (_folder, path) = file("[pool]\ndefault_hold = 'a while'");
    let config = path.to_str().unwrap();
    let error = fails(keypool(&["check-config", "--config", config]), 1).await;
    assert!(error.contains("default_hold"), "{error}");
    let missing = fails(keypool(&["check-config", "--config", "/nowhere/keypool.toml"]), 1).await;
    assert!(missing.contains("/nowhere/keypool.toml"), "{missing}");
}

#[tokio::test]
async fn everything_that_is_wrong_is_said_at_once() {
    let (_folder, path) = file("listen = '0.0.0.0:1'\n[pool]\ntarget = 100\nmin_hold = '0s'");
    let error = fails(keypool(&["check-config", "--config", path.to_str().unwrap()]), 1).await;
    for rule in ["the configuration is wrong", "--insecure", "pool.target", "pool.min_hold"] {
        assert!(error.contains(rule), "no {rule} in {error}");
    }
}

#[tokio::test]
async fn the_databases_password_is_never_shown() {
    let good = format!("postgres://me:{SECRET}@127.0.0.1:1/keypool");
    let shown = succeeds(keypool(&["check-config", "--database-url", &good])).await;
    assert!(shown.contains("(set; not shown)") && !shown.contains(SECRET), "{shown}");

    let broken = format!("postgres://me:{SECRET}@[");
    for command in ["check-config", "serve", "migrate", "status", "sweep"] {
        let error = fails(keypool(&[command, "--database-url", &broken]), 1).await;
        assert!(error.contains("database_url: not a PostgreSQL URL"), "{error}");
        assert!(!error.contains(SECRET), "{error}");
    }
    for command in ["migrate", "status", "sweep"] {
        let error = fails(keypool(&[command, "--database-url", &good]), 1).await;
        assert!(error.contains("Connection refused") && !error.contains(SECRET), "{error}");
    }
    let waiting = keypool(&[&["--database-url", &good], &ANYWHERE[..]].concat());
    let (_, log) = Serving::start(waiting).await.stop(Signal::TERM).await;
    assert!(log.contains("Connection refused") && !log.contains(SECRET), "{log}");
}

#[tokio::test]
async fn the_documented_configuration_is_one_and_its_defaults_are_true() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/examples/keypool.toml");
    let defaults = checked(keypool(&["check-config"])).await;
    let documented = checked(keypool(&["check-config", "--config", example])).await;
    for section in ["pool", "validation", "limits", "lanes"] {
        assert_eq!(documented[section], defaults[section]);
        let written = std::fs::read_to_string(example).unwrap();
        for key in defaults[section].as_object().unwrap().keys() {
            // A setting without a default, which is off.
            let named = written.contains(key.as_str()) || defaults[section][key].is_null();
            assert!(named, "{section}.{key} is not in {example}");
        }
    }
    assert_eq!(documented["auth"]["certificates"].as_array().unwrap().len(), 2);
    assert_eq!(documented["auth"]["tokens"]["audience"], "keypool");
    assert_eq!(documented["tls"]["client_certificates"], "optional");
}
