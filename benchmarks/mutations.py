"""Do the tests notice? Changes one number or line of the engine at a time and runs the tests of its room.

    python benchmarks/mutations.py [WORD...] [--write benchmarks/MUTATIONS.md]

Works on a copy of the package in a temporary folder, where nothing of ../shared is to be had, so that what is told is
what the tests of a stranger's checkout notice. With WORDs only the mutations whose names hold one of them.
Exit status 1 if a mutation survives.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "isonet_scipion"


@dataclass(frozen=True)
class Mutation:
    """One change: a module of the engine, what stands there, what is put there, and the tests to run."""

    name: str
    module: str
    old: str
    new: str
    tests: str


MUTATIONS = [
    Mutation(
        "padding of another value in each section is data",
        "physics/borders",
        "return np.array([of_section(z)[0] for z in range(len(volume))])",
        "return None",
        "physics/test_borders.py",
    ),
    Mutation(
        "points of a binned model are placed by the first voxel's middle",
        "io/coordinates",
        "(self.xyz + 0.5) * self._finer_by(shape) - 0.5",
        "self.xyz * self._finer_by(shape)",
        "io/test_coordinates.py",
    ),
    Mutation(
        "a training is gone on with whatever its noise is now",
        "learning/run",
        ", **self.noise}",
        "}",
        "learning/test_data_identity.py",
    ),
    Mutation(
        "a grid's wave of the tomogram's own is levelled",
        "network/grid_levels",
        " & (theirs < clear)",
        "",
        "network/test_grid_levels.py",
    ),
    Mutation(
        "a wave is levelled whatever was taken around it",
        "network/grid_levels",
        " & (left < NOISE * before)",
        "",
        "network/test_grid_levels.py",
    ),
    Mutation(
        "levels as power, not amplitude",
        "network/grid_levels",
        "np.sqrt(1 / np.maximum(ours, 1))",
        "1 / np.maximum(ours, 1)",
        "network/test_grid_levels.py",
    ),
    Mutation(
        "the second of two convolutions has the first's kernel",
        "network/unet",
        "kernel[..., first:, :]",
        "kernel[..., :first, :]",
        "network/test_unet.py",
    ),
    Mutation(
        "gradients count in the grey scales of halves",
        "physics/halves_check",
        "COARSE = 25",
        "COARSE = 999",
        "physics/test_halves_check.py",
    ),
    Mutation(
        "chance in a curve's coarse shells tells",
        "measure/fourier_correlation",
        "(most < UNTOLD).any()",
        "True",
        "measure",
    ),
    Mutation("FSC threshold 0.143 -> 0.5", "measure/half_agreement", "THRESHOLD = 0.143", "THRESHOLD = 0.5", "measure"),
    Mutation(
        "resize without smoothing",
        "physics/rescaling",
        "        before = (self.padded - self.length) // 2\n",
        "        places = np.arange(self.count) * self.step\n"
        "        return lines[places.astype(int).clip(0, self.length - 1)]\n",
        "physics/test_rescaling.py",
    ),
    Mutation("resize keeps the wrong strength", "physics/rescaling", "(self.kept / self.padded)", "(1.0)", "physics"),
    Mutation(
        "exponent of the chance level",
        "measure/fourier_correlation",
        "independent**-0.5",
        "independent**-0.4",
        "measure",
    ),
    Mutation("exponent of the fading", "measure/fourier_correlation", ".sum())) ** 3)", ".sum())) ** 2)", "measure"),
    Mutation("no gradient clipping", "learning/one_pass", "global_clipnorm=CLIP, ", "", "learning/test_clipping.py"),
    Mutation("gradients clipped at 10", "learning/one_pass", "CLIP = 1.0", "CLIP = 10.0", "learning/test_clipping.py"),
    Mutation(
        "mask without smoothing",
        "sampling/mask",
        "patch_size / 2, axis=0",
        "1e-3, axis=0",
        "sampling",
    ),
    Mutation(
        "mask smoothed twice as much",
        "sampling/mask",
        "patch_size / 2, axis=0",
        "patch_size, axis=0",
        "sampling",
    ),
    Mutation("voxel size in the CTF of the filter", "physics/ctf", "x / (2 * voxel_size)", "x / voxel_size", "physics"),
    Mutation(
        "voxel size in the filter's falloff", "physics/ctf", "snrfalloff / voxel_size", "snrfalloff / 10.0", "physics"
    ),
    Mutation(
        "no high-pass in the filter",
        "physics/ctf",
        "10**deconvstrength * highpass",
        "10**deconvstrength * 2.0",
        "physics",
    ),
    Mutation(
        "the sum of the halves, not their mean",
        "network/result",
        "mean /= np.float32(len(parts))",
        "pass",
        "network/test_result.py",
    ),
    Mutation(
        "a border keeps the file's grey scale on IsoNet's",
        "network/result",
        "whole[outside] = shown.contrast(shown.show(kept))",
        "pass",
        "network/test_result.py",
    ),
    Mutation("leak 0.05 -> 0.1", "network/unet", "LEAK = 0.05", "LEAK = 0.1", "network/test_unet.py"),
    Mutation("no guard at the wedge's edge", "measure/wedge_power", "GUARD = 5.0", "GUARD = 0.0", "measure"),
    Mutation(
        "tilt threshold 0.25 -> 0.5", "physics/tilt_check", "EMPTY = 0.25", "EMPTY = 0.5", "physics/test_tilt_check.py"
    ),
    Mutation(
        "tilt threshold 0.25 -> 0.1", "physics/tilt_check", "EMPTY = 0.25", "EMPTY = 0.1", "physics/test_tilt_check.py"
    ),
    Mutation(
        "tilt tolerance 10 -> 20",
        "physics/tilt_check",
        "TOLERANCE = 10.0",
        "TOLERANCE = 20.0",
        "physics/test_tilt_check.py",
    ),
    Mutation("wedge mirrored", "physics/wedge", "np.where(kx < 0, -kz, kz)", "np.where(kx < 0, kz, -kz)", "physics"),
    Mutation("percentiles 4, 96 -> 1, 99", "physics/grey_scale", "= 4, 96", "= 1, 99", "learning/test_pairs.py"),
    Mutation("traces in the hidden wedge count", "measure/hidden_wedge", "EMPTY = 1e-4", "EMPTY = 0.0", "measure"),
    Mutation("spherical aberration in the wrong unit", "physics/ctf", "cs * 1e7", "cs * 1e6", "physics/test_ctf.py"),
    Mutation(
        "an unknown normalisation is taken as mean and deviation",
        "conventions",
        "cls.PERCENTILES)",
        "cls.MOMENTS)",
        "test_conventions.py",
    ),
    Mutation(
        "estimates are cut at a different position than they were padded",
        "learning/estimates",
        "slice(e // 2, e // 2 + size)",
        "slice(0, size)",
        "learning/test_estimates.py",
    ),
    Mutation(
        "fine errors of the builtin model get no extra weight",
        "simulation/train_builtin",
        "(error, *along)",
        "(error,)",
        "simulation/test_train_builtin.py",
    ),
    Mutation(
        "a file to continue from decides where to write",
        "io/refine_json",
        'del known["continue_from"], known["result_dir"]',
        "pass",
        "io/test_refine_json.py",
    ),
    Mutation(
        "what RELION's job did to the CTF is not looked at",
        "io/other_programs",
        "(CORRECTED if corrects[job] else None for job in jobs)",
        "(None for job in jobs)",
        "io/test_other_programs.py",
    ),
    Mutation(
        "a half that alone is blank is not told",
        "io/shown",
        "    _warn_of_one_blank(halves)\n",
        "",
        "io/test_shown.py",
    ),
    Mutation(
        "a mean of halves may be made of one alone",
        "stages/prepare",
        "require_contrast(*extremes(half.data), half.path)",
        "pass",
        "stages/test_prepare.py",
    ),
    Mutation(
        "resize may leave next to nothing",
        "stages/resize",
        "if (left := min(rescaled)) < fewest:",
        "if (left := min(rescaled)) < 1:",
        "stages/test_resize.py",
    ),
    Mutation(
        "a training's page is written after each epoch",
        "learning/watchers",
        "if self._occasion.has_come(run, record):\n            self.after_resume(run)",
        "self.after_resume(run)",
        "learning/test_watchers.py",
    ),
    Mutation(
        "a defocus may be impossibly large",
        "physics/ctf",
        "if not abs(defocus) <= MOST_DEFOCUS:",
        "if False:",
        "physics/test_ctf.py",
    ),
    Mutation(
        "where a command was killed, none can be run again",
        "io/outcome",
        " and read_own_file(path, ROOM).strip()",
        "",
        "io/test_outcome.py",
    ),
    Mutation(
        "grey values from 0 to 1 have a mask's statistics",
        "io/mrc",
        "data.dtype == np.int8 and data.min()",
        "data.min()",
        "io/test_mrc.py",
    ),
    Mutation(
        "statistics of signed bytes are not looked at",
        "io/mrc_header",
        "if -128 <= low < 0 and low < high <= 127:",
        "if False:",
        "io/test_mrc_header.py",
    ),
    Mutation(
        "of a file that is needed soon only the beginning is read",
        "io/page_cache",
        "while file.readinto(block):\n            pass",
        "file.readinto(block)",
        "io/test_page_cache.py",
    ),
    Mutation(
        "copies of tomograms that are read count for no disk space",
        "learning/one_pass_batches",
        "        now += sizes[-1][0]\n",
        "",
        "learning/test_one_pass_batches.py",
    ),
]


def survives(mutation: Mutation, folder: Path) -> tuple[bool, str]:
    """Apply a mutation to a copy of the package in a folder; returns whether no test fails, and the first that does."""
    path = folder / PACKAGE.name / "engine" / f"{mutation.module}.py"
    before = path.read_text(encoding="utf-8")
    if mutation.old not in before:
        sys.exit(f"{mutation.name}: {mutation.module} has no {mutation.old!r}")
    path.write_text(before.replace(mutation.old, mutation.new), encoding="utf-8")
    tests = folder / PACKAGE.name / "tests" / "engine" / mutation.tests
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", tests]
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    path.write_text(before, encoding="utf-8")
    failed = re.search(r"^(?:FAILED|ERROR) (\S+)", result.stdout, re.MULTILINE)
    if result.returncode and not failed:
        sys.exit(f"{mutation.name}: the tests did not run: {result.stdout[-2000:]}{result.stderr[-2000:]}")
    return not result.returncode, failed[1].split("tests/engine/")[-1] if failed else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*")
    parser.add_argument("--write", type=Path)
    arguments = parser.parse_args()
    chosen = [each for each in MUTATIONS if not arguments.words or any(word in each.name for word in arguments.words)]
    lines = ["| mutation | module | detected by |", "|---|---|---|"]
    print(*lines, sep="\n")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "checkout"
        shutil.copytree(PACKAGE, folder / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(PACKAGE.parent / "docs", folder / "docs")  # some tests look into it
        for file in ("pyproject.toml", "setup.py"):
            shutil.copy(PACKAGE.parent / file, folder)
        survivors = 0
        for mutation in chosen:
            alive, test = survives(mutation, folder)
            survivors += alive
            lines.append(f"| {mutation.name} | {mutation.module} | {'**nothing**' if alive else test} |")
            print(lines[-1], flush=True)
    if arguments.write:
        head = "# Mutations that the tests detect\n\nMade by `python benchmarks/mutations.py`.\n\n"
        arguments.write.write_text(head + "\n".join(lines) + "\n", encoding="utf-8")
    sys.exit(survivors > 0)


if __name__ == "__main__":
    main()
