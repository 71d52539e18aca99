"""What `pip wheel` packs."""

from __future__ import annotations

import zipfile
from configparser import ConfigParser

from isonet_scipion.tests.install.wheel import PACKAGE, build_wheel, copy_sources


def test_wheel_holds_the_whole_package_and_its_entry_points(tmp_path):
    sources = tmp_path / "sources"
    sources.mkdir()
    with zipfile.ZipFile(build_wheel(copy_sources(sources), tmp_path)) as wheel:
        files = {name for name in wheel.namelist() if ".dist-info/" not in name}
        (entry_points,) = (name for name in wheel.namelist() if name.endswith("/entry_points.txt"))
        parser = ConfigParser()
        parser.read_string(wheel.read(entry_points).decode())
        assert any(name.endswith("LICENSE") for name in wheel.namelist())
    paths = {path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    package = {path.relative_to(PACKAGE.parent).as_posix() for path in paths}
    assert {name for name in files if "/tests/" not in name} == {name for name in package if "/tests/" not in name}
    tests = {name for name in files if "/tests/" in name}
    assert {
        f"isonet_scipion/tests/{name}.py" for name in ("__init__", "protocols/__init__", "protocols/test_chain")
    } < tests
    # of the tests those that need no pytest
    assert tests < package and "isonet_scipion/tests/protocols/conftest.py" not in tests
    assert all("/tests/protocols/" in name or name.count("/") == 2 for name in tests)
    data = ("protocols.conf", "icon.png", "templates/isonet.json.template")
    assert {f"isonet_scipion/{name}" for name in data} <= files
    assert dict(parser["pyworkflow.plugin"]) == {"isonet_scipion": "isonet_scipion"}
    assert dict(parser["console_scripts"]) == {"isonet-engine": "isonet_scipion.engine.__main__:start"}
