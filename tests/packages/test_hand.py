"""Without packages: make install into a booted Debian, and then the steps of
packaging/README, as they stand there; and make uninstall."""

import os
import re
import sys

sys.path.insert(0, os.path.dirname(__file__))
import pkg  # noqa: E402
import test_deb as life  # noqa: E402
from pkg import Failure, run  # noqa: E402


def readme_steps():
    """The commands of the section "By hand", but for building."""
    path = os.path.join(pkg.SOURCE, "packaging", "README")
    with open(path, encoding="utf-8") as f:
        text = f.read()
    section = re.search(r"^By hand\n-+\n(.*?)\n\S[^\n]*\n-+\n", text,
                        re.M | re.S).group(1)
    steps = re.findall(r"^    (.*)$", section, re.M)
    if "./configure --prefix=/usr --sysconfdir=/etc && make" not in steps[0]:
        raise Failure(f"README's steps begin with {steps[0]}")
    return steps[1:]


def tree_files(top):
    return {os.path.relpath(os.path.join(base, name), top)
            for base, dirs, files in os.walk(top) for name in dirs + files}


def test_by_hand(t):
    suite = pkg.host_suite()
    if suite not in pkg.SUITES:
        raise pkg.Skip("this is neither Debian 12 nor 13")
    build = pkg.lumnid_it.BUILD
    h = life.Host(t, suite)
    m = h.m
    run(["make", "install", f"DESTDIR={m.tree}"], cwd=build)
    steps = readme_steps()
    t.true(len(steps) >= 3, f"few steps: {steps}")
    for step in steps:
        m.sh(step)
    h.add_agent()
    life.check_files(h)
    life.check_process(h)
    h.must_send(life.events("early", 1, end=True))
    up = h.upstream()
    h.configure()
    m.sh("systemctl restart lumnid")
    with m.network():
        up.wait_sums(events=1)
    m.sh("systemctl disable --now lumnid.socket lumnid.service")
    t.check_runs({"early": [1]})

    # What an installation brings is gone after it; what was edited stays.
    said = run(["make", "uninstall", f"DESTDIR={m.tree}"], cwd=build)
    t.true("kept, as it was edited" in said, said)
    t.equal(m.sh("find /etc /usr -xdev ! -type d -name '*lumn*' "
                 "! -path '/etc/lumnid/*'").strip(), "", "left behind")


def test_destdir(t):
    """Below a directory: everything in the place that Debian and Fedora want,
    nothing elsewhere, and nothing left."""
    build = pkg.lumnid_it.BUILD
    for libdir in ("/usr/lib/x86_64-linux-gnu", "/usr/lib64"):
        root = os.path.join(t.dir, "root")
        run(["make", "install", f"DESTDIR={root}", f"libdir={libdir}"],
            cwd=build)
        have = tree_files(root)
        for want in ("usr/sbin/lumnid", "usr/bin/lumnictl",
                     "etc/lumnid/lumnid.yaml", "usr/include/lumni.h",
                     "usr/lib/systemd/system/lumnid.service",
                     "usr/lib/systemd/system/lumnid.socket",
                     "usr/lib/sysusers.d/lumnid.conf",
                     "usr/lib/tmpfiles.d/lumnid.conf",
                     "usr/share/man/man8/lumnid.8",
                     "usr/share/man/man1/lumnictl.1",
                     "usr/share/man/man5/lumnid.yaml.5",
                     "usr/share/bash-completion/completions/lumnictl",
                     "usr/share/zsh/site-functions/_lumnictl",
                     *(f"{libdir[1:]}/{x}" for x in (
                         "liblumni.a", "liblumni.so", "liblumni.so.0",
                         "pkgconfig/lumni.pc"))):
            t.true(want in have, f"{want} is absent: {sorted(have)}")
        t.equal({x.split("/")[0] for x in have}, {"usr", "etc"}, "places")
        with open(root + "/usr/lib/systemd/system/lumnid.service",
                  encoding="utf-8") as f:
            t.true("ExecStart=/usr/sbin/lumnid" in f.read(), "ExecStart")
        run(["make", "uninstall", f"DESTDIR={root}", f"libdir={libdir}"],
            cwd=build)
        left = {x for x in tree_files(root) if "lumni" in x or
                not os.path.isdir(os.path.join(root, x))}
        t.equal(left, set(), "left behind")


if __name__ == "__main__":
    pkg.main()
