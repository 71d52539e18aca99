"""Where the engine runs, how its command is written, and what Scipion sees of the package."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
from contextlib import nullcontext
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pwem
import pytest
import pyworkflow
from packaging.requirements import Requirement
from pyworkflow.protocol.constants import STATUS_FINISHED, STATUS_RUNNING
from pyworkflow.protocol.executor import StepExecutor, ThreadStepExecutor
from pyworkflow.protocol.hosts import HostConfig
from pyworkflow.utils import process

import isonet_scipion
from isonet_scipion import environment, installation, protocols
from isonet_scipion.constants import ISONET_ENGINE_BACKEND, ISONET_ENGINE_HOME, ISONET_ENGINE_PYTHON
from isonet_scipion.engine.io.outcome import Outcome, reserve_outcome, write_outcome
from isonet_scipion.engine.process.backend import CHOICE, environment_choice
from isonet_scipion.engine.process.parent_watch import PARENT
from isonet_scipion.plugin import Plugin
from isonet_scipion.protocols import base
from isonet_scipion.protocols.base import EngineFailure, ending, readStatus
from isonet_scipion.protocols.engine_workers import EngineWorker

PACKAGE = Path(isonet_scipion.__file__).parent


@pytest.fixture
def variables(monkeypatch, tmp_path):
    """Plugin variables for one test; ISONET_ENGINE_HOME is an empty folder."""
    ours = {ISONET_ENGINE_HOME: str(tmp_path), ISONET_ENGINE_PYTHON: "", ISONET_ENGINE_BACKEND: ""}
    monkeypatch.setattr(Plugin, "_vars", {**Plugin._vars, **ours})
    return Plugin._vars


def test_package_imports_without_scipion():
    code = "import sys, isonet_scipion, isonet_scipion.engine; print([m for m in sys.modules if 'pyworkflow' in m])"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


def test_scipion_finds_protocols_objects_and_templates():
    domain = pyworkflow.Config.getDomain()
    assert set(protocols.__all__) <= set(domain.getProtocols())
    assert "IsoNetModel" in domain.getObjects()
    assert domain.getPluginModule("isonet_scipion")._pluginInstance.getPath() == str(PACKAGE)


@pytest.mark.parametrize("first", ["ours", "theirs"])
def test_a_plugin_with_the_older_plugins_variables_changes_nothing(monkeypatch, first):
    """scipion-em-isonet has ISONET_HOME; Scipion keeps one dictionary for all plugins and fills it in any order."""

    class Older(pwem.Plugin):
        _homeVar = "ISONET_HOME"

        @classmethod
        def _defineVariables(cls):
            cls._defineEmVar("ISONET_HOME", "isonet-0.2")
            cls._defineVar("ISONET_PYTHON", "/another/python")

    monkeypatch.setattr(pwem.Plugin, "_vars", {})
    for plugin in (Plugin, Older) if first == "ours" else (Older, Plugin):
        plugin._defineVariables()
    assert Plugin.getHome().endswith("isonet_engine-1.0") and Older.getHome().endswith("isonet-0.2")
    assert Plugin.enginePython() == sys.executable


def test_people_see_a_short_name_that_the_older_plugin_does_not_have():
    assert protocols.ProtIsoNetDeconv.getClassLabel() == "IsoNet - CTF deconvolution"


def test_protocols_conf_lists_every_protocol_once():
    text = (PACKAGE / "protocols.conf").read_text(encoding="utf-8")
    json.loads(text.split("=", 1)[1])
    assert sorted(re.findall(r'"value": "(\w+)"', text)) == sorted(protocols.__all__)


def mark_installed(home: Path) -> Path:
    """What a complete installation leaves; returns its Python, which stands for one with all libraries."""
    python = home / environment.PYTHON
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    (home / environment.installed_flag()).touch()
    return python


def test_python_of_ones_own_comes_before_the_installed_one(variables, tmp_path):
    python = mark_installed(tmp_path)
    assert Plugin.enginePython() == str(python) and Plugin.validateInstallation() == []
    variables[ISONET_ENGINE_PYTHON] = "/some/where/python"
    assert Plugin.enginePython() == "/some/where/python"
    assert re.search(
        f"/some/where/python.*can't be run.*{ISONET_ENGINE_PYTHON}", " ".join(Plugin.validateInstallation())
    )


def test_scipions_python_serves_if_it_has_what_the_engine_needs(variables, monkeypatch):
    assert Plugin.enginePython() == sys.executable and Plugin.validateInstallation() == []
    monkeypatch.setattr(environment, "damage", lambda python: "it lacks tensorflow")
    assert Plugin.enginePython() is None
    assert "scipion3 installb isonet_engine" in " ".join(Plugin.validateInstallation())


def test_environment_of_other_requirements_does_not_serve(variables, monkeypatch, tmp_path):
    mark_installed(tmp_path)
    before, original = environment.installed_flag(), environment.requirements
    # an update whose metadata merely lists them in another order keeps the environment
    monkeypatch.setattr(environment, "requirements", lambda *kind: original(*kind)[::-1])
    assert environment.installed_flag() == before
    monkeypatch.setattr(environment, "requirements", lambda *kind: [*original(*kind), "newlibrary"])
    monkeypatch.setattr(environment, "damage", lambda python: "it lacks tensorflow")
    assert environment.installed_flag() != before and Plugin.enginePython() is None
    assert str(tmp_path) in " ".join(Plugin.validateInstallation())


@pytest.mark.parametrize(
    ("script", "damage"),
    [("exit 3", "does not work"), ("echo broken >&2; exit 1", "broken"), ("echo numpy", "lacks numpy")],
)
def test_damaged_environment_is_told_with_the_remedy(variables, tmp_path, script, damage):
    mark_installed(tmp_path).write_text(f"#!/bin/sh\n{script}\n")
    wrong, remedy = Plugin.validateInstallation()
    assert damage in wrong and str(tmp_path) in wrong
    assert f"Delete the folder {tmp_path / 'env'}," in remedy and "scipion3 installb isonet_engine" in remedy


def test_libraries_are_looked_for_in_that_very_python(tmp_path):
    assert environment.damage(sys.executable) == ""
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", bare], check=True)
    lacks = environment.damage(str(bare / "bin" / "python"))
    assert {"tensorflow", "keras", "numpy", "mrcfile"} <= set(re.findall(r"\w+", lacks))


@pytest.mark.parametrize("kind", ["scipion's own", "another"])
def test_every_python_runs_this_very_code(variables, tmp_path, kind):
    decoy = tmp_path / "decoy" / "isonet_scipion"
    decoy.mkdir(parents=True)
    (decoy / "__init__.py").write_text("raise SystemExit('the wrong package')")
    if kind == "another":
        own = tmp_path / "another python's"
        own.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        own.chmod(0o755)
        variables[ISONET_ENGINE_PYTHON] = str(own)
    result = subprocess.run(
        f"{Plugin.engineCommand()} --version",
        shell=True,
        cwd=decoy.parent,
        env={**os.environ, "PYTHONPATH": str(decoy.parent)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert isonet_scipion.__version__ in result.stdout


def test_requirements_of_the_environment_are_those_of_the_package_with_the_backend_pinned():
    cpu, gpu = (environment.requirements("tensorflow", with_gpu, (3, 12)) for with_gpu in (False, True))
    (cpu_version,) = (text.split("==")[1] for text in cpu if text.startswith("tensorflow"))
    (gpu_version,) = (text.split("==")[1] for text in gpu if text.startswith("tensorflow[and-cuda]"))
    assert cpu_version == gpu_version and not any("and-cuda" in text for text in cpu)
    assert any(text.startswith("keras==") for text in cpu)
    assert "mrcfile" in cpu and not any("scipion" in text or "pytest" in text for text in cpu + gpu)
    jax = environment.requirements("jax", True, (3, 12))
    assert any(text.startswith("jax[cuda12]") for text in jax) and not any("tensorflow" in text for text in jax)
    # that of the Python that the environment will have, not of Scipion's
    assert "keras==3.12.4" in environment.requirements("tensorflow", False, (3, 10))


@pytest.mark.parametrize(
    ("capabilities", "backend"),
    [("8.6\n9.0\n", "tensorflow"), ("8.6\n12.0\n", "jax"), ("10.0\n", "jax"), ("", "tensorflow")],
)
def test_gpus_that_tensorflow_does_not_know_get_jax(monkeypatch, tmp_path, capabilities, backend):
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\ncat <<END\n{capabilities}END\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert environment.usual_backend() == backend


@pytest.mark.parametrize("chosen", ["", "jax"])
def test_the_hook_installs_with_scipions_python(variables, monkeypatch, tmp_path, chosen):
    variables[ISONET_ENGINE_BACKEND] = chosen
    monkeypatch.setattr(pyworkflow.Config, "CONDA_ACTIVATION_CMD", ". /opt/conda's/conda.sh")
    packages = []
    Plugin.defineBinaries(SimpleNamespace(addPackage=lambda name, **kwargs: packages.append((name, kwargs))))
    ((name, kwargs),) = packages
    ((command, flag),) = kwargs["commands"]
    # Scipion finds a binary by its name up to the first dash; it is made where the plugin looks for it
    assert name == "isonet_engine" and flag == Plugin.getHome(environment.installed_flag())
    words = shlex.split(command)
    assert words[:3] == [sys.executable, "-m", "isonet_scipion.installation"]
    assert words[-3:] == ["--conda", ". /opt/conda's/conda.sh", str(tmp_path)]
    assert ("--backend" in words) == bool(chosen)


@pytest.fixture
def tools(monkeypatch, tmp_path):
    """Stand-ins for the base Python and for pip; they fail where they are told to, and note their calls."""

    def make(fails_at, on_gpu_alone=False):
        base = tmp_path / "python3"
        check = 'test "$CUDA_VISIBLE_DEVICES" = -1' if on_gpu_alone else f'test "{fails_at}" != check'
        note = f'#!/bin/sh\necho "$0 $*" >> {tmp_path}/calls\ncase "$*" in '
        inner = f'{note}*check) {check};; *"{fails_at}"*) exit 1;; esac\n'
        making = f'mkdir -p "$4/bin"; printf \'%s\' \'{inner}\' > "$4/bin/python"; chmod +x "$4/bin/python"'
        base.write_text(
            f'{note}*"import sys, venv"*) echo 3 12 $0;; *"{fails_at}"*) exit 1;; *"-m venv"*) {making};; esac\n'
        )
        base.chmod(0o755)
        monkeypatch.setattr(installation, "find_python", lambda versions, conda: str(base))
        monkeypatch.setattr(sys, "executable", str(base))

    return make


@pytest.mark.parametrize("fails_at", ["-m venv", "-m ensurepip", "-m pip", "check", "nothing"])
def test_environment_appears_only_when_it_is_complete(tools, tmp_path, fails_at):
    tools(fails_at)
    home = tmp_path / "isonet engine"
    old = home / "env" / "of-an-earlier-version"
    fails = fails_at != "nothing"
    for earlier in (True, False):
        shutil.rmtree(home, ignore_errors=True)
        (old if earlier else home).mkdir(parents=True)
        if earlier:
            (home / "env" / CHOICE).touch()
        with pytest.raises(installation.Failed) if fails else nullcontext():
            installation.install(home, "jax", False, "")
        assert not list(home.glob("env.*"))
        # an earlier one stays until the new one takes its place
        assert old.exists() == (fails and earlier)
        assert home.exists() == (earlier or not fails)
        assert (home / environment.installed_flag()).exists() == (not fails)
    if not fails:
        assert environment_choice(home / environment.FOLDER) == "jax"
        assert os.access(home / "env" / "bin" / "isonet-engine", os.X_OK)


def test_a_check_that_fails_on_the_gpu_alone_keeps_the_environment_and_says_so(tools, tmp_path, capfd, monkeypatch):
    tools("nothing", on_gpu_alone=True)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)  # -1 where other tests have run
    home = tmp_path / "home"
    installation.install(home, "tensorflow", True, "")
    assert (home / environment.installed_flag()).exists()
    assert "NOT ON THE GPU" in capfd.readouterr().out


@pytest.fixture
def earlier(tmp_path):
    """The folder of an earlier installation, beside which the user keeps a file."""
    home = tmp_path / "home"
    (home / "env").mkdir(parents=True)
    (home / "env" / CHOICE).touch()
    (home / "env" / "earlier").touch()
    (home / "tomogram.mrc").touch()
    return home


def install(home):
    installation.install(home, "jax", False, "")
    return (home / environment.installed_flag()).exists() and not (home / "env" / "earlier").exists()


def test_a_folder_of_other_things_is_refused_and_kept(tools, tmp_path):
    tools("nothing")
    (tmp_path / "env").mkdir()  # no engine's
    (tmp_path / "tomogram.mrc").touch()
    with pytest.raises(installation.Failed, match=rf"{tmp_path} holds other things \(.*env.*\. Give a new folder"):
        installation.install(tmp_path, "jax", False, "")
    assert (tmp_path / "tomogram.mrc").exists() and (tmp_path / "env").exists()


def test_beside_an_earlier_environment_everything_stays(tools, earlier):
    tools("nothing")
    assert install(earlier)
    assert {path.name for path in earlier.iterdir()} == {"env", "tomogram.mrc"}


def test_what_an_interrupted_installation_left_is_no_obstacle(tools, tmp_path):
    tools("nothing")
    home = tmp_path / "home"
    for left in (installation.NEW, f"{installation.OLD}1"):
        (home / f"env{left}" / "bin").mkdir(parents=True)
    assert install(home) and [path.name for path in home.iterdir()] == ["env"]


@pytest.mark.parametrize("link", ["home", "home/env"])
def test_links_to_a_larger_disk_stay_links(tools, tmp_path, link):
    tools("nothing")
    (tmp_path / link).parent.mkdir(exist_ok=True)
    (tmp_path / link).symlink_to(tmp_path / "disk" / "isonet")  # which is not there yet
    if link == "home/env":
        (tmp_path / "disk" / "isonet").mkdir(parents=True)
        (tmp_path / link / CHOICE).touch()
    for _ in range(2):
        assert install(tmp_path / "home") and (tmp_path / link).is_symlink()
    assert [path.name for path in (tmp_path / "disk").iterdir()] == ["isonet"]


def test_the_earlier_environment_is_back_where_the_new_one_cannot_take_its_place(tools, earlier, monkeypatch):
    tools("nothing")
    rename = Path.rename

    def fail(path, target):
        if path.name.endswith(installation.NEW):
            raise OSError(5, "Input/output error", str(path))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(installation.Failed, match="Input/output error"):
        install(earlier)
    assert (earlier / "env" / "earlier").exists() and not list(earlier.glob("env.*"))


def test_an_earlier_environment_that_cannot_be_deleted_is_a_warning(tools, earlier, monkeypatch, capfd):
    tools("nothing")
    delete = shutil.rmtree
    monkeypatch.setattr(shutil, "rmtree", lambda path, **how: installation.OLD in path.name or delete(path, **how))
    assert install(earlier)
    assert f"delete {earlier / 'env.isonet-old1'}" in capfd.readouterr().out


def test_a_folder_that_cannot_be_made_is_told(tools, tmp_path, monkeypatch, capfd):
    tools("nothing")
    (tmp_path / "file").touch()
    home = tmp_path / "file" / "home..1"
    monkeypatch.setattr(sys, "argv", ["installation", str(home), "--backend", "jax"])
    assert installation.main() == 1
    assert f"was not installed: {home}" in capfd.readouterr().err


@pytest.mark.parametrize("bundled", [True, False])
def test_the_environment_has_a_pip_of_its_own(tools, tmp_path, bundled):
    # an older pip of Scipion's could not install into another environment, and people add packages such as zarr
    tools("nothing" if bundled else "import ensurepip")
    assert install(tmp_path / "home")
    calls = [line for line in (tmp_path / "calls").read_text().splitlines() if re.search("-m (ensure)?pip", line)]
    assert not any("--python " in line for line in calls)
    assert calls[-1].startswith(f"{tmp_path}/home/env.isonet-new/bin/python ")
    if bundled:
        assert calls[0].endswith("--default-pip")  # else an activated environment's `pip` is another one's
    else:
        assert "--python-version 3.12 -t" in calls[0] and "lib/python3.12/site-packages pip>=" in calls[0]


def test_scripts_know_the_folder_that_the_environment_ends_up_in(tmp_path):
    new = tmp_path / f"env{installation.NEW}"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", new], check=True)
    installation.name_finally(new, tmp_path / "env")
    installation.put_in_place(new, tmp_path / "env")
    script = f". '{tmp_path}/env/bin/activate' && command -v isonet-engine && command -v python"
    told = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert told == [f"{tmp_path}/env/bin/{name}" for name in ("isonet-engine", "python")]


def test_settings_of_pip_that_lead_elsewhere_are_left_out(monkeypatch, capfd):
    monkeypatch.setenv("PIP_USER", "1")
    monkeypatch.setenv("PIP_TARGET", "/elsewhere")
    monkeypatch.setenv("PIP_FIND_LINKS", "wheels")
    installation.call(["sh", "-c", "echo $PIP_USER $PIP_TARGET $PIP_FIND_LINKS"])
    assert capfd.readouterr().out == "0 wheels\n"


def test_the_tested_packages_are_installed_with_their_hashes(tools, tmp_path, monkeypatch):
    tools("nothing")
    installation.install(tmp_path / "home", "tensorflow", False, "")
    (pip,) = (line for line in (tmp_path / "calls").read_text().splitlines() if "-m pip" in line)
    if (os.uname().sysname, os.uname().machine) == ("Linux", "x86_64"):
        assert "--require-hashes" in pip and "requirements/tensorflow-cpu-3.12.txt" in pip


def test_the_lists_of_tested_packages_meet_the_requirements():
    for backend, gpu, python in environment.kinds():
        rows = environment.locked(backend, gpu, python).read_text().splitlines()[1:]
        listed = {row.split("==")[0]: row.split("==")[1].split()[0] for row in rows}
        assert all(" --hash=sha256:" in row for row in rows)
        for text in environment.requirements(backend, gpu, python):
            one = Requirement(text)
            assert one.specifier.contains(listed[one.name]), (backend, gpu, python, text)


@pytest.mark.parametrize(
    ("options", "there", "gpu"), [([], True, True), (["--cpu"], True, False), (["--gpu"], False, True)]
)
def test_cuda_is_installed_where_there_is_a_driver_or_it_is_asked_for(tmp_path, monkeypatch, options, there, gpu):
    calls = []
    monkeypatch.setattr(installation, "install", lambda *words: calls.append(words))
    monkeypatch.setattr(environment, "has_gpu", lambda: there)
    monkeypatch.setattr(sys, "argv", ["installation", str(tmp_path), "--backend", "jax", *options])
    assert installation.main() == 0
    assert calls == [(tmp_path, "jax", gpu, "")]


@pytest.mark.parametrize("minor", range(8, 13))
def test_the_constraints_of_scipions_half_meet_its_requirements(minor):
    rows = (PACKAGE / "requirements" / f"scipion-3.{minor}.txt").read_text().splitlines()[1:]
    listed = dict(row.split("==") for row in rows)
    required = [Requirement(text) for text in metadata.requires("isonet_scipion")]
    own = [one for one in required if one.marker is None]
    assert len(own) > 10
    for one in own:
        assert one.specifier.contains(listed[one.name.lower()]), one


@pytest.fixture
def predict(tmp_path):
    protocol = protocols.ProtIsoNetPredict(workingDir=str(tmp_path), useGpu=True)
    (tmp_path / "logs").mkdir()
    (tmp_path / "extra").mkdir()
    return protocol


@pytest.fixture
def refine(tmp_path):
    protocol = protocols.ProtIsoNetRefine(workingDir=str(tmp_path), useGpu=True)
    (tmp_path / "extra").mkdir()
    return protocol


@pytest.fixture
def commands(monkeypatch):
    """Command lines that would go to the shell."""
    lines = []
    monkeypatch.setattr(process, "runCommand", lambda command, **kwargs: lines.append(command.strip()))
    for kind in (protocols.ProtIsoNetPredict, protocols.ProtIsoNetRefine):
        monkeypatch.setattr(kind, "getSubmitDict", lambda self: {})
    return lines


@pytest.mark.parametrize(("gpus", "told"), [([], []), ([1], ["--gpuID", "1"]), ([0, 2], ["--gpuID", "0 2"])])
def test_gpus_and_hard_names_reach_the_engine_unharmed(refine, commands, gpus, told):
    refine.setStepsExecutor(StepExecutor(None, gpuList=gpus))
    name = "it's; $HOME 50%d %s `x`.star"
    refine._runEngine("refine", [name], {"output_dir": "a b"})
    # what the shell makes of it, with the engine replaced by something that prints its arguments
    echo = f"{sys.executable} -c 'import sys; print(sys.argv[1:])'"
    line = commands[0].replace(Plugin.engineCommand(), echo)
    words = subprocess.run(line, shell=True, capture_output=True, text=True, check=True)
    assert words.stdout.strip().endswith(str(["refine", name, "--output_dir", "a b", *told])[1:])


def test_without_gpu_the_cpu_is_forced(refine, commands):
    refine.setStepsExecutor(StepExecutor(None, gpuList=[0]))
    refine.useGpu.set(False)
    refine._runEngine("refine", [], {})
    assert commands[0].endswith(" --gpuID -1 2>&1")


def in_queue(protocol):
    """Let the protocol's steps be jobs of a queue."""
    protocol._useQueue.set(True)
    protocol.setQueueParams(("default", {"QUEUE_FOR_JOBS": "Y"}))
    protocol.setHostConfig(HostConfig.load(pyworkflow.Config.SCIPION_HOSTS)["localhost"])
    return protocol


