"""The alerts by promtool: that they are well-formed, and fire for what their unit tests say."""

import shutil
import subprocess

import yaml

from checks.paths import DEPLOY, ROOT

ALERTS = DEPLOY / "alerts"
RUNBOOKS = "https://github.com/keypool/keypool/blob/main/"


def check() -> list[str]:
    promtool = shutil.which("promtool", path=ROOT / ".tools" / "bin") or shutil.which("promtool")
    if promtool is None:
        return ["promtool is missing: .ci/run puts one into .tools/bin; or https://prometheus.io/download"]
    tests = sorted(ALERTS.glob("*.test.yaml"))
    problems = []
    for arguments in (["check", "rules", "keypool.yaml"], ["test", "rules", *(test.name for test in tests)]):
        run = subprocess.run([promtool, *arguments], cwd=ALERTS, capture_output=True, text=True, check=False)
        if run.returncode:
            problems += (run.stdout + run.stderr).splitlines()
    groups = yaml.safe_load((ALERTS / "keypool.yaml").read_text())["groups"]
    alerts = [rule for group in groups for rule in group["rules"] if "alert" in rule]
    tested = "".join(test.read_text() for test in tests)
    for alert in alerts:
        name, severity = alert["alert"], alert["labels"]["severity"]
        fires = [line for line in tested.splitlines() if f'alertname="{name}", alertstate="firing"' in line]
        if not any(f'severity="{severity}"' in line for line in fires):
            problems.append(f"no unit test sees {name} ({severity}) fire")
        book = alert["annotations"]["runbook_url"]
        if not book.startswith(RUNBOOKS) or not (ROOT / book.removeprefix(RUNBOOKS)).is_file():
            problems.append(f"{name} has no runbook: {book}")
    return problems
