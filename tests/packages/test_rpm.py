"""The rpm's life: its scriptlets under a booted systemd (of Debian, as there
is no other to be had), and its dependencies through dnf."""

import glob
import os
import re
import sys

sys.path.insert(0, os.path.dirname(__file__))
import pkg  # noqa: E402
import test_deb as life  # noqa: E402
from pkg import run  # noqa: E402

RPM = "rpm --dbpath /var/lib/rpm --nodeps --force-debian"


class Host(life.Host):
    def install(self, package, more="-i"):
        return self.m.sh(f"{RPM} {more} {self.m.put(package)} 2>&1")


def suite():
    """The rpms are built here, and so run in a tree of this release."""
    if pkg.host_suite() not in pkg.SUITES:
        raise pkg.Skip("this is neither Debian 12 nor 13")
    return pkg.host_suite()


def test_life(t):
    where = suite()
    old = pkg.previous_rpm("lumnid")
    new = pkg.rpm("lumnid")
    h = Host(t, where, old)
    m = h.m
    m.sh("systemctl is-enabled lumnid.socket lumnid.service")
    t.equal(m.try_sh("systemctl is-active lumnid.service")[1].strip(),
            "inactive", "an rpm starts nothing by itself")
    m.sh("systemctl start lumnid.socket lumnid.service")
    h.must_send(life.events("early", 1, end=True))
    t.true("PermissionError" in h.send(life.events("x", 1), h.other),
           "who is not in the group may not send")
    sent = {"early": [1], "open": [1]}
    h.must_send(life.events("open", 1))

    up = h.upstream()
    h.configure()
    m.sh("systemctl restart lumnid.service")
    with m.network():
        up.wait_sums(events=1)
    edited = m.sh(f"cat {life.CONF}")
    life.change(h, lambda: h.install(new, "-U"), sent)
    t.equal(m.sh(f"cat {life.CONF}"), edited, "the edited file")
    t.equal(m.sh("rpm --dbpath /var/lib/rpm -q --qf '%{VERSION}-%{RELEASE}' "
                 "lumnid"), pkg.version() + "-1", "version")
    life.check_process(h)
    life.check_files(h)
    life.change(h, lambda: h.install(old, "-U --oldpackage"), sent)
    out = m.try_sh(f"{RPM} -V lumnid")[1]
    t.equal([x.split()[-1] for x in out.strip().split("\n") if x],
            [life.CONF], "what rpm -V finds changed")

    h.must_send(life.events("open", 2, end=True))
    sent["open"].append(2)
    m.sh("sed -i '$a runs: {idle: 100ms}' " + life.CONF +
         " && systemctl reload lumnid")
    h.wait_delivered(sent)
    t.check_runs(sent)
    up.kill()
    h.must_send(life.events("kept", 1, end=True))
    sent["kept"] = [1]

    text = m.sh(f"{RPM} -e lumnid 2>&1")
    t.true("not delivered stays in /var/lib/lumnid" in text, text)
    m.sh(f"test -e {life.CONF}.rpmsave && test -d /var/lib/lumnid")
    m.sh(f"! test -e {life.SOCKET}; ! systemctl is-active lumnid.service "
         "lumnid.socket; ! systemctl is-enabled lumnid.service")
    h.install(new)
    m.sh(f"mv {life.CONF}.rpmsave {life.CONF}")
    h.upstream()
    m.sh("systemctl start lumnid.service")
    h.wait_delivered(sent)
    t.check_runs(sent)


STUB = """Name: stub
Version: 1
Release: 1
Summary: What a distribution has
License: none
BuildArch: noarch
{provides}
%description
What a distribution has.
%files
"""


def repository(t):
    """A repository with both releases, and with a stub for all that they
    require of a distribution."""
    repo = os.path.join(t.dir, "repo")
    os.mkdir(repo)
    ours = []
    for directory in (pkg.previous_rpms(), pkg.rpms()):
        ours += [p for p in glob.glob(os.path.join(directory, "*.rpm"))
                 if not p.endswith(".src.rpm")]
    for path in ours:
        os.symlink(path, os.path.join(repo, os.path.basename(path)))
    needs = {x for p in ours for x in run(["rpm", "-qpR", p]).split("\n")
             if x and not x.startswith(("rpmlib(", "liblumni", "lumnid",
                                        "config("))}
    spec = os.path.join(t.dir, "stub.spec")
    with open(spec, "w", encoding="utf-8") as f:
        f.write(STUB.format(provides="\n".join(
            "Provides: " + re.sub(" >=? ", " = ", x) for x in sorted(needs))))
    run(["rpmbuild", "-bb", "--define", f"_topdir {t.dir}/stub", spec])
    for path in glob.glob(t.dir + "/stub/RPMS/*/*.rpm"):
        os.rename(path, os.path.join(repo, os.path.basename(path)))
    run(["createrepo_c", "-q", repo])
    return repo


def test_dnf(t):
    """Installed, upgraded, downgraded and removed by dnf."""
    pkg.need("dnf", "createrepo_c", "rpmbuild")
    tree = os.path.join(t.dir, "tree")
    base = pkg.tree_archive(suite())
    repo = repository(t)
    pkg.unpack_tree(base, tree)

    def dnf(*args):
        return run(["dnf", "-y", "--installroot", tree,
                    f"--repofrompath=local,file://{repo}", "--repo=local",
                    "--nogpgcheck", "--releasever=1",
                    "--setopt=reposdir=NONE", *args])

    def release():
        return run(["rpm", "--root", tree, "-q", "--qf",
                    "%{VERSION}-%{RELEASE}", "lumnid"])
    old, new = (run(["rpm", "-qp", "--qf", "%{VERSION}-%{RELEASE}",
                     f("lumnid")]) for f in (pkg.previous_rpm, pkg.rpm))
    with pkg.chroot(tree) as sh:
        dnf("install", "lumnid-" + old, "liblumni-devel-" + old)
        sh("id lumnid; test -d /run/lumnid; lumnid --version")
        t.equal(sh("stat -c '%U:%G %a' /etc/lumnid/lumnid.yaml").strip(),
                "root:lumnid 640", "the configuration")
        sh("echo '# edited' >>/etc/lumnid/lumnid.yaml")
        dnf("upgrade", "lumnid", "liblumni-devel")
        t.equal(release(), new, "release")
        dnf("install", "python3-lumni")
        sh("test -e /usr/lib/python3/dist-packages/lumni/__init__.py")
        dnf("downgrade", "lumnid-" + old)
        t.equal(release(), old, "release")
        sh("grep -q edited /etc/lumnid/lumnid.yaml")
        dnf("remove", "lumnid", "liblumni-devel", "liblumni", "python3-lumni")
        sh("! test -e /usr/sbin/lumnid; "
           "test -e /etc/lumnid/lumnid.yaml.rpmsave")
        left = run(["rpm", "--root", tree, "-qa"])
        t.true("lumni" not in left, left)


if __name__ == "__main__":
    pkg.main(900)
