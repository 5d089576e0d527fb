"""The example on CloudNativePG hangs together: no schema is at hand for its kinds, and none would see this."""

import re

import yaml

from checks.documents import documents
from checks.paths import EXAMPLES

FOLDER = EXAMPLES / "cloudnative-pg"

# What runs before the application's database is there (in the databases postgres and template1).
BEFORE = ("postInitSQL", "postInitTemplateSQL")


def check() -> list[str]:
    found = {document["kind"]: document for document in documents((FOLDER / "database.yaml").read_text())}
    values = yaml.safe_load((FOLDER / "values.yaml").read_text())
    names = {kind: document["metadata"]["name"] for kind, document in found.items()}
    spec = {kind: document["spec"] for kind, document in found.items()}
    cluster, pooler = spec["Cluster"], spec["Pooler"]
    config = values["config"]
    roles = {role["name"]: role["passwordSecret"]["name"] for role in cluster["managed"]["roles"]}
    synchronous = cluster["postgresql"].get("synchronous", {})
    connections = pooler["instances"] * int(pooler["pgbouncer"]["parameters"]["default_pool_size"])
    peers = [peer["podSelector"]["matchLabels"] for peer in values["networkPolicy"]["database"]["peers"]]
    rules = [
        (pooler["cluster"]["name"] == names["Cluster"], "the Pooler is another Cluster's"),
        (spec["ScheduledBackup"]["cluster"]["name"] == names["Cluster"], "the ScheduledBackup is another Cluster's"),
        (cluster["plugins"][0]["parameters"]["barmanObjectName"] == names["ObjectStore"], "the WAL goes to another ObjectStore"),
        (roles.get(config["runtime_role"]) == values["database"]["existingSecret"], "the runtime role has another Secret"),
        (values["database"]["caSecret"] == f"{names['Cluster']}-ca", "the CA is another Cluster's"),
        (values["migration"]["existingSecret"] == f"{names['Cluster']}-app", "migrations have another Cluster's owner"),
        (names["Pooler"] in cluster["certificates"]["serverAltDNSNames"], "the certificate does not name the Pooler"),
        ({"cnpg.io/poolerName": names["Pooler"]} in peers, "the network policy lets nobody to the Pooler"),
        ({"cnpg.io/cluster": names["Cluster"]} in peers, "the network policy lets no migration to the Cluster"),
        (
            config["synchronous_standbys"] == (synchronous.get("dataDurability") == "required"),
            "synchronous_standbys says something else than the Cluster does",
        ),
        (connections < int(cluster["postgresql"]["parameters"]["max_connections"]), "the Pooler takes all connections"),
    ]
    return [problem for holds, problem in rules if not holds] + too_early(cluster["bootstrap"]["initdb"])


def too_early(initdb: dict) -> list[str]:
    """Statements that name the application's database, and run before it is created: the Cluster would never start."""
    name = re.compile(rf"\bDATABASE\s+\"?{re.escape(initdb['database'])}\b", re.IGNORECASE)
    return [
        f"{key}: there is no such database yet: {statement}"
        for key in BEFORE
        for statement in initdb.get(key, [])
        if name.search(statement)
    ]
