#!/usr/bin/python3
"""The API key is where it has to be, and nowhere else: not in the
environment, the arguments, a file, the log, an answer (lumnid_it looks for
it there after every test), nor in a core dump."""

import os
import re
import resource
import shutil
import signal

import lumnid_it
import test_upstream_net as net
from lumnid_it import KEY, Skip, wait_for

BOOKS = {"http": "127.0.0.1:0"}


def environ(p):
    with open(f"/proc/{p.pid}/environ", "rb") as f:
        return f.read()


def key_file(t, key=KEY):
    path = os.path.join(t.dir, "key")
    with open(path, "w", encoding="ascii",
              opener=lambda p, f: os.open(p, f, 0o600)) as f:
        f.write(key + "\n")
    return path


def test_environment_is_wiped(t):
    """What /proc/PID/environ shows, also after reloads, which still have the
    key."""
    up = t.upstream()
    t.lumnid(listen=BOOKS, env={"LUMNI_API_KEY": KEY, "ANOTHER": "word"})
    t.true(b"ANOTHER=word" in environ(t.daemon), "the environment is read")
    t.true(KEY.encode() not in environ(t.daemon), "wiped")
    for n in (1, 2):
        _, after = t.daemon.wait_line("listening")
        t.daemon.signal(signal.SIGHUP)
        wait_for("the reload", lambda: sum(
            bool(x and "reloaded" in x) for x in t.daemon.lines) == n)
        net.send(t, n, 1)
        up.wait_sums(events=n)
    t.true(KEY.encode() not in environ(t.daemon), "wiped")
    shown = t.run(lumnid_it.program("lumnid"), "-c", t.conf, "--print-config",
                  env={"LUMNI_API_KEY": KEY})
    t.equal(shown.returncode, 0, shown.stderr)
    t.true("LUMNI_API_KEY" in shown.stdout, "it says where the key is from")
    t.true(KEY not in shown.stdout, "and not what it is")


def test_errors_do_not_repeat_the_key(t):
    """A key file with two lines, a blank, or that everybody can read."""
    t.upstream()
    secret = "another-secret-of-ours"
    t.secrets.add(secret)
    for text, mode in ((secret + "\n" + secret, 0o600),
                       (secret + " x", 0o600), (secret, 0o644)):
        path = key_file(t, text)
        os.chmod(path, mode)
        t.configure(upstream={"api_key_file": path})
        done = t.run(lumnid_it.program("lumnid"), "-c", t.conf,
                     env={"LUMNI_API_KEY": ""})
        t.equal(done.returncode, 2, done.stderr)
        t.true(path in done.stderr and secret not in done.stderr, done.stderr)


def cores(t):
    return [x for x in os.listdir(t.dir) if x.startswith("core")]


def crash(t, up, n):
    """Deliver n events, let all requests end, and abort; the core's bytes, or
    None where there is none."""
    with open("/proc/sys/kernel/core_pattern", encoding="ascii") as f:
        pattern = f.read().strip()
    if "/" in pattern or pattern.startswith("|"):
        raise Skip(f"core_pattern is {pattern}")
    up.wait_sums(events=n)
    wait_for("the last answer", lambda:
             t.daemon.status()["upstream"]["in_flight"] == 0)
    resource.prlimit(t.daemon.pid, resource.RLIMIT_CORE,
                     (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    t.daemon.signal(signal.SIGABRT)
    t.equal(t.daemon.wait(60), -signal.SIGABRT, "the end")
    names = cores(t)
    if not names:
        return None
    t.equal(len(names), 1, "cores")
    path = os.path.join(t.dir, names[0])
    with open(path, "rb") as f:
        data = f.read()
    os.unlink(path)
    return data


def sanitized():
    """Do instrumented programs dump terabytes of shadow?"""
    return "-fsanitize" in os.environ.get("LUMNID_SAN_CFLAGS", "")


def test_no_core(t):
    """As it is started, no process dumps core, and none is traced by its own
    user: /proc/PID belongs to root."""
    if sanitized():
        raise Skip("sanitizers dump no core")
    if os.geteuid() != 0:
        raise Skip("for others than root the tests allow core dumps")
    up = t.upstream()
    t.lumnid(listen=BOOKS, upstream={"api_key_file": key_file(t)},
             env={"LUMNI_API_KEY": ""})
    net.send(t, 0, 5)
    t.equal(crash(t, up, 5), None, "a core")


def test_core(t):
    """With --core-dumps there is one, that holds events, but no key, as none
    of the requests is under way."""
    if sanitized():
        raise Skip("sanitizers dump no core")
    for name in ("file", "environment", "tls"):
        c = t.sub(name)
        up = c.upstream()
        upstream = {"connections": 2}
        env = {"LUMNI_API_KEY": KEY}
        if name != "environment":
            env = {"LUMNI_API_KEY": ""}
            upstream["api_key_file"] = key_file(c)
        if name == "tls":
            ca = net.Authority(c)
            front = net.Front(c, up, ca.sign("server"))
            upstream.update(url=front.url, ca_file=ca.cert, http="1.1")
        c.lumnid(listen=BOOKS, upstream=upstream, env=env,
                 args=["--core-dumps"])
        for n in range(20):
            net.send(c, n, 1)
            up.wait_sums(events=n + 1)
        data = crash(c, up, 20)
        t.true(data is not None, f"{name}: no core")
        # It is a core of this process, and it has its memory.
        t.true(b"authorization: Bearer " in data or
               b"/v1/ingest/events" in data, f"{name}: not its memory")
        t.equal(data.count(KEY.encode()), 0, f"{name}: the key in the core")


def test_redirect_takes_no_key_along(t):
    """Nor does a redirect of the same host, nor one by a proxy."""
    other = t.sub("elsewhere")
    away = other.upstream()
    for status in (301, 302, 303, 307, 308):
        c = t.sub(str(status))
        c.upstream(script=f"status={status} "
                   f"location={away.url}/v1/ingest/events")
        c.lumnid(listen=BOOKS)
        net.send(c, 0, 1)
        c.daemon.wait_line("upstream_hold.*redirects are not followed")
    t.equal(away.stats()["requests"], 0, "requests elsewhere")
    # It had a connection for each question of ours, and no other.
    t.true(away.stats()["connections"] <= 2, "connections elsewhere")


if __name__ == "__main__":
    lumnid_it.main()
