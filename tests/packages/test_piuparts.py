"""piuparts installs, removes and purges the debs in a clean chroot and looks
for what they leave behind."""

import glob
import os
import re
import sys

sys.path.insert(0, os.path.dirname(__file__))
import pkg  # noqa: E402
from pkg import run  # noqa: E402


def mirror():
    """The mirror and the components that this host uses."""
    text = run(["sh", "-c", "cat /etc/apt/sources.list "
                "/etc/apt/sources.list.d/* 2>/dev/null || :"])
    m = re.search(r"^URIs: (\S+)", text, re.M) or \
        re.search(r"^deb (?:\[[^]]*\] )?(\S+)", text, re.M)
    return m.group(1) + " main"


def test_piuparts(t):
    pkg.need("piuparts")
    pkg.need_root()
    suite = pkg.host_suite()
    if suite not in pkg.SUITES:
        raise pkg.Skip("this is neither Debian 12 nor 13")
    base = os.path.join(t.dir, "base.tar.gz")
    run(["sh", "-c", f"gzip -1 <'{pkg.tree_archive(suite)}' >'{base}'"])
    debs = [p for p in glob.glob(os.path.join(pkg.debs(suite), "*.deb"))
            if "dbgsym" not in p]
    out = run(["piuparts", "-d", suite, "-b", base, "-m", mirror(),
               "--no-eatmydata", "--no-upgrade-test",
               "--warn-on-debsums-errors", "--tmpdir", t.dir, *debs])
    t.true("PASS: All tests" in out, out[-3000:])


if __name__ == "__main__":
    pkg.main()