@pytest.mark.parametrize(("threads", "gpus", "slots"), [(3, "0,1,2,3", 4), (9, "0,1", 2), (3, "0", 1), (2, "4,5,6", 3)])
def test_each_gpu_has_a_tomogram_of_its_own_whatever_the_threads(predict, threads, gpus, slots):
    predict.gpuList.set(gpus)
    executor = ThreadStepExecutor(None, threads - 1, gpuList=predict.getGpuList())
    predict.setStepsExecutor(executor)
    assert sorted(executor.gpuDict.values()) == [[gpu] for gpu in predict.getGpuList()]
    assert len(executor.gpuDict) == slots and executor.numberOfProcs > slots  # one step waits for tomograms
    assert predict._needsGpu()


@pytest.mark.parametrize("use", [True, False])
def test_a_job_of_a_queue_asks_for_what_one_tomogram_takes(predict, commands, monkeypatch, use):
    predict.gpuList.set("0,1,2,3,4,5")
    predict.numberOfThreads.set(7)
    predict.useGpu.set(use)
    monkeypatch.undo()
    asked = in_queue(predict).getSubmitDict()
    assert (asked["GPU_COUNT"], asked["JOB_THREADS"], asked["JOB_CORES"]) == (int(use), 4, 4)
    assert not predict._needsGpu()  # so that Scipion does not count its own GPUs


