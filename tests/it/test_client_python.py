#!/usr/bin/python3
"""The Python client: its own tests, its types, and that it installs."""

import glob
import os
import shutil
import socket
import subprocess
import sys

import lumnid_it
import msgpack
from lumnid_it import SLOW, SOURCE, Failure, Skip

PACKAGE = os.path.join(SOURCE, "clients", "python")


def unit_tests(t, python):
    """Run clients/python/tests; a line for each, to be counted."""
    done = t.run(python, "-B", "-W", "error",
                 os.path.join(PACKAGE, "tests", "lines.py"), seconds=120)
    if done.returncode != 0:
        raise Failure(done.stdout + done.stderr)
    return done.stdout


def test_unit(t):
    print(unit_tests(t, "/usr/bin/python3"), end="")


def test_unit_without_msgpack(t):
    """With an interpreter that has the standard library alone."""
    unit_tests(t, venv(t))


def test_other_versions(t):
    """Python 3.8 and later, where there are any: the oldest, the newest."""
    found = []
    for minor in range(8, 20):
        for path in (shutil.which(f"python3.{minor}"), *glob.glob(
                os.path.expanduser(f"~/.pyenv/versions/3.{minor}.*/bin/"
                                   f"python3.{minor}"))):
            # A name on the PATH may be a stub for a version that is not there.
            if path and os.path.realpath(path) != os.path.realpath(
                    sys.executable) and \
                    t.run(path, "-c", "import ssl").returncode == 0:
                found.append(path)
                break
    if not found:
        raise Skip("no other Python is installed")
    for python in sorted({found[0], found[-1]}):
        unit_tests(t, python)
        print(f"# {python}")


def test_types(t):
    if not shutil.which("mypy"):
        raise Skip("mypy is not installed")
    done = t.run("mypy", "--config-file",
                 os.path.join(PACKAGE, "pyproject.toml"), "--strict",
                 "--cache-dir", os.path.join(t.dir, "mypy"),
                 os.path.join(PACKAGE, "lumni"), seconds=120)
    t.equal(done.returncode, 0, done.stdout + done.stderr)


def venv(t):
    place = os.path.join(t.dir, "venv")
    done = t.run("/usr/bin/python3", "-m", "venv", place, seconds=120)
    if done.returncode != 0:
        raise Skip("no virtual environment: " + done.stdout.split("\n")[0])
    return os.path.join(place, "bin", "python")


def test_installs_without_a_network(t):
    python = venv(t)
    source = os.path.join(t.dir, "source")
    shutil.copytree(PACKAGE, source)
    # Nothing may be asked for: all addresses lead nowhere.
    env = {"PIP_INDEX_URL": "http://127.0.0.1:9/", "PIP_RETRIES": "0",
           "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    done = t.run(python, "-m", "pip", "install", source, env=env,
                 seconds=120)
    t.equal(done.returncode, 0, done.stdout + done.stderr)
    path = os.path.join(t.dir, "sock")
    listener = socket.socket(socket.AF_UNIX)
    t.files.callback(listener.close)
    listener.bind(path)
    listener.listen(1)
    proc = subprocess.Popen(
        [python, os.path.join(PACKAGE, "examples", "refund.py")],
        env=dict(os.environ, LUMNID_ADDRESS="unix://" + path), cwd=t.dir)
    listener.settimeout(20 * SLOW)
    conn, _ = listener.accept()
    with conn:
        unpacker = msgpack.Unpacker()
        while True:
            data = conn.recv(65536)
            if not data:
                break
            unpacker.feed(data)
    t.equal(proc.wait(20 * SLOW), 0)
    messages = list(unpacker)
    t.equal([m.get("type") for m in messages],
            ["run_start", "tool_call", "model_output", None])
    t.equal(messages[3]["events"][0]["type"], "run_end")
    done = t.run(python, "-m", "pip", "uninstall", "-y", "lumni")
    t.equal(done.returncode, 0, done.stderr)


def test_vectors_are_what_they_are_made_of(t):
    done = t.run("/usr/bin/python3", os.path.join(
        SOURCE, "tests", "vectors", "make.py"), "--check")
    t.equal(done.returncode, 0, done.stderr)


if __name__ == "__main__":
    lumnid_it.main()
