"""values.schema.json must refuse these, each for its own reason."""

from helm_python import Chart, HelmError

from checks.paths import CHART

GOOD = {"database": {"existingSecret": "db"}}

# What is wrong, and a word that must be in Helm's message.
WRONG = [
    ({"replica": 3}, "replica"),
    ({"replicas": "3"}, "replicas"),
    ({"replicas": 0}, "replicas"),
    ({"tls": {"secretname": "tls"}}, "secretname"),
    ({"tls": {"clientCertificates": "maybe"}}, "clientCertificates"),
    ({"tls": {"clientCertificates": "required"}}, "secretName"),
    ({"tls": {"secretName": "tls"}, "probes": {"grpc": True}}, "secretName"),
    ({"tls": {"certificate": {"enabled": True, "issuerRef": {"name": "ca"}}}}, "secretName"),
    ({"database": {"existingSecret": ""}}, "existingSecret"),
    ({"config": {"database_url": "postgres://keypool:secret@db/keypool"}}, "database_url"),
    ({"config": {"listen": "0.0.0.0:443"}}, "listen"),
    ({"config": None}, "config"),
    ({"config": {"auth": {"tokens": {"jwks": "https://login.example.com/jwks"}}}, "jwks": {"configMap": "keys"}}, "jwks.configMap"),
    ({"fullnameOverride": "k" * 55}, "fullnameOverride"),
    ({"fullnameOverride": "key.pool"}, "fullnameOverride"),
    ({"job": {"command": "doctor"}}, "command"),
    ({"networkPolicy": {"callers": []}}, "callers"),
    ({"networkPolicy": {"callers": [{"podSelectors": {}}]}}, "callers"),
    ({"monitoring": {"interval": "15"}}, "interval"),
    ({"monitoring": {"ruleLabels": {"oncall": 1}}}, "oncall"),
    ({"monitoring": None}, "monitoring"),
    ({"image": {"digest": "sha256:1"}}, "digest"),
]


def check() -> list[str]:
    problems = []
    with Chart.load(CHART) as chart:
        chart.validate_schema(GOOD)
        for wrong, word in WRONG:
            try:
                chart.render(GOOD | wrong, name="keypool", namespace="keypool")
            except HelmError as error:
                if word not in str(error):
                    problems.append(f"{wrong} is refused, but without a word of {word}: {error}")
            else:
                problems.append(f"{wrong} is accepted")
    return problems
