"""What the tests of the packages share: trees of Debian releases, packages
built in and for them, and machines: such a tree booted with its own systemd
in systemd-nspawn.

Trees are made once by mmdebstrap and kept, as archives, in $LUMNID_CACHE, and
packages by what they were built from. It may be removed at any time.

A test file is run by run.py, as root, with LUMNID_SOURCE (clean sources),
LUMNID_BUILD (a build directory with tests/support/upstream), LUMNID_GIT (where
the sources came from) and LUMNID_MARK (which this run's machines are named by).
"""

import contextlib
import ctypes
import fcntl
import glob
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "it"))
import lumnid_it  # noqa: E402
from lumnid_it import Failure, Skip, wait_for  # noqa: E402

SOURCE = lumnid_it.SOURCE
CACHE = os.environ["LUMNID_CACHE"] if "LUMNID_CACHE" in os.environ else \
    "/var/tmp/lumnid-packages"
MARK = os.environ.get("LUMNID_MARK", "lumnid")
SUITES = ("bookworm", "trixie")
# What a machine needs to boot, to install debs and rpms, and to run lumnid.
BASE = "systemd,systemd-sysv,dbus,ca-certificates,rpm"
RUNTIME = {
    "bookworm": "libcurl4,libevent-core-2.1-7,libevent-extra-2.1-7,"
                "libjson-c5,libmsgpackc2,libpcre2-8-0,libssl3,libxxhash0,"
                "libyaml-0-2,libzstd1",
    "trixie": "libcurl4t64,libevent-core-2.1-7t64,libevent-extra-2.1-7t64,"
              "libjson-c5,libmsgpack-c2,libpcre2-8-0,libssl3t64,libxxhash0,"
              "libyaml-0-2,libzstd1",
}


def run(argv, seconds=900, env=None, **kw):
    """Run to the end; a failure shows what was said. Returns its output."""
    done = subprocess.run(argv, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, errors="replace", check=False,
                          timeout=seconds * lumnid_it.SLOW,
                          env=dict(os.environ, **(env or {})), **kw)
    if done.returncode != 0:
        raise Failure(f"{' '.join(argv)}: exit status {done.returncode}\n"
                      + "\n".join(done.stdout.split("\n")[-80:]))
    return done.stdout


def need(*tools):
    """Skip where a tool is absent."""
    for tool in tools:
        if shutil.which(tool) is None:
            raise Skip(f"{tool} is not installed")


def need_root():
    if os.geteuid() != 0:
        raise Skip("needs root, for chroot and systemd-nspawn")


@contextlib.contextmanager
def cache_lock(name):
    """What is made once is made by one process."""
    os.makedirs(CACHE, mode=0o755, exist_ok=True)
    with open(os.path.join(CACHE, name + ".lock"), "w",
              encoding="ascii") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        yield


# --- trees -------------------------------------------------------------------

def tree_archive(suite):
    """The path of a tar archive of a Debian release that can be booted."""
    need_root()
    need("mmdebstrap")
    packages = BASE + "," + RUNTIME[suite]
    mark = hashlib.sha256(packages.encode()).hexdigest()[:12]
    path = os.path.join(CACHE, f"{suite}-{mark}.tar")
    with cache_lock(suite):
        if not os.path.exists(path):
            run(["mmdebstrap", "-q", "--variant=minbase",
                 "--include=" + packages,
                 "--dpkgopt=force-unsafe-io",
                 "--customize-hook=rm -rf \"$1\"/usr/share/doc/*/* "
                 "\"$1\"/usr/share/locale/* \"$1\"/var/cache/apt/*",
                 "--customize-hook=echo lumnid-test >\"$1\"/etc/hostname",
                 suite, path + ".new.tar"])
            os.rename(path + ".new.tar", path)
    return path


def unpack_tree(archive, path):
    os.makedirs(path)
    run(["tar", "-C", path, "-xf", archive, "--numeric-owner",
         "--exclude=./dev/*"])


IN_TREE = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/",
           "TMPDIR": "/tmp", "LC_ALL": "C.UTF-8",
           "DEBIAN_FRONTEND": "noninteractive"}


