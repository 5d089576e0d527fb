# /// script
# dependencies = ["matplotlib"]
# ///
"""Draws panels of the dashboard from a Prometheus, where there is no Grafana.

    python3 deploy/dashboards/plot.py http://127.0.0.1:9090 30 docs/dashboard.svg

asks for the last 30 minutes.
"""

import json
import re
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
from matplotlib.ticker import EngFormatter, PercentFormatter

SHOWN = [
    "Calls",
    "Calls that were not OK",
    "Duration, 99th percentile",
    "Packages handed out",
    "Pools by health",
    "Packages of a batch, mean",
    "Wait for a batch, 99th percentile",
    "Duration of statements, 99th percentile",
    "Database available",
]
# Of a panel's lines those that go highest, so that they can be told apart on paper.
MOST = 6
FORMATS = {"s": EngFormatter("s"), "percentunit": PercentFormatter(1)}
CHOSEN = {"$namespace": ".*", "$job": "keypool", "$instance": ".*", "$__rate_interval": "1m"}


def ask(prometheus, query, start, end):
    for name, value in CHOSEN.items():
        query = query.replace(name, value)
    step = max(1, (end - start) // 60)
    question = urllib.parse.urlencode({"query": query, "start": start, "end": end, "step": step})
    with urllib.request.urlopen(f"{prometheus}/api/v1/query_range?{question}") as answer:
        return json.load(answer)["data"]["result"]


def legend(template, labels):
    return re.sub(r"{{(\w+)}}", lambda name: labels.get(name[1], ""), template)


def draw(axes, panel, prometheus, start, end):
    lines = []
    for target in panel["targets"]:
        for series in ask(prometheus, target["expr"], start, end):
            minutes = [round((when - end) / 60, 2) for when, _ in series["values"]]
            values = [float(value) for _, value in series["values"]]
            highest = max((value for value in values if value == value), default=0)
            lines.append((highest, legend(target["legendFormat"], series["metric"]), minutes, values))
    for _, label, minutes, values in sorted(lines, reverse=True)[:MOST]:
        axes.plot(minutes, values, linewidth=0.9, label=label)
    axes.set_title(panel["title"], fontsize=9, loc="left")
    axes.set_ylim(0, axes.get_ylim()[1] * 1.3)

    axes.set_xlim(-(end - start) / 60, 0)
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.2)
    axes.yaxis.set_major_formatter(FORMATS.get(panel["fieldConfig"]["defaults"]["unit"], EngFormatter()))
    if axes.lines:
        long = max(len(line.get_label()) for line in axes.lines) > 20
        axes.legend(fontsize=6, frameon=False, ncol=1 if long else 2, loc="upper left")


def main():
    prometheus, minutes, file = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    end = int(time.time())
    dashboard = json.loads((Path(__file__).parent / "keypool.json").read_text())
    panels = {panel["title"]: panel for panel in dashboard["panels"]}
    plt.rcParams["svg.fonttype"] = "none"
    figure, grid = plt.subplots(3, 3, figsize=(13, 8.5), layout="constrained")
    for axes, title in zip(grid.flat, SHOWN, strict=True):
        draw(axes, panels[title], prometheus, end - 60 * minutes, end)
    figure.supxlabel("minutes", fontsize=8)
    figure.savefig(file)


main()
