"""Helm reads only what is in the chart: so its files/ have the alerts and the dashboard, and deploy/ links to them."""

import json

import yaml

from checks.paths import CHART, DEPLOY

LINKS = {
    DEPLOY / "alerts" / "keypool.yaml": CHART / "files" / "alerts.yaml",
    DEPLOY / "dashboards" / "keypool.json": CHART / "files" / "dashboard.json",
}


def check() -> list[str]:
    problems = []
    for link, file in LINKS.items():
        if link.resolve() != file.resolve():
            problems.append(f"{link.relative_to(DEPLOY)} is not a link to {file.relative_to(DEPLOY)}")
    try:
        if not yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())["groups"]:
            problems.append("files/alerts.yaml has no groups")
        json.loads((CHART / "files" / "dashboard.json").read_text())
    except (ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        problems.append(f"{error!r}")
    return problems