@contextlib.contextmanager
def chroot(path):
    """A tree with /proc and /dev for a while; yields a function that runs a
    shell command in it."""
    mounts = []

    def mount(*args):
        run(["mount", *args])
        mounts.append(args[-1])
    try:
        mount("-t", "proc", "proc", os.path.join(path, "proc"))
        mount("--bind", "/dev", os.path.join(path, "dev"))
        yield lambda cmd, env=None, **kw: run(
            ["env", "-i", *(f"{k}={v}" for k, v in {
                **IN_TREE, **(env or {})}.items()),
             "chroot", path, "/bin/sh", "-ec", cmd], **kw)
    finally:
        for m in reversed(mounts):
            run(["umount", m])


# --- sources -----------------------------------------------------------------

def source_mark():
    """A name for the present state of what the packages are made of."""
    h = hashlib.sha256()
    for base, dirs, files in os.walk(SOURCE):
        dirs[:] = sorted(d for d in dirs if d not in (
            ".git", "autom4te.cache", "build-aux", "m4", "__pycache__",
            "node_modules", "it", "packages"))
        for name in sorted(files):
            path = os.path.join(base, name)
            if os.path.islink(path) or not os.path.isfile(path):
                continue
            with open(path, "rb") as f:
                h.update(os.path.relpath(path, SOURCE).encode() + b"\0")
                h.update(hashlib.sha256(f.read()).digest())
    return h.hexdigest()[:16]


def copy_source(path):
    """The sources as a clean clone has them."""
    os.makedirs(path)
    run(["sh", "-c", '. "$1/scripts/lib.sh"; copy_source "$1" "$2"', "sh",
         SOURCE, path])


def version():
    with open(os.path.join(SOURCE, "configure.ac"), encoding="utf-8") as f:
        for line in f:
            if line.startswith("AC_INIT([lumnid],["):
                return line.split("[")[2].split("]")[0]
    raise Failure("configure.ac has no version")


def git(*args, status=0):
    """A git command where the sources came from; None where it fails."""
    done = subprocess.run(
        ["git", "-c", "safe.directory=*", "-C",
         os.environ.get("LUMNID_GIT", SOURCE), *args],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True, check=False)
    return done.stdout.strip() if done.returncode == status else None


def previous_commits():
    """What an upgrade begins with, the best first: the newest tag before the
    present commit, or the commits before it. Of a release's archive, or of a
    clone without history, there are none. $LUMNID_PREVIOUS names another."""
    if os.environ.get("LUMNID_PREVIOUS"):
        return [os.environ["LUMNID_PREVIOUS"]]
    if shutil.which("git") is None or git("rev-parse", "HEAD") is None:
        return []
    # What is not committed yet comes after the present commit.
    edited = git("status", "--porcelain", "--untracked-files=no")
    first = "HEAD" if edited else "HEAD^"
    tag = git("describe", "--tags", "--abbrev=0", first)
    before = git("rev-list", "--first-parent", "-n", "4", first)
    return ([tag] if tag else []) + (before.split() if before else [])


def copy_commit(commit, path):
    os.makedirs(path)
    archive = path + ".tar"
    if git("archive", "-o", archive, commit) is None:
        raise Failure(f"git archive {commit} failed")
    run(["tar", "-C", path, "-xf", archive])
    os.remove(archive)


# --- packages ----------------------------------------------------------------

def built(what, build):
    """The directory with the results of build(dir), made once for these
    sources."""
    path = os.path.join(CACHE, f"{what}-{source_mark()}")
    with cache_lock(what):
        if not os.path.exists(path):
            for old in glob.glob(os.path.join(CACHE, what + "-*")):
                if os.path.isdir(old):
                    shutil.rmtree(old)
            tmp = os.path.join(CACHE, "new-" + what)
            shutil.rmtree(tmp, ignore_errors=True)
            os.makedirs(tmp)
            build(tmp)
            os.rename(tmp, path)
    return path


