"""monitoring.ruleLabels are on every alert, beside the labels that it has, and change nothing else of the rules."""

import yaml
from helm_python import Chart

from checks.documents import documents
from checks.paths import CHART

LABELS = {"team": "messaging", "severity": "none"}


def check() -> list[str]:
    values = {"database": {"existingSecret": "db"}, "monitoring": {"rules": True, "ruleLabels": LABELS}}
    with Chart.load(CHART) as chart:
        rendered = chart.render(values, name="keypool", namespace="keypool")
    (monitoring,) = documents(rendered["keypool/templates/monitoring.yaml"])
    wanted = yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())
    for group in wanted["groups"]:
        for rule in group["rules"]:
            if "alert" in rule:
                rule["labels"] = LABELS | rule["labels"]
    return [] if monitoring["spec"] == wanted else ["the rules are others than those of files/alerts.yaml with these labels"]