def test_a_job_of_a_queue_takes_the_gpu_that_it_is_given(predict, commands, monkeypatch):
    predict.gpuList.set("3,5")
    monkeypatch.setattr(predict, "useQueueForSteps", lambda: True)
    predict.setStepsExecutor(StepExecutor(None, gpuList=[3]))
    monkeypatch.setattr(base, "read_outcome", lambda path: Outcome(0))
    predict._runEngine("predict", [], {})
    assert "--gpuID 0 " in commands[0]


@pytest.fixture
def job(refine, monkeypatch, tmp_path):
    """A job that Scipion takes for ended: what each look into the queue, which comes after it, does and gives."""
    looks, asked = [], []

    def look(hostConfig, number):
        assert number == 1001 and list(refine.getJobIds()) == [1001]  # Stop cancels it
        asked.append(number)
        return looks.pop(0)()

    def submit(*args, **kwargs):
        refine.appendJobId(1001)
        refine.removeJobId(1001)

    monkeypatch.setattr(base, "_checkJobStatus", look)
    monkeypatch.setattr(base, "SECONDS_BETWEEN_LOOKS", 0.0)
    monkeypatch.setattr(refine, "runJob", submit)
    monkeypatch.setattr(refine, "_store", lambda *args: None)
    monkeypatch.setattr(refine, "useQueueForSteps", lambda: True)
    monkeypatch.setattr(refine, "_outcomeFile", lambda stage, name: str(tmp_path / "refine_outcome.json"))
    monkeypatch.setattr(refine, "_getLogsPath", lambda *names: str(tmp_path.joinpath("Logs", *names)))
    monkeypatch.setattr(threading.current_thread(), "thId", 3, raising=False)
    refine.setHostConfig(HostConfig())
    refine._stepsExecutor = SimpleNamespace(threadCommands={3: 1})
    (tmp_path / "Logs").mkdir()
    return looks, asked