def built_previous(what, build):
    """As built(), of the previous commit: build(dir, copy), where copy(path)
    unpacks its sources. One that cannot be built is passed over: the present
    one may be what mends it. At worst the sources are the present ones."""
    def first_that_builds(where):
        for commit in previous_commits():
            here = os.path.join(where, "of")
            os.mkdir(here)
            try:
                build(here, lambda path, c=commit: copy_commit(c, path))
            except Failure as e:
                print(f"# {what}: {commit} was not built: {e}", flush=True)
                shutil.rmtree(here)
                continue
            name = git("describe", "--tags", "--always", commit) or commit
            break
        else:
            here = os.path.join(where, "of")
            os.mkdir(here)
            build(here, copy_source)
            name = "the same sources, as there is no commit before them"
        with open(os.path.join(where, "name"), "w", encoding="utf-8") as f:
            f.write(name)
    path = built(what, first_that_builds)
    with open(os.path.join(path, "name"), encoding="utf-8") as f:
        print(f"# {what}: made from {f.read()}", flush=True)
    return os.path.join(path, "of")


def jobs():
    return str(os.cpu_count() or 1)


def deb_options():
    """The unit tests have run elsewhere."""
    return {"DEB_BUILD_OPTIONS": f"nocheck parallel={jobs()}",
            "DEB_BUILD_PROFILES": "nocheck"}


def ccache():
    """For what is built more than once, and nearly the same, in one place.
    What a build is compared with is built without it."""
    if shutil.which("ccache") is None:
        return {}
    return {"CC": "ccache gcc", "CCACHE_DIR": os.path.join(CACHE, "ccache")}


def keep(made, where):
    """Take the files of a directory."""
    os.makedirs(where, exist_ok=True)
    for path in glob.glob(os.path.join(made, "*")):
        if os.path.isfile(path):
            shutil.copy2(path, where)


def make_packages(source, where, env=None, rpmflags="", more=":"):
    """configure, make deb and make rpm, as far as there are tools for it; the
    packages lie in where/deb and where/rpm then. more: a command after."""
    full = {**deb_options(), **(env or {})}
    run(["sh", "-ec", "test -e build-aux/install-sh || autoreconf -i; "
         "./configure"], cwd=source, env=full)
    if shutil.which("dh"):
        run(["make", "deb"], cwd=source, env=full)
        keep(os.path.join(source, "_deb"), os.path.join(where, "deb"))
    if shutil.which("rpmbuild"):
        run(["make", "rpm", "RPMFLAGS=" + rpmflags], cwd=source, env=full)
        for made in glob.glob(os.path.join(source, "_rpm", "*RPMS")) + \
                glob.glob(os.path.join(source, "_rpm", "RPMS", "*")):
            keep(made, os.path.join(where, "rpm"))
    run(["sh", "-ec", more], cwd=source, env=full)


def build_here(where, copy, rpmflags="", more=":"):
    """Always in the same place, for ccache."""
    with cache_lock("place"):
        source = os.path.join(CACHE, "here", "source")
        shutil.rmtree(source, ignore_errors=True)
        copy(source)
        make_packages(source, where, ccache(), rpmflags, more)
        shutil.rmtree(source)


def built_here():
    """Everything from a clean clone, on this host: deb/, rpm/, and in dist/
    the archive of make dist."""
    def build(where):
        dist = os.path.join(where, "dist")
        os.mkdir(dist)
        build_here(where, copy_source, more=f"make dist; "
                   f"mv lumnid-*.tar.xz '{dist}'")
    return built("here", build)


# Whatever of the surroundings could get into a package.
ELSEWHERE = {"TZ": "Pacific/Kiritimati", "LC_ALL": "C.UTF-8",
             "HOME": "/nonexistent", "USER": "somebody"}


def built_from_archive():
    """The packages made from what make dist packs, elsewhere, deeper, and
    with another umask; the directory with all of them."""
    def build(where):
        deep = os.path.join(where, "some", "where", "else")
        os.makedirs(deep)
        run(["sh", "-ec", "umask 077; tar xf \"$0\"/lumnid-*.tar.xz",
             os.path.join(built_here(), "dist")], cwd=deep)
        make_packages(os.path.join(deep, "lumnid-" + version()), where,
                      ELSEWHERE)
        shutil.rmtree(os.path.join(where, "some"))
    return built("archive", build)


def built_here_previous():
    return built_previous("previous", lambda where, copy: build_here(
        where, copy, "--define 'dist ~1'"))


