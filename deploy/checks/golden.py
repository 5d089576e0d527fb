"""The manifests are those that were last looked at, in chart/tests/golden."""

import difflib
from textwrap import indent

from checks.paths import CHART, GOLDEN


def update(rendered: dict[str, str]) -> None:
    GOLDEN.mkdir(exist_ok=True)
    for name, text in rendered.items():
        (GOLDEN / f"{name}.yaml").write_text(shortened(text))


def check(rendered: dict[str, str]) -> list[str]:
    problems = [f"{path.name}: nothing renders it" for path in GOLDEN.iterdir() if path.stem not in rendered]
    for name, text in rendered.items():
        path = GOLDEN / f"{name}.yaml"
        golden = path.read_text() if path.exists() else ""
        lines = (golden.splitlines(), shortened(text).splitlines())
        diff = list(difflib.unified_diff(*lines, "golden", "rendered", lineterm="", n=1))
        if diff:
            problems.append(f"{path.name} is not what is rendered; if it should be, run deploy/check --update")
            problems += diff[2:30]
    return problems


def shortened(text: str) -> str:
    """Without alerts and dashboard, which are files of their own that anybody can look at."""
    for file, depth, instead in (
        ("alerts.yaml", 2, "groups: [] # of files/alerts.yaml"),
        ("dashboard.json", 4, "(files/dashboard.json)"),
    ):
        lines = [line.rstrip() for line in (CHART / "files" / file).read_text().splitlines()]
        text = text.replace(indent("\n".join(lines).rstrip(), " " * depth), " " * depth + instead)
    return text
