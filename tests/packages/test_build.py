"""What the packages are made of: the same bytes each time, hardened programs,
nothing that lintian or rpmlint has to say, and no file too many."""

import glob
import hashlib
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.dirname(__file__))
import pkg  # noqa: E402
from pkg import Failure, run  # noqa: E402


def host():
    suite = pkg.host_suite()
    if suite not in pkg.SUITES:
        raise pkg.Skip("this is neither Debian 12 nor 13")
    return suite


def sums(paths):
    found = {}
    for path in paths:
        with open(path, "rb") as f:
            found[os.path.basename(path)] = \
                hashlib.sha256(f.read()).hexdigest()
    return found


def sums_in(directory, *kinds):
    return sums(p for k in kinds
                for p in glob.glob(os.path.join(directory, k)))


def test_debs_are_reproducible(t):
    """From a clone and from the archive, in two places: the same bytes."""
    pkg.need("dpkg-buildpackage", "dh")
    kinds = ("*.deb", "*.dsc", "*.tar.xz")
    first = sums_in(pkg.debs(host()), *kinds)
    second = sums_in(os.path.join(pkg.built_from_archive(), "deb"), *kinds)
    t.equal(second, first, "packages")
    t.true(len(first) >= 8, f"few packages: {sorted(first)}")


def test_rpms_are_reproducible(t):
    pkg.need("rpmbuild")
    first = sums_in(pkg.rpms(), "*.rpm")
    second = sums_in(os.path.join(pkg.built_from_archive(), "rpm"), "*.rpm")
    t.equal(second, first, "packages")
    t.true(len(first) >= 5, f"few packages: {sorted(first)}")


def test_lintian(t):
    pkg.need("lintian")
    changes = glob.glob(os.path.join(pkg.debs(host()), "*.changes"))
    out = run(["lintian", "--allow-root", "-I", "--pedantic",
               "--fail-on", "error,warning", *changes])
    left = [x for x in out.split("\n") if x and x[0] in "EWIPX"]
    t.equal(left, [], "what lintian says")


def test_rpmlint(t):
    pkg.need("rpmlint")
    done = subprocess.run(
        ["rpmlint", "-c", os.path.join(pkg.SOURCE, "packaging", "rpm",
                                       "rpmlint.toml"),
         *glob.glob(os.path.join(pkg.rpms(), "*.rpm"))],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        check=False)
    t.true(done.returncode == 0 and "0 errors, 0 warnings" in done.stdout,
           done.stdout)


def unpacked(t, name):
    path = os.path.join(t.dir, name)
    run(["dpkg-deb", "-x", pkg.deb(host(), name), path])
    return path


def files(path):
    return sorted(os.path.relpath(os.path.join(base, f), path)
                  for base, _, names in os.walk(path) for f in names)


def test_hardening(t):
    pkg.need("hardening-check")
    pkg.deb(host(), "lumnid-dbgsym")
    pkg.deb(host(), "liblumni0-dbgsym")
    daemon = unpacked(t, "lumnid")
    # Debian 12's start files are without control flow protection.
    run(["hardening-check", "--nocfprotection", daemon + "/usr/sbin/lumnid",
         daemon + "/usr/bin/lumnictl"])
    lib = unpacked(t, "liblumni0")
    so = glob.glob(lib + "/usr/lib/*/liblumni.so.*.*")[0]
    # Of its calls none can be checked; see the override for lintian.
    run(["hardening-check", "--nocfprotection", "--nopie", "--nofortify",
         so])


def test_contents(t):
    """Each program has its manual; both families have the same files."""
    deb = unpacked(t, "lumnid")
    have = files(deb)
    for name, section in (("sbin/lumnid", 8), ("bin/lumnictl", 1)):
        t.true("usr/" + name in have, name)
        man = f"usr/share/man/man{section}/{name.split('/')[1]}.{section}.gz"
        t.true(man in have, f"{man} is absent")
    for completion in ("bash-completion/completions/lumnictl",
                       "zsh/vendor-completions/_lumnictl"):
        t.true("usr/share/" + completion in have, completion)
    conffiles = run(["dpkg-deb", "-I", pkg.deb(host(), "lumnid"),
                     "conffiles"])
    t.equal(conffiles.split(), ["/etc/lumnid/lumnid.yaml"], "conffiles")
    said = run([deb + "/usr/sbin/lumnid", "--version"]).split()
    t.equal(said[1], pkg.version(), "version")
    run([deb + "/usr/sbin/lumnid", "-c", deb + "/etc/lumnid/lumnid.yaml",
         "--check-config"])

    def names(paths):
        """Without what differs by family: directories, packaging's own."""
        return sorted({os.path.basename(p) for p in paths
                       if not re.search(r"changelog|copyright|lintian", p)})
    for d, r in (("lumnid", "lumnid"), ("liblumni0", "liblumni"),
                 ("liblumni-dev", "liblumni-devel"),
                 ("python3-lumni", "python3-lumni")):
        out = run(["rpm", "-qpl", pkg.rpm(r)]).split()
        plain = [p[:-3] if p.endswith(("README.gz", ".md.gz")) else p
                 for p in names_of(t, d)]
        dirs = {os.path.dirname(p) for p in out}
        t.equal(names(plain), names(p for p in out if p not in dirs), d)


def names_of(t, name):
    path = os.path.join(t.dir, name)
    if not os.path.exists(path):
        unpacked(t, name)
    return files(path)


def test_library(t):
    """A program is built with what the -dev package has, and runs with what
    the library's has."""
    pkg.need("cc", "pkg-config")
    root = os.path.join(t.dir, "root")
    for name in ("liblumni0", "liblumni-dev"):
        run(["dpkg-deb", "-x", pkg.deb(host(), name), root])
    lib = os.path.dirname(glob.glob(root + "/usr/lib/*/liblumni.a")[0])
    source = os.path.join(t.dir, "a.c")
    with open(source, "w", encoding="utf-8") as f:
        f.write('#include <lumni.h>\n#include <stdio.h>\n'
                'int main(void) { return puts(lumni_version()) < 0; }\n')
    flags = run(["pkg-config", "--cflags", "--libs", "lumni"], env={
        "PKG_CONFIG_SYSROOT_DIR": root,
        "PKG_CONFIG_PATH": os.path.join(lib, "pkgconfig")}).split()
    run(["cc", "-o", t.dir + "/a", source, *flags])
    said = run([t.dir + "/a"], env={"LD_LIBRARY_PATH": lib})
    t.equal(said.strip(), pkg.version(), "version")
    needed = run(["objdump", "-p", glob.glob(lib + "/liblumni.so.*.*")[0]])
    t.equal(re.findall(r"NEEDED\s+(\S+)", needed), ["libc.so.6"], "needs")
    if not glob.glob(lib + "/liblumni.so.0"):
        raise Failure("no link of the library's soname")


if __name__ == "__main__":
    pkg.main(900)
