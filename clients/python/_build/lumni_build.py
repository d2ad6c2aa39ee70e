"""The build backend of this package (PEP 517, PEP 660).

A wheel of pure Python is a zip file of the package and four lines about it;
written here, it installs without a network and without any build tool.
"""
import base64
import hashlib
import io
import os
import re
import tarfile
import time
import zipfile

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PACKAGE = "lumni"
# Zip files begin in 1980; a build gives the same bytes each time.
EPOCH = max(int(os.environ.get("SOURCE_DATE_EPOCH", "315532800")), 315532800)


def _read(name):
    with open(os.path.join(HERE, name), encoding="utf-8") as file:
        return file.read()


def _project(key):
    found = re.search(r'^%s = "([^"]*)"$' % re.escape(key),
                      _read("pyproject.toml"), re.M)
    return found.group(1)


def _name():
    return "%s-%s" % (PACKAGE, _project("version"))


def _metadata():
    lines = ["Metadata-Version: 2.1", "Name: " + PACKAGE,
             "Version: " + _project("version"),
             "Summary: " + _project("description"),
             "Requires-Python: " + _project("requires-python"),
             "Description-Content-Type: text/markdown", "",
             _read("README.md")]
    return "\n".join(lines)


def _modules():
    base = os.path.join(HERE, PACKAGE)
    for name in sorted(os.listdir(base)):
        if name.endswith(".py") or name == "py.typed":
            with open(os.path.join(base, name), "rb") as file:
                yield PACKAGE + "/" + name, file.read()


def _info():
    base = _name() + ".dist-info/"
    wheel = ("Wheel-Version: 1.0\nGenerator: lumni_build\n"
             "Root-Is-Purelib: true\nTag: py3-none-any\n")
    yield base + "METADATA", _metadata().encode()
    yield base + "WHEEL", wheel.encode()


def _write_wheel(directory, files):
    name = _name() + "-py3-none-any.whl"
    record = io.StringIO()
    with zipfile.ZipFile(os.path.join(directory, name), "w",
                         zipfile.ZIP_DEFLATED) as wheel:
        def add(path, data):
            info = zipfile.ZipInfo(path, time.gmtime(EPOCH)[:6])
            info.external_attr = 0o100644 << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            wheel.writestr(info, data)
        for path, data in files:
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest())
            record.write("%s,sha256=%s,%d\n" % (
                path, digest.rstrip(b"=").decode(), len(data)))
            add(path, data)
        path = _name() + ".dist-info/RECORD"
        record.write(path + ",,\n")
        add(path, record.getvalue().encode())
    return name


def build_wheel(wheel_directory, config_settings=None,
                metadata_directory=None):
    return _write_wheel(wheel_directory, list(_modules()) + list(_info()))


def build_editable(wheel_directory, config_settings=None,
                   metadata_directory=None):
    pth = (PACKAGE + ".pth", (HERE + "\n").encode())
    return _write_wheel(wheel_directory, [pth] + list(_info()))


def build_sdist(sdist_directory, config_settings=None):
    name = _name() + ".tar.gz"
    keep = ("pyproject.toml", "README.md", PACKAGE, "_build", "tests",
            "examples")

    def clean(info):
        if "__pycache__" in info.name:
            return None
        info.uid = info.gid = 0
        info.uname = info.gname = ""
        info.mtime = EPOCH
        return info

    with tarfile.open(os.path.join(sdist_directory, name), "w:gz",
                      format=tarfile.PAX_FORMAT) as tar:
        for entry in keep:
            tar.add(os.path.join(HERE, entry), _name() + "/" + entry,
                    filter=clean)
        data = _metadata().encode()
        info = tarfile.TarInfo(_name() + "/PKG-INFO")
        info.size = len(data)
        info.mtime = EPOCH
        tar.addfile(info, io.BytesIO(data))
    return name
