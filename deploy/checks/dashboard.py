"""Makes the Grafana dashboard: a panel is a title, what is normal, a unit, and queries with their legends."""

import json

from checks.paths import CHART

FILE = CHART / "files" / "dashboard.json"

WIDTH, HEIGHT = 8, 7
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
# What is chosen at the top of the dashboard, as every selector has it.
CHOSEN = 'namespace=~"$namespace", job="$job", instance=~"$instance"'


def rate(metric, by="", matchers=""):
    return f"sum by ({by}) (rate({metric}{{{select(matchers)}}}[$__rate_interval]))"


def quantile(share, metric, by=""):
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({share}, {rate(metric + '_bucket', labels)})"


def gauge(metric, by="", matchers=""):
    return f"sum by ({by}) ({metric}{{{select(matchers)}}})"


def counted(metric, by, matchers=""):
    """Every replica counts the same: the highest is taken."""
    return f"sum by ({by}) (max by (cipher_suite, {by}) ({metric}{{{select(matchers)}}}))"


def select(matchers):
    return f"{CHOSEN}, {matchers}" if matchers else CHOSEN


FAULTS = 'code=~"UNAVAILABLE|INTERNAL|DEADLINE_EXCEEDED|UNKNOWN|DATA_LOSS"'
FAST = 'method=~"ReserveKeyPackages|SpendReservation"'
CALLS, DURATION = "keypool_grpc_calls_total", "keypool_grpc_call_duration_seconds"
LAST_RESORT = 'kind="last_resort"'
RANGE = "$__range"

