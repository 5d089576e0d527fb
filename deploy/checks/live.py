"""With autoscaling, as many replicas stay as there are: seen by a Helm that asks a cluster, of which there is as much as it asks for."""

import json
import re
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory

from helm_python import Config, HelmError

from checks.paths import CHART

DEPLOYMENT = "/apis/apps/v1/namespaces/keypool/deployments/keypool"
CLUSTER = {
    "/version": {"major": "1", "minor": "37", "gitVersion": "v1.37.0"},
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/api/v1": {"kind": "APIResourceList", "groupVersion": "v1", "resources": []},
    "/apis": {
        "kind": "APIGroupList",
        "groups": [
            {
                "name": "apps",
                "versions": [{"groupVersion": "apps/v1", "version": "v1"}],
                "preferredVersion": {"groupVersion": "apps/v1", "version": "v1"},
            }
        ],
    },
    "/apis/apps/v1": {
        "kind": "APIResourceList",
        "groupVersion": "apps/v1",
        "resources": [{"name": "deployments", "namespaced": True, "kind": "Deployment", "verbs": ["get"]}],
    },
}
# Ends the rendering, and shows what it came to: to go on would take a whole cluster.
SHOW = '{{ fail (include (print $.Template.BasePath "/deployment.yaml") .) }}'


def check() -> list[str]:
    problems = []
    for live in (None, 7, 0):
        found = replicas(live)
        if found != live:
            problems.append(f"of {live} replicas that run, {found} are left")
    return problems


def replicas(live: int | None) -> int | None:
    """How many the Deployment asks for, where so many run already; none where nothing runs."""
    deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "keypool"}, "spec": {"replicas": live}}
    answers = CLUSTER | ({} if live is None else {DEPLOYMENT: deployment})

    class Cluster(BaseHTTPRequestHandler):
        def do_GET(self):
            answer = answers.get(self.path.split("?")[0])
            missing = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}
            body = json.dumps(missing if answer is None else answer).encode()
            self.send_response(404 if answer is None else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Cluster) as server, TemporaryDirectory() as folder:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        chart = Path(folder) / "keypool"
        shutil.copytree(CHART, chart)
        (chart / "templates" / "show.yaml").write_text(SHOW)
        address = f"http://127.0.0.1:{server.server_port}"
        values = {"database": {"existingSecret": "db"}, "autoscaling": {"enabled": True}}
        with Config(kube_apiserver=address, kubeconfig_content="{}", namespace="keypool", storage_driver="memory") as config:
            try:
                config.install(chart, "keypool", values, namespace="keypool", dry_run="server")
            except HelmError as error:
                shown = str(error)
        server.shutdown()
    if "kind: Deployment" not in shown:
        raise ValueError(shown)
    asked = re.search(r"^  replicas: (\d+)$", shown, re.MULTILINE)
    return asked and int(asked.group(1))
