"""The compose file fits the Compose Specification, mounts what exists, and publishes ports on loopback only."""

import yaml
from compose_viz.spec.compose_spec import ComposeSpecification
from pydantic import ValidationError

from checks.paths import DEPLOY


def check() -> list[str]:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    try:
        ComposeSpecification.model_validate(compose)
    except ValidationError as error:
        return [f"{'.'.join(map(str, wrong['loc']))}: {wrong['msg']}" for wrong in error.errors()]
    problems = []
    for name, service in compose["services"].items():
        for port in service.get("ports", []):
            if not str(port).startswith("127.0.0.1:"):
                problems.append(f"{name}: port {port} is published on more than loopback")
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith(".") and not (DEPLOY / source).exists():
                problems.append(f"{name}: {source} does not exist")
            if not source.startswith(".") and source not in compose["volumes"]:
                problems.append(f"{name}: the volume {source} is not declared")
    return problems
