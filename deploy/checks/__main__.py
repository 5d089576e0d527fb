"""Runs all checks, says what each found, and fails if any found something."""

import sys
import time

from helm_python import HelmError

from checks import alerts, cloudnative_pg, compose, copies, dashboard, dockerfile, golden, images, live, pod_security, policies, render, rule_labels, schemas, values, versions


def main() -> int:
    if "--update" in sys.argv[1:]:
        dashboard.update()
    try:
        rendered = render.examples()
    except HelmError as error:
        print(f"FAILED helm template\n{error}")
        return 1
    if "--update" in sys.argv[1:]:
        golden.update(rendered)
    steps = [
        ("helm lint", render.lint),
        ("values.schema.json refuses what is wrong", values.check),
        ("golden files", lambda: golden.check(rendered)),
        ("autoscaling keeps the replicas that there are", live.check),
        ("Kubernetes schemas", lambda: schemas.check(rendered)),
        ("the database of CloudNativePG", cloudnative_pg.check),
        ('Pod Security "restricted"', lambda: pod_security.check(rendered)),
        ("policies (checkov)", policies.check),
        ("Dockerfile (hadolint)", dockerfile.check),
        ("compose file", compose.check),
        ("images by digest", images.check),
        ("one version everywhere", versions.check),
        ("alerts and dashboards are the chart's", copies.check),
        ("labels of alerts", rule_labels.check),
        ("alerts (promtool)", alerts.check),
        ("the dashboard is what it is made of", dashboard.check),
    ]
    failed = 0
    for name, step in steps:
        start = time.monotonic()
        problems = step()
        took = time.monotonic() - start
        print(f"{'FAILED' if problems else 'ok':7}{name} ({took:.1f} s)")
        for problem in problems:
            print(f"       {problem}")
        failed += bool(problems)
    print(f"{len(steps) - failed} passed, {failed} failed")
    return 1 if failed else 0


sys.exit(main())