def build_depends():
    """As packaging/deb/control has them, but for those of the tests."""
    path = os.path.join(SOURCE, "packaging", "deb", "control")
    with open(path, encoding="utf-8") as f:
        said = re.search(r"^Build-Depends:((?:.*\n)(?: .*\n)*)", f.read(),
                         re.M).group(1)
    return ", ".join(" ".join(x.split()) for x in said.split(",")
                     if "<!nocheck>" not in x)


@contextlib.contextmanager
def build_tree(suite):
    """A tree in which the debs for a release can be built."""
    with cache_lock(f"{suite}-build"):
        tree = os.path.join(CACHE, f"{suite}-build")
        mark = hashlib.sha256(build_depends().encode()).hexdigest()[:12]
        done = os.path.join(tree, "made-for-" + mark)
        if not os.path.exists(done):
            shutil.rmtree(tree, ignore_errors=True)
            unpack_tree(tree_archive(suite), tree)
            shutil.copy("/etc/resolv.conf", os.path.join(tree, "etc"))
            with chroot(tree) as sh:
                sh("apt-get -q update; apt-get -q -y "
                   "--no-install-recommends -o Dpkg::Options::="
                   "--force-unsafe-io satisfy 'build-essential, "
                   f"fakeroot, {build_depends()}'")
            with open(done, "w", encoding="ascii"):
                pass
        shutil.rmtree(os.path.join(tree, "build"), ignore_errors=True)
        yield tree


def build_in_tree(suite, sources, where):
    """The debs for a release, from the source package in a directory. They
    are for living with; of the host's, compilers and checks see all."""
    with build_tree(suite) as tree:
        keep(sources, os.path.join(tree, "build"))
        with chroot(tree) as sh:
            sh("cd /build && rm -f *.deb && dpkg-source -x *.dsc lumnid && "
               "cd lumnid && dpkg-buildpackage -us -uc -b",
               env={"DEB_BUILD_OPTIONS": deb_options()["DEB_BUILD_OPTIONS"] +
                    " noopt noautodbgsym", "DEB_BUILD_PROFILES": "nocheck"})
        for path in glob.glob(os.path.join(tree, "build", "*.deb")):
            shutil.copy2(path, where)


def host_suite():
    with open("/etc/os-release", encoding="utf-8") as f:
        for line in f:
            if line.startswith("VERSION_CODENAME="):
                return line.split("=")[1].strip().strip('"')
    return None


def one_of(directory, pattern, but="-"):
    found = [p for p in glob.glob(os.path.join(directory, pattern))
             if not p.endswith(but)]
    if len(found) != 1:
        raise Failure(f"{pattern}: {len(found)} packages of that name: "
                      f"{found}")
    return found[0]


def debs(suite):
    """The directory with the debs for a release."""
    need("dh")
    here = os.path.join(built_here(), "deb")
    if suite == host_suite():
        return here
    return built("deb-" + suite,
                 lambda where: build_in_tree(suite, here, where))


def deb(suite, name):
    return one_of(debs(suite), name + "_*.deb")


def previous_deb(suite, where):
    """The deb of lumnid that came before, with a lower version."""
    need("dh")
    directory = os.path.join(built_here_previous(), "deb")
    if suite != host_suite():
        here = directory
        try:
            directory = built("previous-" + suite, lambda where:
                              build_in_tree(suite, here, where))
        except Failure as e:
            print(f"# previous-{suite}: not built, the present one takes its "
                  f"place: {e}", flush=True)
            directory = debs(suite)
    path = one_of(directory, "lumnid_*.deb")
    old = run(["dpkg-deb", "-f", path, "Version"]).strip()
    if subprocess.run(["dpkg", "--compare-versions", old, "lt",
                       version() + "-1"], check=False).returncode == 0:
        return path
    return another_version(path, version() + "~1-1", where)


def rpms():
    """The directory with the rpms."""
    need("rpmbuild")
    return os.path.join(built_here(), "rpm")


def rpm(name):
    return one_of(rpms(), name + "-[0-9]*.rpm", but=".src.rpm")


def previous_rpms():
    """The rpms that came before, of a lower release at least."""
    need("rpmbuild")
    return os.path.join(built_here_previous(), "rpm")


