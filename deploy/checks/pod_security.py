"""Every pod is admitted to a namespace that enforces the Pod Security Standard "restricted", and is stricter than that in two points.

https://kubernetes.io/docs/concepts/security/pod-security-standards/
"""

from checks.documents import documents, name_of

VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}


def check(rendered: dict[str, str]) -> list[str]:
    problems = []
    pods = 0
    for stream, text in rendered.items():
        for document in documents(text):
            pod = document.get("spec", {}).get("template", {}).get("spec")
            if pod:
                pods += 1
                problems += [f"{stream}: {name_of(document)}: {problem}" for problem in pod_problems(pod)]
    return problems or ([] if pods else ["no pod was found"])


def pod_problems(pod: dict) -> list[str]:
    security = pod.get("securityContext", {})
    rules = [
        (not any(pod.get(shared) for shared in ("hostNetwork", "hostPID", "hostIPC")), "shares a namespace with the host"),
        (not security.get("sysctls"), "sets sysctls"),
        (pod.get("automountServiceAccountToken") is False, "mounts a token of Kubernetes' API"),
    ]
    for volume in pod.get("volumes", []):
        types = set(volume) - {"name"}
        rules.append((types <= VOLUMES, f"volume {volume['name']} is of type {', '.join(types)}"))
    problems = [problem for holds, problem in rules if not holds]
    for container in pod.get("initContainers", []) + pod["containers"]:
        problems += [f"container {container['name']} {problem}" for problem in container_problems(container, security)]
    return problems


def container_problems(container: dict, pod: dict) -> list[str]:
    """What is wrong with a container of a pod with the given security context."""
    own = container.get("securityContext", {})
    both = pod | own
    capabilities = own.get("capabilities", {})
    rules = [
        (both.get("runAsNonRoot") is True, "may run as root"),
        (both.get("runAsUser") != 0, "runs as root"),
        (both.get("seccompProfile", {}).get("type") in ("RuntimeDefault", "Localhost"), "has no seccomp profile"),
        (own.get("allowPrivilegeEscalation") is False, "may gain privileges"),
        (not own.get("privileged"), "is privileged"),
        ("ALL" in capabilities.get("drop", []), "keeps capabilities"),
        (set(capabilities.get("add", [])) <= {"NET_BIND_SERVICE"}, "adds capabilities"),
        (own.get("procMount", "Default") == "Default", "sees all of /proc"),
        (not any(port.get("hostPort") for port in container.get("ports", [])), "takes a port of the host"),
        (own.get("readOnlyRootFilesystem") is True, "can write to its image"),
    ]
    return [problem for holds, problem in rules if not holds]
