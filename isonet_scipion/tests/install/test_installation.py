"""The engine's environment is made and takes its place, with stand-ins for Python and pip."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from isonet_scipion import environment, installation
from isonet_scipion.engine.process.backend import CHOICE, environment_choice
from isonet_scipion.interpreters import NoPython


@pytest.fixture
def tools(monkeypatch, tmp_path):
    """Stand-ins for the base Python and for pip; they fail where they are told to, and note their calls."""

    def make(fails_at, on_gpu_alone=False):
        base = tmp_path / "python3"
        check = 'test "$CUDA_VISIBLE_DEVICES" = -1' if on_gpu_alone else f'test "{fails_at}" != check'
        note = f'#!/bin/sh\necho "$0 $*" >> {tmp_path}/calls\ncase "$*" in '
        inner = f'{note}*check) {check};; *"{fails_at}"*) exit 1;; esac\n'
        making = f'mkdir -p "$5/bin"; printf \'%s\' \'{inner}\' > "$5/bin/python"; chmod +x "$5/bin/python"'
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
    (new / "bin" / "__pycache__").mkdir()
    installation.name_finally(new, tmp_path / "env")
    installation.put_in_place(new, tmp_path / "env")
    script = f". '{tmp_path}/env/bin/activate' && command -v isonet-engine && command -v python"
    told = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert told == [f"{tmp_path}/env/bin/{name}" for name in ("isonet-engine", "python")]


def test_only_one_installation_at_a_time_works_in_a_folder(tools, tmp_path):
    tools("nothing")
    home = tmp_path / "home"
    others = home / f"env{installation.NEW}" / "bin"
    others.mkdir(parents=True)
    with installation.alone(home), pytest.raises(installation.Failed, match=f"at work in {home}. Wait"):
        install(home)
    assert others.exists()  # what the other one is making
    assert install(home)


def test_where_no_python_is_found_nothing_is_left_that_looks_like_an_installation(tmp_path, monkeypatch):
    def find(versions, conda):
        raise NoPython("none")

    monkeypatch.setattr(installation, "find_python", find)
    home = tmp_path / "isonet_engine-1.0"
    home.mkdir()  # by Scipion, for which any folder is one
    with pytest.raises(NoPython):
        installation.install(home, "jax", False, "")
    assert not home.exists()


def test_the_command_runs_in_a_folder_of_any_name(tmp_path):
    folder = tmp_path / "Größe $x `y` it's"
    folder.mkdir()
    installation.write_command(folder, folder / "python")
    (folder / "python").write_text('#!/bin/sh\necho "$@"\n')
    (folder / "python").chmod(0o755)
    told = subprocess.run([folder / "isonet-engine", "a b"], stdout=subprocess.PIPE, text=True).stdout
    assert told == f"-I {environment.LAUNCHER} a b\n"


def test_variables_of_another_python_do_not_reach_the_one_that_makes_the_environment(monkeypatch):
    monkeypatch.setenv("PYTHONHOME", "/another")
    monkeypatch.setenv("PYTHONPATH", "/another/lib")
    assert installation.call([sys.executable, "-c", "import mrcfile"]) == 0
    script = 'test -z "$PYTHONHOME$PYTHONPATH"'
    assert installation.call(["sh", "-c", script]) == 0


def test_settings_of_pip_that_lead_elsewhere_are_left_out(monkeypatch, capfd):
    monkeypatch.setenv("PIP_USER", "1")
    monkeypatch.setenv("PIP_TARGET", "/elsewhere")
    monkeypatch.setenv("PIP_FIND_LINKS", "wheels")
    installation.call(["sh", "-c", "echo $PIP_USER $PIP_TARGET $PIP_FIND_LINKS"])
    assert capfd.readouterr().out == "0 wheels\n"


def test_the_tested_packages_are_installed_with_their_hashes(tools, tmp_path, monkeypatch):
    tools("nothing")
    installation.install(tmp_path / "home", "tensorflow", False, "")
    (pip,) = (line for line in (tmp_path / "calls").read_text().splitlines() if "-m pip install" in line)
    if (os.uname().sysname, os.uname().machine) == ("Linux", "x86_64"):
        assert "--require-hashes" in pip and "requirements/tensorflow-cpu-3.12.txt" in pip


def test_a_wrong_backend_names_the_variable_that_it_may_be_from(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(sys, "argv", ["installation", str(tmp_path / "home"), "--backend", "tensorfow"])
    with pytest.raises(SystemExit):
        installation.main()
    said = capfd.readouterr().err
    assert "'tensorfow' is neither tensorflow nor jax (in Scipion's configuration it is ISONET_ENGINE_BACKEND)" in said
    assert not (tmp_path / "home").exists()


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
