//! The manifests that the Helm chart makes, as they are kept beside it.

use serde::Deserialize;
use serde_json::Value;
use serde_yaml_ng::{Deserializer, Value as Yaml};
use std::path::PathBuf;

/// The manifests of one example.
pub struct Manifests(Vec<Value>);

/// A container, as its pod describes it.
pub struct Container(Value);

impl Manifests {
    /// Of an example, by its name.
    pub fn of(example: &str) -> Self {
        let file = format!("{example}.yaml");
        Self::read(&golden().join(file))
    }

    /// Of every example.
    pub fn all() -> Vec<(String, Self)> {
        let mut files: Vec<_> =
            std::fs::read_dir(golden()).unwrap().map(|file| file.unwrap().path()).collect();
        files.sort();
        let named = |file: PathBuf| {
            (file.file_stem().unwrap().to_string_lossy().into_owned(), Self::read(&file))
        };
        files.into_iter().map(named).collect()
    }

    fn read(file: &std::path::Path) -> Self {
        let text = std::fs::read_to_string(file).unwrap();
        let documents = Deserializer::from_str(&text).map(|document| {
            let yaml = Yaml::deserialize(document).unwrap();
            serde_json::to_value(yaml).unwrap()
        });
        Self(documents.filter(|document| !document.is_null()).collect())
    }

    /// The configuration in each ConfigMap that has one.
    pub fn configurations(&self) -> Vec<&str> {
        let tomls = self.0.iter().filter_map(|document| document.pointer("/data/keypool.toml"));
        tomls.map(|toml| toml.as_str().unwrap()).collect()
    }

    /// The only container of the only object of a kind.
    pub fn container(&self, kind: &str) -> Container {
        let mut found = self.0.iter().filter(|document| document["kind"] == kind);
        let pod = found.next().unwrap().pointer("/spec/template/spec").unwrap();
        assert!(found.next().is_none(), "one {kind}");
        let containers = pod["containers"].as_array().unwrap();
        assert_eq!(containers.len(), 1);
        Container(containers[0].clone())
    }
}

impl Container {
    /// What its program is called with.
    pub fn arguments(&self) -> Vec<&str> {
        let arguments = self.0["args"].as_array().unwrap();
        arguments.iter().map(|argument| argument.as_str().unwrap()).collect()
    }

    /// Its variables. Those from Secrets have the value that is given for the Secret's name.
    pub fn environment(&self, secret: impl Fn(&str) -> String) -> Vec<(String, String)> {
        let variables = self.0["env"].as_array().unwrap().iter().map(|variable| {
            let value = match variable.pointer("/valueFrom/secretKeyRef/name") {
                Some(name) => secret(name.as_str().unwrap()),
                None => variable["value"].as_str().unwrap().to_owned(),
            };
            (variable["name"].as_str().unwrap().to_owned(), value)
        });
        variables.collect()
    }

    /// The path of a probe, which must ask the admin port by HTTP.
    pub fn probe(&self, name: &str) -> &str {
        let get = &self.0[name]["httpGet"];
        assert_eq!(get["port"], "admin", "{name}");
        get["path"].as_str().unwrap()
    }

    /// The number of a port.
    pub fn port(&self, name: &str) -> u64 {
        let ports = self.0["ports"].as_array().unwrap();
        let port = ports.iter().find(|port| port["name"] == name).unwrap();
        port["containerPort"].as_u64().unwrap()
    }
}

fn golden() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/chart/tests/golden"))
}