def told(tmp_path, outcome, result):
    """A look into the queue by which the job has told how it ended."""
    path = tmp_path / "refine_outcome.json"

    def look():
        reserve_outcome(path)
        write_outcome(path, outcome)
        return result

    return look


def test_a_job_that_ends_without_a_word_has_failed(refine, job, tmp_path):
    looks, asked = job
    looks += [lambda: STATUS_FINISHED] * base.LOOKS
    log = tmp_path / "Logs" / f"{refine.strId()}-3-1.out"
    for path in (log, log.with_suffix(".job"), tmp_path / "Logs" / f"{refine.strId()}-3-11.out"):
        path.touch()
    with pytest.raises(EngineFailure) as failure:
        refine._runEngine("refine", [], {})
    text = str(failure.value)
    assert text.startswith("isonet-engine refine told nothing of its end: job 1001 ")
    assert f"Its log: {log}. Continue submits it again" in text
    assert len(asked) == base.LOOKS and list(refine.getJobIds()) == []


def test_what_a_job_of_several_tomograms_left_undone_is_told_of_each_and_no_further_job_runs(refine, job, tmp_path):
    looks, asked = job
    looks += [told(tmp_path, Outcome(0), STATUS_FINISHED), *[lambda: STATUS_FINISHED] * base.LOOKS]
    outcomes = [tmp_path / "refine_outcome.json", tmp_path / "b.json", tmp_path / "c.json"]
    first, *others = refine._submitAll([(["make_mask"], str(path)) for path in outcomes])
    assert first == ""
    assert all(end.startswith("told nothing of its end: job 1001 ") for end in others)
    assert len(asked) == base.LOOKS


