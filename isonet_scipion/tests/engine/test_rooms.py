"""The rules of the engine's rooms, as each room's first lines state them, by what its modules import and call."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2]
ENGINE = PACKAGE / "engine"
PREFIX = "isonet_scipion.engine"
# from the lowest up: a room imports those before it
ROOMS = ("settings", "process", "physics", "sampling", "measure", "io", "network", "reporting", "learning", "stages")
ASIDE = "simulation"  # imported by no room; it imports those below learning
SHARED = ("arrays", "command", "conventions", "errors", "wording")  # modules of the engine itself
ARRAYS = {"numpy", "scipy"}
FORMATS = {"csv", "emtable", "h5py", "imodmodel", "json", "mrcfile", "numcodecs", "zarr", "zipfile"}
KERAS = {"keras"}
BACKENDS = {"jax", "tensorflow", "torch"}
PICTURES = {"matplotlib", "html", "jinja2"}
# third-party and format modules that a room may import; what no room lists (click, psutil, ...) is free
ALLOWED = {
    "settings": set(),
    "process": KERAS | BACKENDS,  # for `device`; see below
    "physics": ARRAYS,
    "sampling": ARRAYS,
    "measure": ARRAYS,
    "io": ARRAYS | FORMATS,
    "network": ARRAYS | KERAS | {"h5py", "json", "zipfile"},
    "reporting": ARRAYS | PICTURES | {"json"},
    "learning": ARRAYS | KERAS | {"json"},
    "stages": ARRAYS | KERAS | {"json"},
    ASIDE: ARRAYS | KERAS,
}
OPENING = {"open", "read_text", "read_bytes", "write_text", "write_bytes", "memmap", "fromfile"}
# module: why it opens something although it is not in io
OPENS = {
    "cli": "the null device in place of a closed stream",
    "arrays": "a file without a name",
    "process/backend": "a word in the environment that this process runs in",
    "process/device": "the null device",
    "process/kept_compilations": "what JAX has compiled, in the user's cache folder",
    "process/memory": "the system's own files about this process",
    "process/processor": "the system's own file about the processor",
}
TRAINING = {"fit", "train_on_batch", "apply_gradients"}


def modules():
    return sorted(path for path in ENGINE.rglob("*.py") if path.name != "__init__.py")


def name_of(path):
    return path.relative_to(ENGINE).with_suffix("").as_posix()


def room_of(path):
    return path.relative_to(ENGINE).parts[0] if path.parent != ENGINE else None


@cache
def tree(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path):
    """Full names of the modules that a file imports, also inside functions and for types alone."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            inner = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from [name for name in inner if exists(name)] or [node.module]


def exists(name):
    path = PACKAGE.parent.joinpath(*name.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def engine_imports(path):
    for name in imports(path):
        if name.startswith(f"{PREFIX}."):
            yield name[len(PREFIX) + 1 :].replace(".", "/")


def calls(path):
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            function = node.func
            yield getattr(function, "id", None) or getattr(function, "attr", None)


def test_every_folder_is_a_room_with_a_rule():
    folders = {path.parent.name for path in ENGINE.glob("*/__init__.py")}
    assert folders == {*ROOMS, ASIDE}
    for folder in folders:
        assert "\nRule: " in ast.get_docstring(tree(ENGINE / folder / "__init__.py")), folder


@pytest.mark.parametrize("room", [*ROOMS, ASIDE])
def test_a_room_imports_only_lower_ones(room):
    lower = set(ROOMS[: ROOMS.index("learning" if room == ASIDE else room)])
    wrong = {
        (name_of(path), name)
        for path in modules()
        if room_of(path) == room
        for name in engine_imports(path)
        if name.split("/")[0] not in {room, *lower, *SHARED}
    }
    assert not wrong


def test_every_module_has_a_test_file_of_its_name():
    tests = Path(__file__).parent
    wanted = {name_of(path) for path in modules() if path.name != "__main__.py"}
    paths = {name: (tests / name).with_name(f"test_{Path(name).name}.py") for name in wanted}
    assert not sorted(name for name, path in paths.items() if not path.is_file())


def test_no_module_imports_itself_in_a_circle():
    edges = {name_of(path): set(engine_imports(path)) for path in modules()}
    while ends := {name for name, targets in edges.items() if not targets & edges.keys()}:
        edges = {name: targets for name, targets in edges.items() if name not in ends}
    assert not edges


@pytest.mark.parametrize("room", ALLOWED)
def test_a_room_imports_only_the_libraries_of_its_kind(room):
    ruled = ARRAYS | FORMATS | KERAS | BACKENDS | PICTURES
    wrong = {
        (name_of(path), name)
        for path in modules()
        if room_of(path) == room
        for name in (name.split(".")[0] for name in imports(path))
        if name in ruled - ALLOWED[room]
    }
    assert not wrong


def test_only_device_names_a_backend_or_keras_among_what_knows_the_machine():
    found = {name_of(path) for path in modules() if {name.split(".")[0] for name in imports(path)} & BACKENDS}
    assert found == {"process/device"}
    assert not [
        name_of(path) for path in modules() if room_of(path) == "process" and "arrays" in set(engine_imports(path))
    ]


def test_only_io_opens_paths():
    found = {
        name_of(path)
        for path in modules()
        if room_of(path) != "io" and path.name != "__main__.py" and OPENING & set(calls(path))
    }
    assert found == set(OPENS)


def test_only_learning_trains():
    found = {room_of(path) for path in modules() if TRAINING & set(calls(path))}
    assert found - {"learning", ASIDE} == {"stages"}
    stages = {name_of(path) for path in modules() if room_of(path) == "stages" and TRAINING & set(calls(path))}
    assert stages == {"stages/check"}  # a step on noise, to see that it works


def test_only_the_demonstration_tests_and_benchmarks_import_the_simulation():
    users = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if "tests" not in path.parts and any(name.startswith(f"{PREFIX}.{ASIDE}") for name in imports(path))
    }
    assert {name for name in users if not name.startswith(f"engine/{ASIDE}/")} == {"demo.py"}


def test_nothing_in_the_engine_imports_scipion():
    theirs = {"pyworkflow", "pwem", "tomo", "imod"}
    assert not [path for path in modules() if theirs & {name.split(".")[0] for name in imports(path)}]