def previous_rpm(name):
    return one_of(previous_rpms(), name + "-[0-9]*.rpm", but=".src.rpm")


def another_version(path, new, where, edit=None):
    """The same deb with another version number, as the release before or
    after would be, and with what edit(its tree) makes of it; its path."""
    tree = os.path.join(where, "repack-" + new)
    run(["dpkg-deb", "-R", path, tree])
    control = os.path.join(tree, "DEBIAN", "control")
    with open(control, encoding="utf-8") as f:
        lines = f.readlines()
    with open(control, "w", encoding="utf-8") as f:
        f.writelines(f"Version: {new}\n" if x.startswith("Version:") else x
                     for x in lines)
    if edit:
        edit(tree)
    out = os.path.join(where, f"lumnid_{new}.deb")
    run(["dpkg-deb", "--root-owner-group", "-Znone", "-b", tree, out])
    shutil.rmtree(tree)
    return out


# --- machines ----------------------------------------------------------------

CLONE_NEWNS = 0x00020000
CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def enter(pid, kind, flag):
    """Enter a namespace of a process; as setns(2)."""
    with open(f"/proc/{pid}/ns/{kind}", encoding="ascii") as f:
        if _libc.setns(f.fileno(), flag) < 0:
            raise OSError(ctypes.get_errno(), f"setns {kind}")