def test_a_queue_that_fails_to_answer_does_not_end_a_job(refine, job, tmp_path):
    looks, asked = job
    shown, silent = (lambda: STATUS_RUNNING), (lambda: STATUS_FINISHED)
    looks += [silent, silent, shown, silent, silent, told(tmp_path, Outcome(0), STATUS_RUNNING)]
    refine._runEngine("refine", [], {})
    assert len(asked) == 6 and list(refine.getJobIds()) == []


def test_the_error_of_a_job_counts_that_a_shared_disk_shows_late(refine, job, tmp_path):
    looks, _ = job
    looks.append(told(tmp_path, Outcome(1, "a.mrc", "truncated", "Copy it again."), STATUS_FINISHED))
    with pytest.raises(EngineFailure, match="truncated"):
        refine._runEngine("refine", [], {})


@pytest.mark.parametrize(("use", "gpus", "told"), [(True, [2], "2"), (True, [0, 2], "0,2"), (False, [2], "-1")])
def test_an_engine_that_is_kept_is_told_its_gpus_by_each_command(predict, monkeypatch, use, gpus, told):
    asked = []
    monkeypatch.setattr(EngineWorker, "__init__", lambda self, command, environ: asked.append((command, environ)))
    monkeypatch.setattr(EngineWorker, "run", lambda self, words: asked.append(words) or 0)
    monkeypatch.setattr(EngineWorker, "isAlive", lambda self: True)
    predict.useGpu.set(use)
    predict.setStepsExecutor(StepExecutor(None, gpuList=gpus))
    name = "it's; $HOME 50%d %s `x`.star"
    for _ in range(2):
        predict._runEngine("predict", [name], {})
    (command, environ), *words = asked  # one start for both
    assert command[-2:] == ["serve", predict.workingDir.get()]
    assert environ[PARENT] == str(os.getpid())
    assert [one[2:] for one in words] == [["predict", name, "--gpuID", told]] * 2


