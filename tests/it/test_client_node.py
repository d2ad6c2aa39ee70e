#!/usr/bin/python3
"""The Node client: the package as it is packed and installed, its own tests
with the frameworks it is made for, its types, its examples."""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess

import lumnid_it
import msgpack
from lumnid_it import BUILD, SLOW, SOURCE, Failure, Skip

PACKAGE = os.path.join(SOURCE, "clients", "node")
TESTS = os.path.join(PACKAGE, "test")
# What npm installs is kept beside the build, for the next time.
PLACE = os.path.join(BUILD, "node-client")


def tree_hash(*paths):
    """Changes when any of the files does."""
    digest = hashlib.sha256()
    for top in paths:
        for base, dirs, files in os.walk(top):
            dirs[:] = sorted(d for d in dirs if d != "node_modules")
            for name in sorted(files):
                path = os.path.join(base, name)
                digest.update(os.path.relpath(path, top).encode())
                with open(path, "rb") as f:
                    digest.update(f.read())
    return digest.hexdigest()


def call(t, *argv, cwd, seconds=240):
    done = subprocess.run(argv, capture_output=True, text=True, cwd=cwd,
                          timeout=seconds * SLOW, check=False,
                          env=dict(os.environ, npm_config_cache=os.path.join(
                              t.dir, "npm"), npm_config_update_notifier="false",
                              NO_COLOR="1"))
    return done


def npm(t, *args, cwd):
    done = call(t, "npm", *args, cwd=cwd)
    if done.returncode != 0:
        raise Failure(f"npm {args[0]}: {done.stdout}{done.stderr}")
    return done.stdout


def need_node(t):
    for name in ("node", "npm"):
        if not shutil.which(name):
            raise Skip(f"{name} is not installed")
    major = int(t.run("node", "-p", "process.versions.node").stdout
                .split(".")[0])
    if major < 18:
        raise Skip(f"node {major} is older than 18")
    return major


def pack(t):
    """The path of the tarball that would be published."""
    out = npm(t, "pack", "--json", "--pack-destination", t.dir, PACKAGE,
              cwd=t.dir)
    told = json.loads(out)
    # A list; of late versions, a map by the name of the package.
    told = told[0] if isinstance(told, list) else next(iter(told.values()))
    return os.path.join(t.dir, told["filename"]), \
        {f["path"] for f in told["files"]}


def unpack(tarball, where):
    """As npm does it with a package that depends on nothing."""
    shutil.rmtree(where, ignore_errors=True)
    os.mkdir(where)
    subprocess.run(["tar", "-xzf", tarball, "-C", where,
                    "--strip-components=1"], check=True)


def place(t):
    """A directory with the tests, the frameworks at the pinned versions, and
    the client as it is packed."""
    need_node(t)
    os.makedirs(PLACE, exist_ok=True)
    with open(os.path.join(PLACE, "lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock_hash = hashlib.sha256(open(os.path.join(
            TESTS, "package-lock.json"), "rb").read()).hexdigest()
        if not stamped("frameworks", lock_hash):
            for name in ("package.json", "package-lock.json", ".npmrc"):
                shutil.copy(os.path.join(TESTS, name), PLACE)
            # Scripts of strangers are not run.
            done = call(t, "npm", "ci", "--ignore-scripts", cwd=PLACE)
            if done.returncode != 0:
                if any(x in done.stderr for x in (
                        "ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED",
                        "ETIMEDOUT", "ENETUNREACH")):
                    raise Skip("the frameworks cannot be had: no network")
                raise Failure(f"npm ci: {done.stdout}{done.stderr}")
            stamp("frameworks", lock_hash)
        ours = tree_hash(PACKAGE)
        if not stamped("client", ours):
            for name in os.listdir(TESTS):
                if name.endswith((".js", ".mjs", ".mts", ".cts")):
                    shutil.copy(os.path.join(TESTS, name), PLACE)
            tarball, _ = pack(t)
            unpack(tarball, os.path.join(PLACE, "node_modules", "lumni"))
            stamp("client", ours)
    return PLACE


def stamped(name, value):
    path = os.path.join(PLACE, name + ".stamp")
    if not os.path.exists(path):
        return False
    with open(path, encoding="ascii") as f:
        return f.read() == value


def stamp(name, value):
    with open(os.path.join(PLACE, name + ".stamp"), "w",
              encoding="ascii") as f:
        f.write(value)


def node_tests(t, name):
    """Run a file of clients/node/test; a line for each test in it."""
    where = place(t)
    done = t.run("node", "--test", "--test-reporter=tap",
                 os.path.join(where, name), seconds=170,
                 env={"NODE_ENV": "", "LUMNID_ADDRESS": ""})
    seen = 0
    for line in done.stdout.splitlines():
        # Files are subtests of the whole in some versions of node.
        text = line.strip()
        if text.startswith(("ok ", "not ok ")) and name not in text:
            seen += 1
            word, title = text.split(" - ", 1)
            if not word.startswith("not"):
                print(f"ok {name}: {title}")
    if done.returncode != 0 or not seen:
        raise Failure(done.stdout + done.stderr)


def test_vectors(t):
    node_tests(t, "vectors.test.js")


def test_pack(t):
    node_tests(t, "pack.test.js")


def test_client(t):
    node_tests(t, "client.test.js")


def test_run(t):
    node_tests(t, "run.test.js")


