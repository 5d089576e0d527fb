//! Alerts and dashboard speak of metrics that the service has.

#![allow(clippy::unwrap_used)]

use keypool_service::telemetry::{Description, catalogue};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// What Prometheus adds to every sample.
const ADDED: [&str; 3] = ["job", "instance", "namespace"];

/// A time series of a query, with the labels that it is selected by.
#[derive(Debug, PartialEq, Eq)]
struct Selector {
    name: String,
    labels: Vec<String>,
}

/// What a query selects, and what it groups by.
#[derive(Debug, Default, PartialEq, Eq)]
struct Query {
    selectors: Vec<Selector>,
    groups: BTreeSet<String>,
}

/// Reads of PromQL what names something.
fn read(expr: &str) -> Query {
    let mut query = Query::default();
    let mut words = Words(expr);
    while let Some(word) = words.next_word() {
        if ["by", "on", "without", "ignoring", "group_left"].contains(&word) {
            query.groups.extend(words.list('(', ')'));
        } else if word.starts_with("keypool") {
            query.selectors.push(Selector { name: word.to_owned(), labels: words.list('{', '}') });
        }
    }
    query
}

/// What is left to read.
struct Words<'a>(&'a str);

impl<'a> Words<'a> {
    /// The next name, outside of strings.
    fn next_word(&mut self) -> Option<&'a str> {
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        loop {
            let start = self.0.find(|c: char| is_part(c) || c == '"')?;
            self.0 = &self.0[start..];
            if let Some(string) = self.0.strip_prefix('"') {
                self.0 = &string[string.find('"')? + 1..];
                continue;
            }
            let end = self.0.find(|c: char| !is_part(c)).unwrap_or(self.0.len());
            let (word, rest) = self.0.split_at(end);
            self.0 = rest;
            return Some(word);
        }
    }

    /// The names in brackets, if brackets follow.
    fn list(&mut self, open: char, close: char) -> Vec<String> {
        let mut names = Vec::new();
        let Some(inside) = self.0.trim_start().strip_prefix(open) else { return names };
        let mut quoted = false;
        let end = inside.find(|c| {
            quoted ^= c == '"';
            c == close && !quoted
        });
        let (inside, rest) = inside.split_at(end.unwrap());
        let mut words = Words(inside);
        names.extend(std::iter::from_fn(|| words.next_word().map(str::to_owned)));
        self.0 = rest;
        names
    }
}

/// The metric that a time series is of, if it is one of the service's.
fn metric(series: &str) -> Option<&'static Description> {
    catalogue::ALL.iter().find(|metric| match metric.kind {
        "histogram" => ["_bucket", "_sum", "_count"]
            .iter()
            .any(|suffix| series.strip_suffix(suffix) == Some(metric.name)),
        _ => series == metric.name,
    })
}

/// What is wrong with a query, when these are recorded by rules.
fn faults(expr: &str, recorded: &BTreeSet<String>) -> Vec<String> {
    let query = read(expr);
    let mut faults = Vec::new();
    let mut known: BTreeSet<&str> = ADDED.into();
    for Selector { name, labels } in &query.selectors {
        let Some(metric) = metric(name) else {
            if !recorded.contains(name) {
                faults.push(format!("{name} is no metric"));
            }
            continue;
        };
        let le = name.ends_with("_bucket").then_some("le");
        let has: BTreeSet<&str> = metric.labels.iter().copied().chain(ADDED).chain(le).collect();
        let strange = labels.iter().filter(|label| !has.contains(label.as_str()));
        faults.extend(strange.map(|label| format!("{name} has no label {label}")));
        known.extend(has);
    }
    let strange = query.groups.iter().filter(|label| !known.contains(label.as_str()));
    faults.extend(strange.map(|label| format!("no metric of {expr} has the label {label}")));
    faults
}

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}

fn rules() -> Vec<serde_yaml_ng::Value> {
    let text = fs::read_to_string(deploy().join("alerts/keypool.yaml")).unwrap();
    let rules: serde_yaml_ng::Value = serde_yaml_ng::from_str(&text).unwrap();
    let groups = rules["groups"].as_sequence().unwrap();
    groups.iter().flat_map(|group| group["rules"].as_sequence().unwrap()).cloned().collect()
}