ROWS = {
    "Objectives": [
        ("stat", "Calls that the service did not fail", "99.9 % are agreed on. Over the time shown.", "percentunit",
         {"": f"1 - (sum(increase({CALLS}{{{select(FAULTS)}}}[{RANGE}])) or vector(0)) / sum(increase({CALLS}{{{CHOSEN}}}[{RANGE}]))"}),
        ("stat", "Reserves and spends within 100 ms", "99 % are agreed on. Over the time shown.", "percentunit",
         {"": f"sum(increase({DURATION}_bucket{{{select(FAST)}, le=\"0.1\"}}[{RANGE}])) / sum(increase({DURATION}_count{{{select(FAST)}}}[{RANGE}]))"}),
        ("stat", "Ready replicas", "All of them.", "none", {"": gauge("keypool_ready")}),
    ],
    "Calls": [
        ("lines", "Calls", "What your users do. Each method is a line.", "reqps", {"{{method}}": rate(CALLS, "method")}),
        ("lines", "Calls that were not OK", "NOT_FOUND, FAILED_PRECONDITION and RESOURCE_EXHAUSTED are answers; the others are worth a look.", "reqps",
         {"{{method}} {{code}}": rate(CALLS, "method, code", 'code!="OK"')}),
        ("lines", "Duration, 99th percentile", "A few milliseconds for reserves and spends, tens for uploads of many packages.", "s",
         {"{{method}}": quantile(0.99, DURATION, "method")}),
        ("lines", "Calls under way", "Rate times duration. It grows when something waits.", "none",
         {"{{instance}}": gauge("keypool_grpc_calls_in_flight", "instance")}),
        ("lines", "Packages handed out", "Last resorts are the exception.", "cps", {"{{kind}}": rate("keypool_handed_out_packages_total", "kind")}),
        ("lines", "Targets without a package", "UNKNOWN_USER and POOL_EXHAUSTED now and then.", "cps", {"{{reason}}": rate("keypool_missing_targets_total", "reason")}),
        ("lines", "Holds", "What is spent was reserved; RESERVATION_LOST and KEY_PACKAGE_ALREADY_SPENT stay below 1 %.", "cps",
         {"{{operation}} {{outcome}}": rate("keypool_holds_total", "operation, outcome")}),
        ("lines", "Uploaded and revoked packages", "As many accepted as are handed out; rejections mean a client to mend.", "cps",
         {"{{result}}": rate("keypool_uploaded_packages_total", "result"), "revoked by {{by}}": rate("keypool_revoked_packages_total", "by")}),
    ],
    "Pools": [
        ("stack", "Pools by health", "Nearly all healthy. Counted some at a time: minutes old in large databases.", "none",
         {"{{health}}": counted("keypool_pools", "health")}),
        ("stack", "One-time packages by state", "Mostly available. Quarantined only while a fence is up.", "none",
         {"{{state}}": counted("keypool_pool_packages", "state")}),
        ("lines", "Pools without a last resort", "None: without it, an empty pool's device can't be invited.", "none",
         {"": f"sum(max by (cipher_suite) (keypool_pools_without_last_resort{{{CHOSEN}}}))"}),
        ("lines", "Share of last resorts handed out", "Low. It rises when pools run dry, are drained, or a fence is up.", "percentunit",
         {"": f'sum(rate(keypool_handed_out_packages_total{{{select(LAST_RESORT)}}}[$__rate_interval])) / sum(rate(keypool_handed_out_packages_total{{{CHOSEN}}}[$__rate_interval]))'}),
        ("lines", "Age of the count", "Below a minute in a small database, below an hour in a large one.", "s",
         {"": f"time() - max(keypool_pools_counted_timestamp_seconds{{{CHOSEN}}})"}),
    ],
    "Lanes": [
        ("lines", "Packages that wait", "Next to none. It grows when the database can't keep up.", "none",
         {"{{lane}} {{instance}}": gauge("keypool_lane_waiting_packages", "lane, instance")}),
        ("lines", "Wait for a batch, 99th percentile", "About as long as a batch takes.", "s", {"{{lane}}": quantile(0.99, "keypool_lane_wait_seconds", "lane")}),
        ("lines", "Duration of a batch, 99th percentile", "A few milliseconds: statements and a commit.", "s",
         {"{{lane}}": quantile(0.99, "keypool_lane_batch_duration_seconds", "lane")}),
        ("lines", "Packages of a batch, mean", "1 at rest, more under load: then a commit is shared by many.", "none",
         {"{{lane}}": f"{rate('keypool_lane_batch_packages_sum', 'lane')} / {rate('keypool_lane_batch_packages_count', 'lane')}"}),
        ("lines", "Calls refused as OVERLOADED", "None.", "reqps", {"{{lane}}": rate("keypool_lane_refused_total", "lane")}),
        ("lines", "Batches run again", "Few: when a connection is lost, or two replicas want the same rows.", "cps",
         {"{{lane}} {{cause}}": rate("keypool_lane_retries_total", "lane, cause")}),
    ],
    "Database": [
        ("lines", "Duration of statements, 99th percentile", "Milliseconds. Survey takes longer, and is in nobody's way.", "s",
         {"{{statement}}": quantile(0.99, "keypool_statement_duration_seconds", "statement")}),
        ("lines", "Statements", "By the name in the comment that each begins with.", "ops", {"{{statement}}": rate("keypool_statement_duration_seconds_count", "statement")}),
        ("lines", "Failed statements", "None.", "cps", {"{{statement}} {{cause}}": rate("keypool_statement_failures_total", "statement, cause")}),
        ("lines", "Database available", "1 at every replica.", "none", {"{{instance}}": gauge("keypool_database_available", "instance")}),
        ("lines", "Shared connections, and calls that wait for one", "Nobody waits.", "none",
         {"{{state}}": gauge("keypool_database_connections", "state"), "waiting": gauge("keypool_database_waiting")}),
        ("lines", "Clock skew", "Milliseconds. At 2 s a replica is not ready.", "s", {"{{instance}}": gauge("keypool_clock_skew_seconds", "instance")}),
    ],
    "Limits and security": [
        ("lines", "Limits that were hit", "device and holder_and_device protect pools from being drained.", "cps", {"{{limit}}": rate("keypool_limited_total", "limit")}),
        ("lines", "Security events", "Few. foreign_reservation_refused: none.", "cps", {
            "{{event}}": rate("keypool_security_events_total", "event"),
            "{{event}}, not in the log": rate("keypool_security_events_not_logged_total", "event")}),
        ("lines", "Callers who prove who they are", "ok, and some expired tokens.", "reqps", {"{{kind}} {{result}}": rate("keypool_authentications_total", "kind, result")}),
        ("lines", "Reads of the issuer's keys", "ok every few minutes.", "cps", {"{{result}}": rate("keypool_jwks_refreshes_total", "result")}),
    ],
    "In the background": [
        ("lines", "Purged rows", "As many as expired.", "cps", {"{{table}}": rate("keypool_swept_rows_total", "table")}),
        ("lines", "Runs of the sweeper", "ok once a minute, by every replica.", "cps", {"{{result}}": rate("keypool_sweeps_total", "result")}),
        ("lines", "Duration of a run, 99th percentile", "Below a second.", "s", {"": quantile(0.99, "keypool_sweep_duration_seconds")}),
        ("lines", "Watches, and statuses sent", "A stream for each connected device.", "none",
         {"streams": gauge("keypool_watch_streams"), "statuses a second": rate("keypool_watch_statuses_total")}),
        ("lines", "Connections of callers", "Spread evenly.", "none", {"{{instance}}": gauge("keypool_connections", "instance")}),
        ("lines", "Connections that began", "handshake_failed and over_limit: few.", "cps", {"{{result}}": rate("keypool_connections_total", "result")}),
        ("lines", "Time until the certificate ends", "Weeks.", "s", {"{{instance}}": f"min by (instance) (keypool_tls_certificate_expiry_timestamp_seconds{{{CHOSEN}}}) - time()"}),
        ("lines", "Certificates read", "ok at each renewal.", "cps", {"{{result}}": rate("keypool_tls_reloads_total", "result")}),
        ("lines", "Certificate files that can't be used", "0. Otherwise the certificate of before is still in use, until it ends.", "none",
         {"{{instance}}": gauge("keypool_tls_files_unread", "instance")}),
        ("lines", "Fence", "0. Otherwise packages of before are quarantined.", "none", {"": f"max(keypool_fence{{{CHOSEN}}})"}),
        ("lines", "Versions", "One, but for rollouts.", "none", {"{{version}}": gauge("keypool_build_info", "version")}),
    ],
}