class Machine:
    """A Debian release booted in systemd-nspawn."""

    def __init__(self, case, suite):
        need_root()
        need("systemd-nspawn", "nsenter")
        self.case = case
        self.name = f"{MARK}-{os.getpid()}-{len(case.processes)}"
        self.tree = os.path.join(case.dir, self.name)
        unpack_tree(tree_archive(suite), self.tree)
        self.groups = []
        self.proc = None
        self.leader = None
        case.files.callback(self.remove)
        self.boot()

    def boot(self):
        for base in ("systemd", "unified"):
            path = f"/sys/fs/cgroup/{base}"
            if os.path.isdir(path):
                os.makedirs(os.path.join(path, self.name), exist_ok=True)
                self.groups.append(os.path.join(path, self.name))
        enter_groups = "".join(f"echo $$ >'{g}/cgroup.procs'; "
                               for g in self.groups)
        log = os.path.join(self.case.dir, self.name + ".log")
        with open(log, "wb") as out:
            self.proc = subprocess.Popen(
                ["sh", "-c", enter_groups +
                 "exec systemd-nspawn --boot --register=no --keep-unit "
                 f"-D '{self.tree}' -M {self.name} --private-network "
                 "--resolv-conf=off --timezone=off "
                 "--console=pipe --link-journal=no"],
                stdin=subprocess.DEVNULL, stdout=out,
                stderr=subprocess.STDOUT, start_new_session=True,
                env=dict(os.environ, SYSTEMD_NSPAWN_UNIFIED_HIERARCHY="1"))

        def said():
            with open(log, encoding="utf-8", errors="replace") as f:
                return "\n".join(f.read().split("\n")[-30:])

        def leader():
            if self.proc.poll() is not None:
                raise Skip("systemd-nspawn cannot start: " + said())
            # Not the first child, which is there for a moment only.
            base = f"/proc/{self.proc.pid}/task/{self.proc.pid}/children"
            with contextlib.suppress(OSError):
                with open(base, encoding="ascii") as f:
                    children = f.read().split()
                for pid in children:
                    with open(f"/proc/{pid}/status", encoding="ascii") as f:
                        if re.search(r"^NSpid:\t\d+\t1$", f.read(), re.M):
                            return int(pid)
            return None
        self.leader = wait_for("the machine's first process", leader, 30,
                               context=said)

        def running():
            if self.proc.poll() is not None:
                raise Skip("systemd-nspawn cannot start: " + said())
            state = self.try_sh("systemctl is-system-running")[1].strip()
            return state in ("running", "degraded") and state
        state = wait_for("the machine's boot", running, 60, 0.1, said)
        if state != "running":
            raise Failure("after the boot: " + self.sh(
                "systemctl --failed --no-legend"))

    def off(self):
        """Power off, in order."""
        if self.proc is None:
            return
        # nspawn passes on the signal that systemd takes as "halt".
        self.proc.send_signal(signal.SIGTERM)
        try:
            self.proc.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(self.proc.pid, signal.SIGKILL)
            self.proc.wait()
        self.proc = None
        for g in self.groups:
            for base, dirs, _ in os.walk(g, topdown=False):
                for d in dirs:
                    with contextlib.suppress(OSError):
                        os.rmdir(os.path.join(base, d))
            with contextlib.suppress(OSError):
                os.rmdir(g)
        self.groups = []

    def remove(self):
        self.off()
        shutil.rmtree(self.tree, ignore_errors=True)

    def enter_argv(self):
        return ["nsenter", "-t", str(self.leader), "-m", "-u", "-i", "-n",
                "-p", "--root", "--wd"]

    def try_sh(self, command, seconds=120):
        """A shell command in the machine, as root: (status, output)."""
        done = subprocess.run(
            [*self.enter_argv(), "/bin/sh", "-c", command],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors="replace",
            timeout=seconds * lumnid_it.SLOW, check=False, env={
                "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C",
                "HOME": "/root", "DEBIAN_FRONTEND": "noninteractive",
                "SYSTEMD_PAGER": ""})
        return done.returncode, done.stdout

    def sh(self, command, status=0, seconds=120):
        got, out = self.try_sh(command, seconds)
        if got != status:
            raise Failure(f"in the machine: {command}\nexit status {got}\n"
                          f"{out}\n{self.logs()}")
        return out

    def logs(self):
        return self.try_sh("systemctl --no-pager -l status lumnid.service "
                           "lumnid.socket; journalctl --no-pager -n 60 "
                           "-u lumnid.service")[1]

    def put(self, path, inside="/root"):
        """Copy a file into the machine; the path there."""
        where = os.path.join(inside, os.path.basename(path))
        shutil.copy(path, self.tree + where)
        return where

    def write(self, inside, text, mode=0o644):
        with open(self.tree + inside, "w", encoding="utf-8") as f:
            f.write(text)
        os.chmod(self.tree + inside, mode)

    def show(self, unit, prop):
        return self.sh(f"systemctl show -p {prop} --value {unit}").strip()

    @contextlib.contextmanager
    def network(self):
        """The machine's network, for this process and those it starts."""
        with open("/proc/self/ns/net", encoding="ascii") as home:
            enter(self.leader, "net", CLONE_NEWNET)
            try:
                yield
            finally:
                if _libc.setns(home.fileno(), CLONE_NEWNET) < 0:
                    raise OSError(ctypes.get_errno(), "setns home")

    def start_as_user(self, uid, gids, fn):
        """Call fn() in a child in the machine's file system, as that user.
        Its result() is what fn returns (a str), or the exception's text."""
        r, w = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                signal.alarm(0)
                os.close(r)
                enter(self.leader, "mnt", CLONE_NEWNS)
                os.setgroups(gids)
                os.setresgid(gids[0], gids[0], gids[0])
                os.setresuid(uid, uid, uid)
                text = fn()
            except BaseException as e:  # told to the parent
                text = f"{type(e).__name__}: {e}"
            with os.fdopen(w, "w", encoding="utf-8") as f:
                f.write(text)
            os._exit(0)
        os.close(w)
        child = Child(pid, r)
        self.case.files.callback(child.kill)
        return child

    def as_user(self, uid, gids, fn):
        return self.start_as_user(uid, gids, fn).result()


class Child:
    def __init__(self, pid, fd):
        self.pid = pid
        self.fd = fd

    def result(self):
        with os.fdopen(self.fd, encoding="utf-8") as f:
            text = f.read()
        os.waitpid(self.pid, 0)
        self.pid = None
        return text

    def kill(self):
        if self.pid is not None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.pid = None


def main(limit=600):
    lumnid_it.main(limit)


def prepare(what, *more):
    """Make what several tests wait for, or one for long, now."""
    if what == "here":
        built_here()
    elif what == "previous":
        built_here_previous()
    elif what == "archive":
        built_from_archive()
    elif what == "tree":
        tree_archive(more[0])
        if more[0] != host_suite():
            with build_tree(more[0]):
                pass


if __name__ == "__main__":
    prepare(*sys.argv[1:])
