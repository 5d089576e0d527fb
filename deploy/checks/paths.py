"""Where things are."""

from pathlib import Path

DEPLOY = Path(__file__).parent.parent
ROOT = DEPLOY.parent
CHART = DEPLOY / "chart" / "keypool"
EXAMPLES = CHART / "examples"
GOLDEN = DEPLOY / "chart" / "tests" / "golden"

# The values that the chart is rendered with, by the name of their golden file.
VALUES = {
    "small": EXAMPLES / "small.yaml",
    "production": EXAMPLES / "production.yaml",
    "cloudnative-pg": EXAMPLES / "cloudnative-pg" / "values.yaml",
    "everything": DEPLOY / "chart" / "tests" / "everything.yaml",
    "mesh": DEPLOY / "chart" / "tests" / "mesh.yaml",
}

# Manifests beside the chart, which nothing renders.
MANIFESTS = [EXAMPLES / "cloudnative-pg" / "database.yaml"]
