#!/usr/bin/python3
"""The clients that exist for the Fluentd forward protocol, unchanged."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys

import lumnid_it
from lumnid_it import BUILD, SLOW, SOURCE, Failure, Skip

HERE = os.path.join(SOURCE, "tests", "it", "fluent")
NODE = os.path.join(BUILD, "fluent-clients")
T0 = 1795435200     # 2026-11-23T12:00:00Z


def record(run, n, **more):
    return {"runId": run, "type": "step", "n": n, **more}


def tcp_port(t):
    m, _ = t.daemon.wait_line(
        r"listening.*input=forward_tcp.*address=\S*:(\d+)")
    return int(m.group(1))


def node_clients(t):
    """Where they are installed, at the versions of the lock file."""
    for name in ("node", "npm"):
        if not shutil.which(name):
            raise Skip(f"{name} is not installed")
    os.makedirs(NODE, exist_ok=True)
    with open(os.path.join(HERE, "package-lock.json"), "rb") as f:
        want = hashlib.sha256(f.read()).hexdigest()
    stamp = os.path.join(NODE, "stamp")
    with open(os.path.join(NODE, "lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(stamp) or open(
                stamp, encoding="ascii").read() != want:
            for name in ("package.json", "package-lock.json", ".npmrc"):
                shutil.copy(os.path.join(HERE, name), NODE)
            done = subprocess.run(
                ["npm", "ci", "--ignore-scripts"], cwd=NODE, check=False,
                capture_output=True, text=True, timeout=240 * SLOW,
                env=dict(os.environ,
                         npm_config_cache=os.path.join(t.dir, "npm")))
            if done.returncode != 0:
                if any(x in done.stderr for x in (
                        "ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED",
                        "ETIMEDOUT", "ENETUNREACH")):
                    raise Skip("the clients cannot be had: no network")
                raise Failure(f"npm ci: {done.stdout}{done.stderr}")
            with open(stamp, "w", encoding="ascii") as f:
                f.write(want)
        shutil.copy(os.path.join(HERE, "send.js"), NODE)
    return os.path.join(NODE, "send.js")


MODES = ["Message", "PackedForward", "CompressedPackedForward"]
CLIENTS = {"fluent-logger": MODES, "fluent-org": ["Forward", *MODES]}


def test_node_clients(t):
    script = node_clients(t)
    up = t.upstream()
    t.lumnid(listen={"forward_tcp": "127.0.0.1:0", "http": "127.0.0.1:0"})
    port = str(tcp_port(t))
    want, running = {}, []
    for name, modes in CLIENTS.items():
        for mode in modes:
            for ack in ("ack", "none"):
                address = port if (ack == "ack") == (mode[0] == "M") \
                    else t.stream_path
                run = f"{name}-{mode}-{ack}"
                p = lumnid_it.Process(t, ["node", script, name, mode, ack,
                                          address, run, "20"], run)
                want[run] = list(range(20))
                running.append(p)
                if len(running) % 4 == 0:
                    for p in running[-4:]:
                        t.equal(p.wait(60), 0, p.log())
    for p in running:
        t.equal(p.wait(60), 0, p.log())
    up.wait_sums(events=20 * len(want))
    t.check_runs(want)
    for run, events in t.runs().items():
        for e in events:
            t.equal((e["tag"], e["at"][:20]),
                    ("app.agent", "2026-11-23T12:00:00."), run)
    t.check_books(accepted=20 * len(want))


def test_python_client(t):
    """Debian's python3-fluent-logger."""
    try:
        sys.path.append("/usr/lib/python3/dist-packages")
        from fluent import sender
    except ImportError:
        raise Skip("python3-fluent-logger is not installed") from None
    up = t.upstream()
    t.lumnid(listen={"forward_tcp": "127.0.0.1:0"})
    for run, where, ns in (("unix", {"host": "unix://" + t.stream_path}, True),
                           ("tcp", {"host": "127.0.0.1",
                                    "port": tcp_port(t)}, False)):
        logger = sender.FluentSender("app", nanosecond_precision=ns, **where)
        for n in range(100):
            at = sender.EventTime(T0 + n) if ns else T0 + n
            t.true(logger.emit_with_time("agent", at, record(
                run, n, type="run_end" if n == 99 else "step")),
                str(logger.last_error))
        logger.close()
    up.wait_sums(events=200)
    t.check_runs({"unix": list(range(100)), "tcp": list(range(100))})
    t.equal([t.runs()[r][1]["at"] for r in ("unix", "tcp")],
            ["2026-11-23T12:00:01.000000000Z", "2026-11-23T12:00:01.000Z"])


if __name__ == "__main__":
    lumnid_it.main()