def need_frameworks(t):
    if need_node(t) < 20:
        raise Skip("LangChain needs node 20")


def test_langchain(t):
    need_frameworks(t)
    node_tests(t, "langchain.test.js")


def test_openai_agents(t):
    need_frameworks(t)
    node_tests(t, "openai-agents.test.js")


def tsc(t, *args):
    where = place(t)
    done = call(t, "node",
                os.path.join("node_modules", "typescript", "bin", "tsc"),
                "--noEmit", "--strict", "--module", "nodenext", "--target",
                "es2022", "--types", "node", *args, cwd=where)
    t.equal(done.returncode, 0, done.stdout + done.stderr)


def test_types(t):
    """The declarations, in themselves."""
    tsc(t, "types.cts")


def test_types_of_the_frameworks(t):
    """The handler where LangChain wants one, and so on; what is wrong in the
    frameworks' own declarations is none of our business."""
    tsc(t, "--skipLibCheck", "types.mts")


def test_tarball(t):
    """What is packed is what is needed; it installs alone, without a
    network, and is found by import and by require."""
    need_node(t)
    tarball, files = pack(t)
    for name in files:
        t.true(name.startswith(("lib/", "types/", "examples/"))
               or name in ("package.json", "README.md"), f"packed: {name}")
    with open(os.path.join(PACKAGE, "package.json"), encoding="utf-8") as f:
        manifest = json.load(f)
    t.true("dependencies" not in manifest, "there are dependencies")
    with open(os.path.join(SOURCE, "configure.ac"), encoding="utf-8") as f:
        t.true(f"AC_INIT([lumnid],[{manifest['version']}]" in f.read(),
               "the version is not that of configure.ac")
    for entry in manifest["exports"].values():
        for way in entry.values() if isinstance(entry, dict) else ():
            for path in way.values():
                t.true(path[2:] in files, f"{path} is not packed")
    fresh = os.path.join(t.dir, "fresh")
    os.mkdir(fresh)
    with open(os.path.join(fresh, "package.json"), "w",
              encoding="ascii") as f:
        f.write('{"private": true}')
    npm(t, "install", "--offline", "--ignore-scripts", tarball, cwd=fresh)
    t.equal(sorted(x for x in os.listdir(os.path.join(fresh, "node_modules"))
                   if not x.startswith(".")), ["lumni"])
    with open(os.path.join(fresh, "a.mjs"), "w", encoding="ascii") as f:
        f.write("""
            import { createRequire } from 'node:module';
            import lumni, { run, tool, Client, version } from 'lumni';
            import { LumniCallbackHandler } from 'lumni/langchain';
            import { LumniTracingProcessor } from 'lumni/openai-agents';
            const cjs = createRequire(import.meta.url)('lumni');
            const ok = cjs.run === run && lumni.tool === tool &&
                cjs.Client === Client && new LumniCallbackHandler() &&
                new LumniTracingProcessor();
            if (ok)
                console.log(version);
            """)
    done = call(t, "node", "a.mjs", cwd=fresh)
    t.equal((done.stdout.strip(), done.stderr), (manifest["version"], ""))
    done = call(t, "node", "-e", """
        const { LumniCallbackHandler } = require('lumni/langchain');
        const { LumniTracingProcessor } = require('lumni/openai-agents');
        new LumniCallbackHandler(); new LumniTracingProcessor();
        require('lumni').run('r').end(); console.log('ok');
        """, cwd=fresh)
    t.equal((done.stdout, done.stderr), ("ok\n", ""))


def listen(t):
    """A socket that stands for lumnid; returns its address and a function
    that reads all events that have come to it."""
    import socket
    import threading
    path = os.path.join(t.dir, "listen.sock")
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen()
    t.files.callback(server.close)
    unpacker = msgpack.Unpacker(raw=False, timestamp=0)
    done = threading.Event()

    def take():
        con, _ = server.accept()
        with con:
            while data := con.recv(65536):
                unpacker.feed(data)
        done.set()
    threading.Thread(target=take, daemon=True).start()

    def events():
        if not done.wait(20 * SLOW):
            raise Failure("nobody came, or it did not go")
        found = []
        for m in unpacker:
            found += [dict(e, runId=m["runId"]) for e in m["events"]] \
                if "events" in m else [m]
        return found
    return "unix://" + path, events


def example(t, name, want):
    where = place(t)
    shutil.copy(os.path.join(PACKAGE, "examples", name), where)
    address, events = listen(t)
    done = t.run("node", os.path.join(where, name),
                 env={"LUMNID_ADDRESS": address})
    t.equal((done.returncode, done.stdout, done.stderr), (0, "", ""))
    t.equal([f"{e['type']} {e.get('name', '')}".strip()
             + (f" {e['status']}" if "status" in e else "")
             for e in events()], want)


def test_example_refund(t):
    example(t, "refund.mjs", [
        "run_start support", "tool_call issue_refund failed",
        "model_output ok", "run_end ok"])


def test_example_refund_cjs(t):
    example(t, "refund.cjs", ["tool_call issue_refund failed",
                              "model_output ok", "run_end ok"])


def test_example_langgraph(t):
    need_frameworks(t)
    example(t, "langgraph.mjs", [
        "run_start support", "model_call FakeListChatModel",
        "model_output FakeListChatModel ok", "agent_step answer ok",
        "run_end support ok"])


if __name__ == "__main__":
    lumnid_it.main()
