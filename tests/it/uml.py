"""A Linux of its own for a test: User Mode Linux, without KVM or an image.

    import uml
    from lumnid_it import Case

    def test_x(t):
        disk = uml.disk(t, "64M")               # a file with ext4
        m = uml.Machine(t, [sys.executable, __file__, "--guest"],
                        disks=[disk], net=True, modules=["sch_netem"])
        m.wait_line(r"^done 5$")                # what the guest prints
        m.power_off()                           # power is lost, now
        m = uml.Machine(...)                    # boots with what was durable
        m.finish()                              # waits; exit status 0

What the guest has: the host's root file system, read-only (so its programs,
its Python and our build), /tmp, /run and /var/tmp empty and in memory, the
sources and the build at their places, and the test's directory t.dir,
writable, at its place (what is written there is on the host some time later,
and may be lost with the power). The disks are /dev/ubda, /dev/ubdb, ... and are
not mounted. The command runs as root with the test's environment, and with
UML=1; what it prints is the machine's lines, in order and at once, so that
what was printed before power_off() has been seen by the test. It is a child of
the guest's init: when it ends the machine ends, and m.finish() fails unless its
status was 0. One processor; the guest's clock is the host's.

net=True: a link to the host, vec0 in the guest with uml.GUEST_IP, on the host
uml.HOST_IP. The interface must not meet that of another test: such a test file
runs in a network namespace of its own; call uml.enter_network() first thing.
Inside, "ip netns", veth, nft and tc work as on any Linux; the modules that they
need (sch_netem, veth, nf_tables, ...) are named with modules=.

power_off() ends the whole process group with SIGKILL: the guest's page cache
is gone, the disks hold what the guest had flushed and perhaps more, in any
order that the guest's kernel chose.

A boot takes 2 s on an idle machine. A file's main:

    if __name__ == "__main__":
        uml.main(guest)                         # guest(): what runs inside
"""

import os
import re
import shutil
import signal
import subprocess
import sys

import lumnid_it
from lumnid_it import BUILD, SOURCE, Failure, Process, Skip, program

HOST_IP = "10.98.7.1"
GUEST_IP = "10.98.7.2"
MODULES = "/usr/lib/uml/modules"
ENTERED = "LUMNID_TEST_UML_NET"

INIT = """#!/bin/sh
PATH=/usr/bin:/usr/sbin:/bin:/sbin
export PATH
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs -o mode=1777 tmp /tmp
mount -t tmpfs -o mode=755 run /run
mount -t tmpfs -o mode=1777 tmp /var/tmp
mkdir -p /dev/shm /dev/pts /run/uml/lib /run/netns /run/lock
mount -t tmpfs shm /dev/shm
mount -t devpts devpts /dev/pts
hostname uml
ip link set lo up
stty -opost
# What lay below a directory that is covered now.
share() {
	mkdir -p "$1" && mount -t hostfs -o "$1" none "$1"
}
%(shares)s
ln -s %(modules)s /run/uml/lib/modules
%(modprobe)s
%(net)s
cd %(dir)s
%(env)s
%(command)s
echo "uml: exit status $?"
sync
echo o >/proc/sysrq-trigger
sleep 100
"""


def quote(word):
    return "'" + word.replace("'", "'\\''") + "'"


def linux():
    """The kernel, or why there is none."""
    for name in ("linux.uml", "linux"):
        path = shutil.which(name)
        if path:
            return path
    raise Skip("user-mode-linux is not installed")


def disk(case, size, name="disk", fs="ext4", options=()):
    """A file with an empty file system; size as in "64M"."""
    mkfs = shutil.which("mkfs." + fs, path=os.environ["PATH"] +
                        ":/usr/sbin:/sbin")
    if mkfs is None:
        raise Skip(f"mkfs.{fs} is not installed")
    path = os.path.join(case.dir, name + ".img")
    units = {"K": 10, "M": 20, "G": 30}
    with open(path, "wb") as f:
        f.truncate(int(size[:-1]) << units[size[-1]])
    done = case.run(mkfs, "-q", *options, path)
    if done.returncode != 0:
        raise Failure(f"mkfs.{fs}: {done.stderr}")
    return path


