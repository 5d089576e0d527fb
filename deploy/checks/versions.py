"""Chart and image name the version that Cargo.toml has."""

import re
import tomllib

import yaml

from checks.paths import CHART, DEPLOY


def check() -> list[str]:
    cargo = tomllib.loads((DEPLOY.parent / "Cargo.toml").read_text())["workspace"]["package"]["version"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    image = re.search(r"^ARG VERSION=(\S+)$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    found = {"Chart.yaml": chart["appVersion"], "Dockerfile": image and image.group(1)}
    return [f"{file} has version {version}, Cargo.toml {cargo}" for file, version in found.items() if version != cargo]
