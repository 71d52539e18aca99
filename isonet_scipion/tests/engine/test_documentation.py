"""The documentation: its commands run, its links lead somewhere, it knows every option."""

import re
import shlex
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from isonet_scipion import engine
from isonet_scipion.engine import cli
from isonet_scipion.engine.io.mrc import write_volume

ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "isonet_scipion"
PAGES = sorted(path for folder in (ROOT, ROOT / "docs") for path in folder.glob("*.md"))
# and those on figures and on the builtin model
WITH_FIGURES = [*PAGES, *sorted((ROOT / "benchmarks").rglob("*.md")), *sorted(PACKAGE.glob("engine/**/*.md"))]
TINY = "--filter_base 2 --unet_depth 1 --convs_per_depth 2"
TINY += " --epochs 1 --steps_per_epoch 1 --batch_size 2 --remove_intermediate True"
# added to the commands, by how they begin, so that each takes seconds; the last value of an option counts
SMALLER = {
    "prepare_star": "--number_subtomos 4",
    "extract": "--cube_size 16 --crop_size 24",
    "prepare_subtomo_star": "--cube_size 16",
    "refine tomograms.star --method one-pass --pretrained_model": "--epochs 1 --steps_per_epoch 1 --cube_size 16",
    "refine tomograms.star --method one-pass": f"{TINY} --cube_size 16",
    "refine": TINY,
}
# 30 iterations are 2, and five more are one more; 3 of the builtin model, which is large, are 1
FEWER = {"iter30": "iter02", "--iterations 30": "--iterations 2", "--iterations 35": "--iterations 3"}
FEWER |= {"iter08": "iter02", "--iterations 8": "--iterations 2"}
FEWER |= {"one_pass/model_iter03": "one_pass/model_iter01", "one_pass --iterations 3": "one_pass --iterations 1"}
FEWER |= {"--gpuID 0,1,2,3": "--gpuID -1", "--gpuID 0": "--gpuID -1"}  # GPUs that are not there are an error
# what runs the other commands
ELSEWHERE = {
    r"python3 run\.py test": "continuous integration",
    r"python3 run\.py engine .*": "test_official_scipion",
    r"python3 run\.py demo": "test_workflow, but for the environment, which continuous integration makes",
    r"scipion3 install[pb] .*": "continuous integration's installation with Scipion's own installer",
    r"python3 -m (pip (wheel|download|install)|scipioninstaller) .*": "the reader; docs/cluster.md has what it took",
    r"scipion/scipion3 installp .*": "continuous integration's installation with Scipion's own installer",
    r"git clone <this repository> isonet_scipion": "the reader",
    r"cd isonet_scipion": "the reader",
    r"python benchmarks/\w+\.py .*": "whoever makes a page's figures anew, which takes hours",
}


def commands(page):
    """The commands of a page: the lines that are indented by four spaces and begin with a program."""
    programs = "isonet-engine|python3?|pip|git|cd|scipion3?"
    lines = re.findall(rf"^    ((?:{programs}) .*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return [line.split("  #")[0].strip() for line in lines]


def engine_commands(page):
    chosen = [command for command in commands(page) if command.startswith("isonet-engine")]
    for many, few in FEWER.items():
        chosen = [command.replace(many, few) for command in chosen]
    return chosen


@pytest.mark.usefixtures("untrained")
@pytest.mark.parametrize("page", [page for page in PAGES if engine_commands(page)], ids=lambda page: page.name)
def test_commands_of_a_page_run_one_after_the_other(page, run):
    for seed, name in enumerate(("TS_01", "TS_02.bin4")):
        data = np.random.default_rng(seed).normal(0, 1, (32, 48, 40)).astype(np.float32)
        data[12:20, 10:30, 10:30] -= 4
        write_volume(f"tomoset/{name}.mrc", data, 10.0)
    for command in engine_commands(page):
        arguments = shlex.split(command)[1:]
        smaller = next((options for start, options in SMALLER.items() if " ".join(arguments).startswith(start)), "")
        status, log = run(*arguments, *smaller.split())
        assert status == 0, f"{command}: {log}"
        # --defocus is left to the reader, who has a value for each tomogram
        if arguments[0] == "prepare_star":
            table = Path(arguments[arguments.index("--output_star") + 1])
            table.write_text(table.read_text().replace(" 0.000000 ", " 30000.0 "))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_other_commands_are_run_elsewhere(page):
    others = [command for command in commands(page) if not command.startswith("isonet-engine")]
    unknown = [command for command in others if not any(re.fullmatch(pattern, command) for pattern in ELSEWHERE)]
    assert not unknown, f"nothing runs {unknown}"


@pytest.mark.parametrize("page", WITH_FIGURES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings(page):
    text = page.read_text(encoding="utf-8")
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)#?([^)\s]*)\)", text):
        other = (page.parent / target) if target else page
        assert other.exists(), f"{target} is not there"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", other.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", WITH_FIGURES, ids=lambda page: page.name)
