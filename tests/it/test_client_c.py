#!/usr/bin/python3
"""The C client as others build with it: examples, C++, symbols, its cost."""

import json
import os
import re
import shutil
import socket
import subprocess

import lumnid_it
import msgpack
from lumnid_it import BUILD, SLOW, SOURCE, Failure, Skip

CLIENT = os.path.join(SOURCE, "clients", "c")
STATIC = os.path.join(BUILD, "clients", "c", "liblumni.a")
SHARED = os.path.join(BUILD, "clients", "c", "liblumni.so.0.1.0")
FLAGS = os.environ.get("LUMNID_SAN_CFLAGS", "").split()


def compiler(*names):
    for name in names:
        if name and shutil.which(name.split()[0]):
            return name.split()
    raise Skip("no compiler: " + " ".join(filter(None, names)))


CC = (os.environ.get("LUMNID_CC"), "cc", "gcc", "clang")
CXX = ("c++", "g++", "clang++")
WARN = ["-Wall", "-Wextra", "-Wshadow", "-Wconversion", "-pedantic",
        "-Werror"]


def build(t, cc, source, *more, std="-std=c11"):
    out = os.path.join(t.dir, os.path.basename(source) + ".out")
    done = t.run(*cc, std, *WARN, *FLAGS, "-I", CLIENT, source, *more,
                 "-o", out, "-lpthread", seconds=120)
    if done.returncode != 0:
        raise Failure(f"{source}: {done.stderr}")
    return out


def received(t, argv, env=None):
    """Run a program to its end; return the messages it sent."""
    listener = socket.socket(socket.AF_UNIX)
    t.files.callback(listener.close)
    path = os.path.join(t.dir, "sock")
    if os.path.exists(path):
        os.unlink(path)
    listener.bind(path)
    listener.listen(5)
    listener.settimeout(20 * SLOW)
    proc = subprocess.Popen(argv, env=dict(
        os.environ, LUMNID_ADDRESS="unix://" + path, **(env or {})))
    conn, _ = listener.accept()
    with conn:
        conn.settimeout(20 * SLOW)
        unpacker = msgpack.Unpacker(raw=False, timestamp=3)
        while True:
            data = conn.recv(65536)
            if not data:
                break
            unpacker.feed(data)
    t.equal(proc.wait(20 * SLOW), 0, f"exit status of {argv}")
    return list(unpacker)


def check_refund(t, messages, run):
    first, end = messages[0], messages[-1]
    t.equal((first["runId"], first["type"], first["name"], first["status"]),
            (run, "tool_call", "issue_refund", "failed"))
    t.equal(first["at"].tzname(), "UTC")
    t.equal((end["runId"], end["end"], end["events"][0]["type"]),
            (run, True, "run_end"))


def test_examples(t):
    cc = compiler(*CC)
    libraries = [STATIC] if FLAGS else [STATIC, SHARED]
    for library in libraries:
        os.environ["LD_LIBRARY_PATH"] = t.dir
        if library == SHARED:
            os.symlink(SHARED, os.path.join(t.dir, "liblumni.so.0"))
        program = build(t, cc, os.path.join(CLIENT, "examples", "refund.c"),
                        library)
        messages = received(t, [program])
        t.equal(len(messages), 3)
        check_refund(t, messages, "run_8842")
        program = build(t, cc, os.path.join(CLIENT, "examples", "nested.c"),
                        library)
        messages = received(t, [program])
        t.equal(messages[0]["args"], {"order": "A-1009", "items": [1, 2]})
        t.equal([e["type"] for e in messages[1]["events"]],
                ["agent_step", "run_end"])
        t.equal(messages[1]["end"], True)


def test_cxx(t):
    cxx = compiler(*CXX)
    if FLAGS and "g++" not in os.path.realpath(shutil.which(cxx[0])):
        raise Skip("the sanitizers are those of another compiler")
    for std in ("-std=c++11", "-std=c++17"):
        program = build(t, cxx, os.path.join(CLIENT, "examples",
                                             "refund.cc"), STATIC, std=std)
        messages = received(t, [program])
        t.equal(len(messages), 2)
        check_refund(t, messages, "run_8844")


def test_without_lumnid(t):
    """No lumnid, none wanted, a nonsense address: nothing is to be seen."""
    program = build(t, compiler(*CC), os.path.join(CLIENT, "examples",
                                                   "refund.c"), STATIC)
    for env in ({"LUMNID_ADDRESS": "unix:///nowhere/sock"},
                {"LUMNID_ADDRESS": "nonsense"}, {"LUMNID_DISABLED": "1"}):
        done = t.run(program, env=env)
        t.equal((done.returncode, done.stdout, done.stderr), (0, "", ""))


def test_symbols(t):
    """What is exported is what the header promises, with a version."""
    if FLAGS:
        raise Skip("the sanitizers add symbols")
    done = t.run("nm", "-D", "--defined-only", SHARED)
    got = set(re.findall(r" T (\w+)@@LUMNI_0$", done.stdout, re.M))
    with open(os.path.join(CLIENT, "lumni.h"), encoding="ascii") as f:
        text = re.sub(r"static inline.*?\n}\n", "", f.read(), flags=re.S)
    want = set(re.findall(r"^[a-z].*?\**(lumni_\w+)\([^;{]*?\);", text,
                          re.M | re.S))
    t.equal(got, want, "exported functions")
    needed = re.findall(r"NEEDED.*\[(.*?)\]",
                        t.run("readelf", "-d", SHARED).stdout)
    strange = [x for x in needed
               if not re.match(r"lib(c|pthread)\.so|ld-linux", x)]
    t.equal(strange, [], "libraries needed")


def test_pkg_config(t):
    pc = os.path.join(BUILD, "clients", "c")
    done = t.run("pkg-config", "--libs", "lumni",
                 env={"PKG_CONFIG_PATH": pc})
    t.true("-llumni" in done.stdout, done.stdout + done.stderr)


def test_a_call_costs_under_a_microsecond(t):
    """Beside the send: lumnid is away, and the queue is full."""
    if FLAGS:
        raise Skip("sanitizers are slow")
    best = None
    for _ in range(5):
        done = t.run(lumnid_it.program("tests/support/agent"),
                     "unix:///nowhere/sock", "runs=1000", "steps=300",
                     "queue=1", "flush_ms=0")
        report = json.loads(done.stdout.splitlines()[-1])
        ns = report["cpu_seconds"] / report["events"] * 1e9
        best = ns if best is None else min(best, ns)
    print(f"# {best:.0f} ns a call of 10 fields")
    t.true(best < 1000 * SLOW, f"{best:.0f} ns")


if __name__ == "__main__":
    lumnid_it.main()
