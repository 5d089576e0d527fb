"""Every manifest fits the schema of its kind, strictly: a field that the kind hasn't got is an error."""

import json

import jsonschema
import kubernetes_validate
from cloudcoil.models.cert_manager import v1 as cert_manager
from cloudcoil.models.prometheus_operator import v1 as prometheus_operator
from jsonschema.exceptions import best_match

from checks.documents import documents, name_of
from checks.paths import MANIFESTS

# The oldest that Chart.yaml allows, and the newest with a schema here.
VERSIONS = ["1.30", "1.37"]

CUSTOM = {
    ("cert-manager.io/v1", "Certificate"): cert_manager.Certificate,
    ("monitoring.coreos.com/v1", "PodMonitor"): prometheus_operator.PodMonitor,
    ("monitoring.coreos.com/v1", "PrometheusRule"): prometheus_operator.PrometheusRule,
    ("monitoring.coreos.com/v1", "ServiceMonitor"): prometheus_operator.ServiceMonitor,
}

# No package has the schemas of these kinds: CloudNativePG's own check is the first that they meet.
UNCHECKED = {
    ("barmancloud.cnpg.io/v1", "ObjectStore"),
    ("postgresql.cnpg.io/v1", "Cluster"),
    ("postgresql.cnpg.io/v1", "Pooler"),
    ("postgresql.cnpg.io/v1", "ScheduledBackup"),
}


def check(rendered: dict[str, str]) -> list[str]:
    problems = []
    unchecked = set()
    streams = rendered | {path.name: path.read_text() for path in MANIFESTS}
    for stream, text in streams.items():
        for document in documents(text):
            kind = (document["apiVersion"], document["kind"])
            if kind in UNCHECKED:
                unchecked.add(document["kind"])
                continue
            found = custom(CUSTOM[kind], document) if kind in CUSTOM else builtin(document)
            problems += [f"{stream}: {name_of(document)}: {problem}" for problem in found]
    print(f"       no schema at hand for: {', '.join(sorted(unchecked))}")
    return problems


def builtin(document: dict) -> list[str]:
    problems = []
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            problems.append(f"Kubernetes {version}: {dotted(error.absolute_path)}: {error.message}")
        except kubernetes_validate.SchemaNotFoundError as error:
            problems.append(error.message)
    return problems


def custom(model: type, document: dict) -> list[str]:
    schema = strict(model.model_json_schema(by_alias=True))
    # As JSON has it: YAML knows types that no schema does, such as dates.
    document = json.loads(json.dumps(document))
    error = best_match(jsonschema.Draft202012Validator(schema).iter_errors(document))
    return [f"{dotted(error.absolute_path)}: {error.message}"] if error else []


def strict(schema: object) -> object:
    """The schema, with no field allowed that it doesn't name."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    stricter = {key: strict(part) for key, part in schema.items()}
    if "properties" in schema and schema.get("type") == "object":
        stricter.setdefault("additionalProperties", False)
    return stricter


def dotted(path: object) -> str:
    return ".".join(str(part) for part in path)
