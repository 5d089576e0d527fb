"""Each image can be named by its digest, so that nobody can put another behind its tag."""

import re

import yaml
from helm_python import Chart

from checks.paths import CHART, DEPLOY
from checks.render import manifests

DIGEST = "sha256:" + "a" * 64


def check() -> list[str]:
    return chart() + dockerfile() + compose()


def chart() -> list[str]:
    values = {
        "database": {"existingSecret": "db"},
        "config": {"insecure": True},
        "image": {"repository": "registry.example/keypool", "tag": "9.9.9", "digest": DIGEST},
    }
    with Chart.load(CHART) as loaded:
        rendered = [manifests(loaded, values | more) for more in ({}, {"job": {"command": ["doctor"]}})]
    found = {image for text in rendered for image in re.findall(r"^\s*(?:- )?image: \"?([^\"\s]+)", text, re.MULTILINE)}
    wanted = {f"registry.example/keypool@{DIGEST}"}
    return [] if found == wanted else [f"chart: with image.digest, the images are {sorted(found)}"]


def dockerfile() -> list[str]:
    text = (DEPLOY / "Dockerfile").read_text()
    stages = set(re.findall(r"^FROM \S+ AS (\S+)$", text, re.MULTILINE))
    arguments = set(re.findall(r"^ARG (\S+)=\S+:\S+$", text.partition("FROM")[0], re.MULTILINE))
    known = stages | {"scratch"} | {f"${{{argument}}}" for argument in arguments}
    bases = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    return [f"Dockerfile: {base} is no argument, such as RUST_IMAGE" for base in bases if base not in known]


def compose() -> list[str]:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    foreign = {name: service["image"] for name, service in services.items() if "build" not in service}
    replaceable = re.compile(r"\$\{[A-Z]+_IMAGE:-[^:}]+:(?!latest)[^:}]+\}")
    return [
        f"compose file: {name}: {image} should be ${{…_IMAGE:-name:tag}}"
        for name, image in foreign.items()
        if not replaceable.fullmatch(image)
    ]