def test_no_change_is_left_half_merged(page):
    marks = ("<<<<<<<", "=======", ">>>>>>>")
    assert not [line for line in page.read_text().splitlines() if line.startswith(marks)]


@pytest.mark.parametrize("name", [name for name in cli.MODULES if cli.record_of(name).settings])
def test_parameters_page_has_every_option(name):
    text = (ROOT / "docs" / "parameters.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL))
    described = {
        option
        for line in re.findall(r"^- ([^:]*?):|\. ((?:`\w+`(?:, )?)+): ", sections[name], re.MULTILINE)
        for part in line
        for option in re.findall(r"`(\w+)`", part)
    }
    assert described == {one.flag for one in cli.record_of(name).options.values()}


@pytest.mark.parametrize("name", cli.MODULES)
def test_help_of_a_command_shows_its_arguments_options_and_what_it_is_for(name, capsys):
    assert cli.main([name, "--help"]) == 0
    record, shown = cli.record_of(name), capsys.readouterr().out
    assert " ".join(["isonet-engine", name, "[OPTIONS]", *record.arguments]) in shown
    assert " ".join(record.description.split())[:60] in " ".join(shown.split())
    assert {f"--{one.flag}" for one in record.options.values()} <= set(shown.split())


def test_each_stages_records_are_commands():
    stages = Path(cli.__file__).parent / "stages"
    found = {
        (record.name, path.stem)
        for path in stages.glob("[!_]*.py")
        for record in import_module(f"isonet_scipion.engine.stages.{path.stem}").COMMANDS
    }
    assert found == set(cli.MODULES.items())


def test_records_name_options_and_arguments_that_are_there():
    for name in cli.MODULES:
        record = cli.record_of(name)
        values = {value: value for value in [*record.options, *map(str.lower, record.arguments)]}
        assert {*record.files, *record.folders} <= set(values)
        assert record.writes is None or record.writes(values) in values


def test_help_needs_no_network_library():
    code = "import sys; from isonet_scipion.engine.cli import main; main(['refine', '--help']); main(['--help'])\n"
    code += "print([name for name in ('keras', 'tensorflow', 'jax', 'torch') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n"), done.stdout


def code(page):
    """What a page prints as code, but for links."""
    return re.findall(r"(?<!\[)`([^`\n]+)`", page.read_text(encoding="utf-8"))


def places(named):
    """Files, or folders, that a name may mean, each with the name within it that it then must have, or none."""
    for base in (ROOT, PACKAGE, PACKAGE / "engine"):
        yield base / named, ""
        yield base / f"{named}.py", ""
        module, _, name = named.rpartition(".")
        yield base / f"{module}.py", name
    module, _, name = named.rpartition(".")
    if module and "/" not in named:
        yield from ((path, name) for path in PACKAGE.rglob(f"{module}.py") if "tests" not in path.parts)


def test_what_the_developers_page_names_is_there():
    names = [name for name in code(ROOT / "docs" / "developers.md") if re.fullmatch(r"[\w./]*[/.][\w./]+", name)]
    names = [name for name in names if name != "../shared"]  # which is beside the checkout, and not everyone has
    modules = {path.stem for path in PACKAGE.rglob("*.py")}
    ours = [name for name in names if "/" in name.strip("/") or name.endswith(".py") or name.split(".")[0] in modules]
    assert len(ours) > 40
    missing = [
        name
        for name in ours
        if not any(
            path.exists() and (not within or re.search(rf"\b{within}\b", path.read_text(encoding="utf-8")))
            for path, within in places(name)
        )
    ]
    assert not missing


def test_what_the_page_of_functions_names_is_what_can_be_imported():
    named = re.findall(r"^::: (.+)\.(\w+)$", (ROOT / "docs" / "api.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(name for _, name in named) == sorted(engine.__all__)
    assert not [name for module, name in named if getattr(engine, name) is not getattr(import_module(module), name)]


def test_the_same_authors_are_named_everywhere():
    named = [
        re.search(pattern, (ROOT / file).read_text(encoding="utf-8"))
        for file, pattern in (
            ("pyproject.toml", r'authors = \[\{ name = "(.+)" \}\]'),
            ("CITATION.cff", r"authors:\n  - name: (.+)\n"),
            ("mkdocs.yml", r"site_author: (.+)\n"),
        )
    ]
    assert all(named) and len({found[1] for found in named}) == 1