@pytest.fixture
def engine(predict, monkeypatch):
    """What the engine writes of its end, by what it works on, and its exit status."""
    ends = {}

    def run(words, environ):
        path = words[1]
        name = re.fullmatch("predict_(.*)_outcome.json", os.path.basename(path))[1]
        outcome, status = ends[name]
        if outcome is not None:
            reserve_outcome(path)
            write_outcome(path, outcome)
        return status

    monkeypatch.setattr(predict, "_runHere", run)
    return ends


def test_each_command_tells_its_own_error(predict, engine):
    engine["TS_1"] = Outcome(1, "a.mrc", "truncated", "Copy it again."), 1
    engine["TS_11"] = Outcome(1, "b.mrc", "empty", "Make it again."), 1
    for name in ("TS_11", "TS_1"):
        outcome, _ = engine[name]
        with pytest.raises(EngineFailure) as failure:
            predict._runEngine("predict", [], {}, name=name)
        assert str(failure.value) == outcome.error


def test_an_outcome_of_an_earlier_run_does_not_count(predict, engine):
    engine["TS_1"] = Outcome(1, "a.mrc", "truncated", "Copy it again."), 1
    with pytest.raises(EngineFailure, match="truncated"):
        predict._runEngine("predict", [], {}, name="TS_1")
    engine["TS_1"] = None, -9
    with pytest.raises(EngineFailure, match="isonet-engine predict was ended by SIGKILL"):
        predict._runEngine("predict", [], {}, name="TS_1")


def test_work_that_is_done_counts_however_its_process_ended(predict, engine):
    engine["TS_1"] = Outcome(0, warnings=("t.mrc: its header is odd.",)), -6
    engine["TS_2"] = Outcome(0, warnings=("t.mrc: its header is odd.", "u.mrc: too.")), 0
    for name in engine:
        predict._runEngine("predict", [], {}, name=name)
    assert predict._engineWarnings() == ["*Warning*: t.mrc: its header is odd.", "*Warning*: u.mrc: too."]


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (-9, "ended by SIGKILL"),
        (137, "ended by SIGKILL"),
        (143, "ended by SIGTERM"),
        (3, "status 3"),
        (134, "ulimit -u"),
        (-6, "ulimit -u"),
    ],
)
def test_the_end_of_a_command_is_told(status, words):
    assert words in ending(status)


def test_the_status_that_a_job_left_is_read_once(tmp_path):
    path = tmp_path / "TS_01.status"
    path.write_text("137\n")
    assert [readStatus(str(path)) for _ in range(2)] == [137, None]
    path.write_text("")  # a full disk
    assert readStatus(str(path)) is None