def panel(number, kind, title, normal, unit, queries, x, y):
    defaults = {"unit": unit, "min": 0} if unit != "percentunit" else {"unit": unit, "min": 0, "max": 1, "decimals": 3}
    if title == "Clock skew":
        del defaults["min"]
    if kind != "stat":
        stacking = {"mode": "normal" if kind == "stack" else "none"}
        defaults["custom"] = {"fillOpacity": 40 if kind == "stack" else 10, "stacking": stacking, "showPoints": "never"}
    targets = [
        {"refId": chr(65 + nth), "datasource": DATASOURCE, "expr": query, "legendFormat": legend or title, "instant": kind == "stat"}
        for nth, (legend, query) in enumerate(queries.items())
    ]
    return {
        "id": number,
        "type": "stat" if kind == "stat" else "timeseries",
        "title": title,
        "description": normal,
        "datasource": DATASOURCE,
        "gridPos": {"x": x, "y": y, "w": WIDTH, "h": HEIGHT if kind != "stat" else 4},
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": {} if kind == "stat" else {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}},
        "targets": targets,
    }


def variable(name, query, several, all_value=None):
    everything = {"allValue": all_value} if all_value else {}
    return {
        "name": name,
        "type": "query",
        "datasource": DATASOURCE,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "multi": several,
        "includeAll": several,
        "current": {"text": "All", "value": "$__all"} if several else {},
        **everything,
    }


def dashboard():
    panels, y, number = [], 0, 1
    for title, row in ROWS.items():
        panels.append({"id": number, "type": "row", "title": title, "collapsed": False, "gridPos": {"x": 0, "y": y, "w": 24, "h": 1}, "panels": []})
        number, y = number + 1, y + 1
        for nth, (kind, *rest) in enumerate(row):
            panels.append(panel(number, kind, *rest, x=nth % 3 * WIDTH, y=y + nth // 3 * HEIGHT))
            number += 1
        y += -(-len(row) // 3) * HEIGHT
    return {
        "uid": "keypool",
        "title": "keypool",
        "tags": ["keypool"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {
            "list": [
                {"name": "datasource", "type": "datasource", "query": "prometheus", "current": {}},
                # Where there is no such label, .* is what it isn't.
                variable("namespace", "label_values(keypool_build_info, namespace)", several=True, all_value=".*"),
                variable("job", 'label_values(keypool_build_info{namespace=~"$namespace"}, job)', several=False),
                variable("instance", f"label_values(keypool_build_info{{{CHOSEN.rpartition(',')[0]}}}, instance)", several=True),
            ]
        },
        "panels": panels,
    }


def text():
    return json.dumps(dashboard(), indent=1, ensure_ascii=False) + "\n"


def update():
    FILE.write_text(text())


def check():
    return [] if FILE.read_text() == text() else [f"{FILE.name} is not what checks/dashboard.py makes: `deploy/check --update` writes it"]
