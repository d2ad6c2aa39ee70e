"""The examples of packaging/examples: their YAML is what its readers take, and
the configuration in it is lumnid's."""

import copy
import os
import re
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.dirname(__file__))
import pkg  # noqa: E402
from pkg import Failure, Skip, run  # noqa: E402

EXAMPLES = os.path.join(pkg.SOURCE, "packaging", "examples")


def documents(name):
    try:
        import yaml
    except ImportError:
        raise Skip("python3-yaml is not installed") from None
    with open(os.path.join(EXAMPLES, name), encoding="utf-8") as f:
        return list(yaml.safe_load_all(f))


# --- Kubernetes ----------------------------------------------------------------

class Bad(Exception):
    """What the API would refuse, and where."""


def check_model(models, kind, value, path):
    """Hold a value to a type of Kubernetes' API, as its own client library
    describes it. That one passes over keys that it does not know, as a typing
    error in an optional key is; here they are faults."""
    listed = re.fullmatch(r"list\[(.*)\]", kind)
    mapped = re.fullmatch(r"dict\((\w+), (.*)\)", kind)
    if listed or mapped:
        if not isinstance(value, list if listed else dict):
            raise Bad(f"{path}: {value!r} is no {kind}")
        for key, v in enumerate(value) if listed else value.items():
            check_model(models, (listed or mapped).groups()[-1], v,
                        f"{path}[{key}]")
        return
    plain = {"str": str, "int": int, "bool": bool, "float": float}.get(kind)
    if plain:
        if type(value) is not plain:  # a bool is an int, elsewhere
            raise Bad(f"{path}: {value!r} is no {kind}")
        return
    if kind in ("object", "datetime"):
        return
    cls = getattr(models, kind)
    if not isinstance(value, dict):
        raise Bad(f"{path}: {value!r} is no {kind}")
    names = {json: name for name, json in cls.attribute_map.items()}
    for key, v in value.items():
        if key not in names:
            raise Bad(f"{path}.{key}: {kind} has no such key")
        check_model(models, cls.openapi_types[names[key]], v, f"{path}.{key}")
    try:
        cls(**{names[k]: v for k, v in value.items()})
    except ValueError as e:     # a required one is absent, an enum's is none
        raise Bad(f"{path}: {e}") from None


def check_kubernetes(doc):
    try:
        from kubernetes.client import models
    except ImportError:
        raise Skip("python3-kubernetes is not installed") from None
    known = {"v1": "V1", "apps/v1": "V1"}
    kind = known[doc["apiVersion"]] + doc["kind"]
    check_model(models, kind, doc, doc["kind"])
    spec = doc.get("spec", {}).get("template", {}).get("spec", {})
    volumes = {v["name"] for v in spec.get("volumes", [])}
    for c in spec.get("containers", []) + spec.get("initContainers", []):
        for m in c.get("volumeMounts", []):
            if m["name"] not in volumes:
                raise Bad(f"{c['name']}: no volume {m['name']}")
    if spec:
        labels = doc["spec"]["template"]["metadata"]["labels"]
        for key, v in doc["spec"]["selector"]["matchLabels"].items():
            if labels.get(key) != v:
                raise Bad(f"the selector's {key} is not the template's")


def test_kubernetes(t):
    docs = documents("kubernetes.yaml")
    t.equal([d["kind"] for d in docs], ["ConfigMap", "DaemonSet",
                                        "Deployment"], "documents")
    for doc in docs:
        check_kubernetes(doc)


def test_kubernetes_faults(t):
    """What must not pass: the check sees each of these."""
    daemons = documents("kubernetes.yaml")[1]

    def pod(d):
        return d["spec"]["template"]["spec"]
    faults = {
        "a key of no meaning": lambda d: pod(d).update(fsgroup=988),
        "a string for a number": lambda d: pod(d)["containers"][0][
            "securityContext"].update(runAsUser="988"),
        "a number for a string": lambda d: pod(d)["volumes"][2][
            "hostPath"].update(path=1),
        "no selector": lambda d: d["spec"].pop("selector"),
        "no name": lambda d: pod(d)["containers"][0].pop("name"),
        "a container that is no list": lambda d: pod(d).update(containers={}),
        "no such volume": lambda d: pod(d)["volumes"].pop(),
        "another selector": lambda d: d["spec"]["selector"][
            "matchLabels"].update({"app.kubernetes.io/name": "x"}),
    }
    for what, spoil in faults.items():
        doc = copy.deepcopy(daemons)
        spoil(doc)
        try:
            check_kubernetes(doc)
        except Bad:
            continue
        raise Failure(f"{what}: not seen")


def test_kubernetes_sense(t):
    """Daemon and agents meet: one directory, one group, and a configuration
    that the packages' lumnid takes."""
    conf, daemons, agent = documents("kubernetes.yaml")
    pods = [d["spec"]["template"]["spec"] for d in (daemons, agent)]
    dirs = [{v["hostPath"]["path"] for v in p["volumes"] if "hostPath" in v}
            for p in pods]
    t.equal(dirs[0] & dirs[1], {"/run/lumnid"}, "directories of both")
    mount = pods[1]["containers"][0]["volumeMounts"][0]
    env = {e["name"]: e["value"] for e in pods[1]["containers"][0]["env"]}
    t.equal(os.path.dirname(env["LUMNID_ADDRESS"].split("://")[1]),
            mount["mountPath"], "where the agent looks")
    user = pods[0]["containers"][0]["securityContext"]
    t.true(user["runAsGroup"] in
           pods[1]["securityContext"]["supplementalGroups"], "the group")
    t.equal(pods[0]["securityContext"]["fsGroup"], user["runAsGroup"],
            "who reads the key")
    # The user of the image is made with the same numbers.
    with open(os.path.join(EXAMPLES, "Containerfile"), encoding="utf-8") as f:
        said = f.read()
    t.true(f"--gid {user['runAsGroup']} lumnid" in said and
           f"--uid {user['runAsUser']} " in said, "numbers of the image")

    suite = pkg.host_suite()
    if suite not in pkg.SUITES:
        return
    root = os.path.join(t.dir, "root")
    run(["dpkg-deb", "-x", pkg.deb(suite, "lumnid"), root])
    path = os.path.join(t.dir, "lumnid.yaml")
    with open(path, "w", encoding="utf-8") as f:
        f.write(conf["data"]["lumnid.yaml"])
    run([root + "/usr/sbin/lumnid", "-c", path, "--check-config"])


# --- compose -------------------------------------------------------------------

def compose(path, env):
    if shutil.which("docker-compose") is None:
        raise Skip("docker-compose is not installed")
    return subprocess.run(
        ["docker-compose", "-f", path, "config"], stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        check=False, env=dict(os.environ, **env))


def test_compose(t):
    """docker-compose takes it, and puts the group's number in."""
    path = os.path.join(EXAMPLES, "docker-compose.yaml")
    done = compose(path, {"LUMNID_GID": "4711"})
    t.equal(done.returncode, 0, done.stdout)
    t.true(re.search(r"group_add:\n\s*- '?\"?4711", done.stdout), done.stdout)
    t.true(re.search(r"read_only: true", done.stdout), done.stdout)
    with open(path, encoding="utf-8") as f:
        text = f.read()
    bad = os.path.join(t.dir, "docker-compose.yaml")
    with open(bad, "w", encoding="utf-8") as f:
        f.write(text.replace("group_add:", "groups_add:"))
    t.true(compose(bad, {"LUMNID_GID": "4711"}).returncode != 0,
           "a key of no meaning is not seen")


if __name__ == "__main__":
    pkg.main()
