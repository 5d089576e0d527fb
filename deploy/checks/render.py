"""Renders the chart with Helm, as `helm template keypool deploy/chart/keypool -n keypool -f VALUES` does."""

from helm_python import Chart, lint as helm_lint

import yaml

from checks.paths import CHART, VALUES


def examples() -> dict[str, str]:
    """The manifests that each file of values makes, by its name."""
    with Chart.load(CHART) as chart:
        return {name: manifests(chart, yaml.safe_load(path.read_text())) for name, path in VALUES.items()}


def manifests(chart: Chart, values: dict) -> str:
    """What Helm sends to the cluster, one YAML document after the other."""
    rendered = chart.render(values, name="keypool", namespace="keypool")
    documents = []
    for path, text in sorted(rendered.items()):
        if path.endswith(".yaml") and text.strip():
            # Only lines of blocks of text end with blanks, where they mean nothing.
            lines = "\n".join(line.rstrip() for line in text.strip().splitlines())
            documents.append(f"---\n# Source: {path}\n{lines.removeprefix('---').lstrip()}\n")
    return "".join(documents)


def lint() -> list[str]:
    problems = []
    for name, path in VALUES.items():
        report = helm_lint(CHART, yaml.safe_load(path.read_text()), strict=True)
        problems += [f"{name}: {message['error']}" for message in report["messages"] if message["severity"] >= 2]
        problems += [f"{name}: {error}" for error in report["errors"]]
    return problems