/// The queries of the rules by their names.
fn queries() -> BTreeMap<String, String> {
    let name = |rule: &serde_yaml_ng::Value| {
        let name = rule.get("record").or_else(|| rule.get("alert")).unwrap();
        // An alert may be there twice, as a page and as a ticket.
        let severity = rule.get("labels").map_or("", |labels| labels["severity"].as_str().unwrap());
        format!("{} {severity}", name.as_str().unwrap()).trim_end().to_owned()
    };
    let query = |rule: &serde_yaml_ng::Value| rule["expr"].as_str().unwrap().to_owned();
    rules().iter().map(|rule| (name(rule), query(rule))).collect()
}

fn dashboard() -> serde_json::Value {
    let text = fs::read_to_string(deploy().join("dashboards/keypool.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// The queries of the dashboard, with their legends.
fn panels() -> Vec<(String, String)> {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    targets.map(|target| (text(&target["expr"]), text(&target["legendFormat"]))).collect()
}

/// The names between `{{` and `}}` of a legend.
fn named(legend: &str) -> impl Iterator<Item = &str> {
    legend.split("{{").skip(1).map(|rest| rest.split("}}").next().unwrap().trim())
}

#[test]
fn alerts_ask_for_metrics_and_labels_that_there_are() {
    let queries = queries();
    let recorded: BTreeSet<String> = queries.keys().cloned().collect();
    let faults: Vec<String> = queries.values().flat_map(|expr| faults(expr, &recorded)).collect();
    assert!(faults.is_empty(), "{faults:#?}");
    assert!(queries.len() > 20, "{}", queries.len());
}

#[test]
fn alerts_say_what_their_queries_leave_them() {
    for rule in rules().iter().filter(|rule| rule.get("alert").is_some()) {
        let groups = read(rule["expr"].as_str().unwrap()).groups;
        for text in ["summary", "description"].map(|part| &rule["annotations"][part]) {
            for label in text.as_str().unwrap().split("$labels.").skip(1) {
                let label = Words(label).next_word().unwrap();
                assert!(groups.contains(label), "{text:?}: nothing leaves {label}");
            }
        }
    }
}

#[test]
fn the_dashboard_shows_every_metric() {
    let panels = panels();
    let faults: Vec<String> =
        panels.iter().flat_map(|(expr, _)| faults(expr, &BTreeSet::new())).collect();
    assert!(faults.is_empty(), "{faults:#?}");
    for (expr, legend) in &panels {
        let groups = read(expr).groups;
        let strange: Vec<&str> = named(legend).filter(|label| !groups.contains(*label)).collect();
        assert!(strange.is_empty(), "{expr} leaves no {strange:?} for its legend");
    }

    let shown: BTreeSet<&str> = panels
        .iter()
        .flat_map(|(expr, _)| read(expr).selectors)
        .map(|selector| metric(&selector.name).unwrap().name)
        .collect();
    let all: BTreeSet<&str> = catalogue::ALL.iter().map(|metric| metric.name).collect();
    assert_eq!(shown, all);
}

#[test]
fn what_is_chosen_at_the_top_is_of_metrics_that_there_are() {
    let dashboard = dashboard();
    let variables = dashboard["templating"]["list"].as_array().unwrap().iter();
    let queries: Vec<&str> = variables.filter_map(|it| it["query"]["query"].as_str()).collect();
    let faults: Vec<String> =
        queries.iter().flat_map(|query| faults(query, &BTreeSet::new())).collect();
    assert!(faults.is_empty(), "{faults:#?}");
    assert!(!queries.is_empty());
}

#[test]
fn wrong_names_are_found() {
    let none = BTreeSet::new();
    for (expr, fault) in [
        ("sum(keypool_redy)", "keypool_redy is no metric"),
        (r#"keypool_ready{color="a}b", job="x"}"#, "keypool_ready has no label color"),
        ("keypool_grpc_call_duration_seconds", "keypool_grpc_call_duration_seconds is no metric"),
        (r#"keypool_pools{le="1"}"#, "keypool_pools has no label le"),
    ] {
        assert_eq!(faults(expr, &none), [fault]);
    }
    assert_eq!(faults("sum by (job, lane) (keypool_ready)", &none).len(), 1);
    let right = r#"sum by (le, job) (rate(keypool_lane_wait_seconds_bucket{lane="upload", le!="by (x)"}[5m]))"#;
    assert_eq!(faults(right, &none), [""; 0]);
}