class Machine(Process):
    """A guest that boots, runs a command, and ends."""

    count = 0

    def __init__(self, case, command, disks=(), net=False, modules=(),
                 memory="256M", env=None):
        Machine.count += 1
        kernel = linux()
        name = f"uml{Machine.count}"
        where = os.path.join(case.dir, name)
        os.mkdir(where)
        if net:
            self._tap(case)
        script = os.path.join(where, "init")
        with open(script, "w", encoding="utf-8") as f:
            f.write(self._init(case, command, net, modules, env or {}))
        os.chmod(script, 0o700)
        argv = [kernel, "mem=" + memory, "rootfstype=hostfs", "rootflags=/",
                "ro", "init=" + script, "quiet", "con=null",
                "con0=null,fd:1", "uml_dir=" + where + "/", "umid=uml",
                # To make 256 of them takes longer than all the rest.
                "pty.legacy_count=0"]
        argv += [f"ubd{i}={path}" for i, path in enumerate(disks)]
        if net:
            argv.append("vec0:transport=tap,ifname=uml0,depth=128")
        # Its memory is a file, which has no name and goes with it: one on
        # a disk would be written there.
        shm = "/dev/shm" if os.path.isdir("/dev/shm") else where
        super().__init__(case, argv, name, {
            "TMPDIR": shm, "LD_PRELOAD": program("tests/support/umlfp.so")},
            start_new_session=True)

    @staticmethod
    def _init(case, command, net, modules, env):
        shares = []
        for path in (SOURCE, BUILD, case.dir):
            path = os.path.realpath(path)
            # The root is there; only what a tmpfs covers is missing, and
            # the place that is written to.
            covered = path.startswith(("/tmp/", "/run/", "/var/tmp/"))
            if covered or path == os.path.realpath(case.dir):
                shares.append("share " + quote(path))
        keep = dict(os.environ, **env)
        keep.update(UML="1", HOME="/root", TMPDIR="/tmp",
                    LUMNID_BUILD=BUILD, LUMNID_SOURCE=SOURCE)
        keep["PATH"] = "/usr/bin:/usr/sbin:/bin:/sbin"
        exports = [f"export {k}={quote(v)}" for k, v in keep.items()
                   if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", k) and
                   k not in ("PWD", "OLDPWD", "_", ENTERED)]
        return INIT % {
            "shares": "\n".join(shares),
            "modules": MODULES,
            "modprobe": "".join(
                f"modprobe -d /run/uml {m} || exit 1\n" for m in modules),
            "net": f"ip addr add {GUEST_IP}/30 dev vec0 && "
                   "ip link set vec0 up" if net else "",
            "dir": quote(case.dir),
            "env": "\n".join(exports),
            "command": " ".join(map(quote, command)),
        }

    @staticmethod
    def _tap(case):
        # /sys would show the interfaces of the namespace it is from.
        if case.run("ip", "link", "show", "uml0").returncode == 0:
            return
        for argv in (["tuntap", "add", "dev", "uml0", "mode", "tap"],
                     ["addr", "add", HOST_IP + "/30", "dev", "uml0"],
                     ["link", "set", "uml0", "up"]):
            done = case.run("ip", *argv)
            if done.returncode != 0:
                raise Skip("no tap device: " + done.stderr.strip())

    def power_off(self):
        """The power is lost."""
        if self.proc.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)
        self.proc.wait()
        self._reader.join(10)

    # However a test ends, the whole group ends with it.
    kill = power_off

    def stop(self, seconds=20):
        self.power_off()

    def finish(self, seconds=60):
        """The command has ended with 0, and the guest with it."""
        match, _ = self.wait_line(r"^uml: exit status (\d+)", seconds)
        if match.group(1) != "0":
            self.power_off()
            raise Failure(f"exit status {match.group(1)} in the guest\n"
                          + self.log(200))
        self.wait(seconds)


def enter_network():
    """Run this program anew in a network namespace of its own. Returns None,
    or the reason why it cannot be."""
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    if os.environ.get(ENTERED):
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        return None
    for name in ("unshare", "ip"):
        if shutil.which(name) is None:
            return f"{name} is not installed"
    probe = subprocess.run(
        ["unshare", "-n", "sh", "-ec", "ip link set lo up; "
         "ip tuntap add dev uml0 mode tap"],
        capture_output=True, text=True, check=False)
    if probe.returncode != 0:
        return "no network namespace with a tap device: " + \
            (probe.stderr.strip().split("\n")[-1] or "not root")
    os.environ[ENTERED] = "1"
    os.execvp("unshare", ["unshare", "-n", sys.executable, *sys.argv])
    return None


def main(guest, limit=180, net=True):
    """The main of a test file: guest() inside, the tests outside."""
    if os.environ.get("UML"):
        sys.exit(guest())
    reason = None
    try:
        linux()
    except Skip as e:
        reason = str(e)
    if reason is None and net:
        reason = enter_network()
    if reason:
        print(f"skip {os.path.basename(sys.argv[0])}: {reason}")
        sys.exit(77)
    lumnid_it.main(limit)
