"""The scripts of docs/cluster.md: bash takes them, and they do what is said, with stand-ins for SLURM and engine."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

TEXT = (Path(__file__).parents[3] / "docs" / "cluster.md").read_text(encoding="utf-8")
SCRIPTS = re.findall(r"```bash\n(#!.*?)```", TEXT, re.DOTALL)
TEMPLATE = re.search(r"SUBMIT_TEMPLATE = (.*?)```", TEXT, re.DOTALL)[1]
# of sbatch's manual
OPTIONS = {
    *("array", "cpus-per-task", "error", "gres", "job-name", "mem", "ntasks", "open-mode", "output", "partition"),
    *("requeue", "signal", "time"),
}
STAND_INS = {
    "srun": 'exec "$@"',
    "scontrol": 'echo "scontrol $*" >> calls',
    "isonet-engine": 'echo "isonet-engine $*" >> calls; exit ${ENDS:-0}',
}


@pytest.fixture
def submit(tmp_path):
    """Run a script as SLURM would; returns its exit status and the calls of the programs."""
    for name, text in STAND_INS.items():
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / "tomograms.star").write_text("data_\n")

    def run(script, **variables):
        (tmp_path / "calls").write_text("")
        path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
        environ = {**os.environ, "PATH": path, "SLURM_JOB_ID": "77", **variables}
        status = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=environ).returncode
        return status, (tmp_path / "calls").read_text().splitlines()

    return run


@pytest.mark.parametrize("script", [*SCRIPTS, re.sub(r"%_\((\w+)\)[sd]", "1", TEMPLATE)])
def test_bash_and_sbatch_know_the_words(script):
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    lines = re.findall(r"^\s*#SBATCH (.*)$", script, re.MULTILINE)
    words = [word for line in lines for word in shlex.split(line)]
    assert words and all(word.startswith("--") for word in words)
    assert {word[2:].split("=")[0] for word in words} <= OPTIONS


def test_a_training_that_is_ended_by_its_time_limit_puts_itself_into_the_queue_again(submit):
    script = next(script for script in SCRIPTS if " refine " in script)
    train = "isonet-engine refine tomograms.star --result_dir results --seed 1"
    assert submit(script, ENDS="143") == (143, [train, "scontrol requeue 77"])
    for status in (0, 1):
        assert submit(script, ENDS=str(status)) == (status, [train])


def test_each_job_of_an_array_takes_its_tomogram_and_a_table_of_its_own(submit, tmp_path):
    script = next(script for script in SCRIPTS if "--array" in script)
    for number in ("1", "40"):
        status, (call,) = submit(script, SLURM_ARRAY_TASK_ID=number)
        assert status == 0 and f"predict part_{number}.star " in call and f"--tomo_idx {number} " in call
        assert (tmp_path / f"part_{number}.star").read_text() == "data_\n"
        # a repeated job keeps what its first run wrote there, by which predict knows what is finished
        (tmp_path / f"part_{number}.star").write_text("data_done\n")
        submit(script, SLURM_ARRAY_TASK_ID=number)
        assert (tmp_path / f"part_{number}.star").read_text() == "data_done\n"


def test_scipions_template_takes_the_names_that_scipion_gives():
    names = set(re.findall(r"%_\((\w+)\)[sd]", TEMPLATE))
    assert names == {"JOB_NAME", "JOB_QUEUE", "JOB_THREADS", "GPU_COUNT", "JOB_LOGS", "JOB_COMMAND"}


def test_both_containers_are_made_by_the_same_commands():
    folder = Path(__file__).parents[3] / "containers"
    docker = re.findall(r"^RUN (.*)$", (folder / "Dockerfile").read_text(), re.MULTILINE)
    post = re.search(r"%post\n(.*?)\n\n", (folder / "isonet.def").read_text(), re.DOTALL)[1]
    commands = [line.strip() for line in post.splitlines()]
    assert docker == commands
    subprocess.run(["bash", "-n"], input="\n".join(commands), text=True, check=True)
