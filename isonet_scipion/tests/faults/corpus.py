"""Bad, odd and hostile inputs, each with the commands it goes to and what must come of it."""

from __future__ import annotations

import bz2
import gzip
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from isonet_scipion.engine.io.model_metadata import ModelMetadata
from isonet_scipion.engine.io.mrc import write_volume
from isonet_scipion.engine.network.isonet_h5 import save_legacy
from isonet_scipion.engine.network.model_file import METADATA, save_model
from isonet_scipion.engine.network.unet import build_unet
from isonet_scipion.engine.settings.network import NetworkSettings
from isonet_scipion.tests.faults.conftest import SHAPE, TINY, VOXEL_SIZE, table, voxels

DECONV, MASK, EXTRACT = ("deconv",), ("make_mask", "--patch_size=2"), ("extract", "--cube_size=8", "--crop_size=10")
PREDICT, RESIZE = ("predict",), ("resize", "--apix=20")
ON_VOXELS = (DECONV, MASK, PREDICT, RESIZE)


@dataclass(frozen=True)
class Case:
    """A command on an input: `why` is part of its error, None where it has to work."""

    name: str
    command: tuple[str, ...]
    why: str | None
    status: int = 1
    warns: str | None = None


def all_cases(folder: Path) -> list[Case]:
    """Write all inputs into a folder that has `conftest.make_project`'s files already."""
    return [*volumes(folder), *tables(folder), *boundaries(folder), *models(folder), *options()]


def on_table(name: str, commands: tuple[tuple[str, ...], ...], why: str | None, warns: str | None = None) -> list[Case]:
    """The commands on the table NAME.star."""
    cases = []
    for command, *rest in commands:
        model = ("m.keras",) if command == "predict" else ()
        cases.append(Case(name, (command, f"{name}.star", *model, *rest), why, warns=warns))
    return cases


# ---------------------------------------------------------------- volumes


def header(data: bytes, **fields: int) -> bytes:
    """An MRC file with some of its header's 4-byte words replaced, by offset: w12=4 is mode 4."""
    for name, value in fields.items():
        offset = int(name[1:])
        data = data[:offset] + value.to_bytes(4, "little", signed=value < 0) + data[offset + 4 :]
    return data


def volumes(folder: Path) -> Iterator[Case]:
    """Packed, thin and unscaled ones and masks; `mrc_corpus` has the others."""
    good = (folder / "t1.mrc").read_bytes()
    head, data = good[:1024], good[1024:]
    compressed = {
        "cut.mrc.gz": gzip.compress(good)[:-3000],
        "no_gzip.mrc.gz": good,
        "bomb.mrc.gz": gzip.compress(header(head, w0=4096, w4=4096, w8=4096) + data),
        "bad_stream.mrc.gz": gzip.compress(good)[:2000] + bytes(100) + gzip.compress(good)[2100:],
        "cut.mrc.bz2": bz2.compress(good)[:-3000],
    }
    for name, content in compressed.items():
        (folder / name).write_bytes(content)
        table(folder / f"{name}.star", [{"rlnMicrographName": name}])
        yield from on_table(name, (DECONV,), f"{name}: ")

    write_volume(folder / "thin.mrc", voxels((8, 32, 32), 1), VOXEL_SIZE)
    table(folder / "thin.star", [{"rlnMicrographName": "thin.mrc"}])
    yield from on_table("thin", (EXTRACT,), "thin.mrc: it has 8 voxels along z, fewer than crop_size 10")

    write_volume(folder / "unscaled.mrc", voxels(seed=1), 0.0)
    table(folder / "unscaled.star", [{"rlnMicrographName": "unscaled.mrc"}])
    yield from on_table("unscaled", (DECONV, RESIZE), None)
    table(folder / "other_voxel_size.star", [{"rlnPixelSize": 12.5}])
    yield from on_table("other_voxel_size", (DECONV,), None, "is 10.000 A, but other_voxel_size.star says 12.500 A")

    for name, mask in (("flat", np.ones((4, 4, 4), np.int8)), ("void", np.zeros(SHAPE, np.int8))):
        write_volume(folder / f"{name}_mask.mrc", mask, VOXEL_SIZE)
        table(folder / f"{name}_mask.star", [{"rlnMaskName": f"{name}_mask.mrc"}])
    write_volume(folder / "coarse_mask.mrc", np.ones(SHAPE, np.int8), 20.0)
    table(folder / "coarse_mask.star", [{"rlnMaskName": "coarse_mask.mrc"}])
    table(folder / "absent_mask.star", [{"rlnMaskName": "nowhere/absent_mask.mrc"}])
    yield from on_table("flat_mask", (EXTRACT,), r"flat_mask.mrc: its shape \(4, 4, 4\) is not that of t1.mrc")
    yield from on_table("void_mask", (EXTRACT,), "void_mask.mrc: it marks no voxel")
    yield from on_table("coarse_mask", (EXTRACT,), "coarse_mask.mrc: its voxel size is 20.000 A")
    yield from on_table("absent_mask", (EXTRACT,), "absent_mask.mrc: the volume does not exist")


# ---------------------------------------------------------------- tables


def star(labels: str, *rows: str, head: str = "data_\n\nloop_\n") -> str:
    return head + "".join(f"_{label}\n" for label in labels.split()) + "".join(f"{row}\n" for row in rows)


USUAL = "rlnIndex rlnMicrographName rlnPixelSize"


def tables(folder: Path) -> Iterator[Case]:
    bad = {
        "empty_table": ("", "is an empty file"),
        "no_star": ("hello\n", "not a STAR table"),
        "no_rows": (star(USUAL), "no rows"),
        "no_loop": ("data_\n_rlnIndex\n_rlnMicrographName\n", "not a STAR table"),
        "missing_column": (star("rlnIndex rlnMicrographName", "1 t1.mrc"), "column _rlnPixelSize is missing"),
        "missing_index": (star("rlnMicrographName rlnPixelSize", "t1.mrc 10"), "column _rlnIndex is missing"),
        "too_few_cells": (star(USUAL, "1 t1.mrc"), "row 1 has 2 cells, not 3"),
        "wide": (
            star(" ".join([USUAL, *(f"rlnX{n}" for n in range(10**5))]), "1 t1.mrc 10"),
            "row 1 has 3 cells, not 100003",
        ),
        "too_many_cells": (star(USUAL, "1 t1.mrc 10", "2 my tomo.mrc 10"), "row 2 has 4 cells, not 3"),
        "twice_a_column": (star(USUAL + " rlnPixelSize", "1 t1.mrc 10 10"), "_rlnPixelSize stands there twice"),
        "strange_label": (star(USUAL + " rln-A.b", "1 t1.mrc 10 1"), "not a STAR table .the column _rln-A.b"),
        "text_for_size": (star(USUAL, "1 t1.mrc ten"), "_rlnPixelSize is 'ten' in row 1, not a number"),
        "nan_for_size": (star(USUAL, "1 t1.mrc nan"), "_rlnPixelSize is 'nan' in row 1"),
        "negative_size": (star(USUAL, "1 t1.mrc -10"), "_rlnPixelSize is -10.0"),
        "size_not_set": (star(USUAL, "1 t1.mrc None"), "_rlnPixelSize is not set in row 1"),
        "index_half": (star(USUAL, "1.5 t1.mrc 10"), "not a whole number"),
        "index_negative": (star(USUAL, "-1 t1.mrc 10"), "_rlnIndex -1 is negative"),
        "index_twice": (star(USUAL, "1 t1.mrc 10", "1 t2.mrc 10"), "_rlnIndex 1 stands in two rows"),
        "two_blocks": (star(USUAL, "1 t1.mrc 10") + "\n" + star("rlnA", "1", head="data_b\nloop_\n"), "holds 2 tables"),
        "nowhere": (star(USUAL, "1 nowhere/t.mrc 10"), "nowhere/t.mrc: the volume does not exist"),
        "a_folder": (star(USUAL, "1 cubes 10"), "cubes: it is a folder, not the volume"),
        "long_name": (star(USUAL, f"1 {'x' * 300}.mrc 10"), "can't be that of a file"),
        "a_device": (star(USUAL, "1 /dev/zero 10"), "/dev/zero: the volume does not exist"),
        "impossible_tilts": (star(USUAL + " rlnTiltMin rlnTiltMax", "1 t1.mrc 10 75 60"), "75..60 degrees is imp"),
        "half_given_tilts": (star(USUAL + " rlnTiltMin", "1 t1.mrc 10 -52"), "rlnTiltMin of t1.mrc, but not rlnTilt"),
        "text_for_defocus": (star(USUAL + " rlnDefocus", "1 t1.mrc 10 far"), "_rlnDefocus is 'far'"),
        "no_voltage": (star(USUAL + " rlnVoltage", "1 t1.mrc 10 0"), "voltage of t1.mrc, .*: 0 kV is"),
        "low_voltage": (star(USUAL + " rlnVoltage", "1 t1.mrc 10 1e-30"), "voltage of t1.mrc, .*: 1e-30 kV"),
        "huge_cs": (star(USUAL + " rlnSphericalAberration", "1 t1.mrc 10 1e30"), "aberration of t1.mrc, .*: 1e.30 mm"),
        "negative_cs": (star(USUAL + " rlnSphericalAberration", "1 t1.mrc 10 -5"), "aberration of t1.mrc, .*: -5 mm"),
        "huge_defocus": (star(USUAL + " rlnDefocus", "1 t1.mrc 10 1e30"), "rlnDefocus: 1e.30 A for t1.mrc is imp"),
        "tiny_size": (star(USUAL, "1 t1.mrc 1e-30"), "_rlnPixelSize is 1e-30 for t1.mrc"),
        "huge_size": (star(USUAL, "1 t1.mrc 1e30"), "_rlnPixelSize is 1e.30 for t1.mrc"),
        "contrast": (
            star(USUAL + " rlnAmplitudeContrast", "1 t1.mrc 10 7"),
            "rlnAmplitudeContrast of t1.mrc, .*: 7 is not a frac",
        ),
        "nul": (star(USUAL, "1 t\0.mrc 10"), "does not exist|can't be read"),
    }
    commands = {"impossible_tilts": EXTRACT, "half_given_tilts": EXTRACT}
    for name, (text, why) in bad.items():
        (folder / f"{name}.star").write_text(text)
        yield from on_table(name, (commands.get(name, DECONV),), why)
    (folder / "utf16.star").write_text(star(USUAL, "1 t1.mrc 10"), encoding="utf-16")
    yield from on_table("utf16", (MASK,), "utf16.star: it is no text .UTF-8., so not a table")
    for name, count in (("negative_count", -3), ("huge_count", 10**15), ("half_count", 2.5)):
        (folder / f"{name}.star").write_text(star(USUAL + " rlnNumberSubtomo", f"1 t1.mrc 10 {count}"))
        yield from on_table(name, (EXTRACT,), "rlnNumberSubtomo is")
    for name, row in (("outside", "t1 1 1 1"), ("far_outside", "t1 1e300 -1e300 1e18"), ("words", "t1 here 1 1")):
        labels = "rlnTomoName rlnCoordinateX rlnCoordinateY rlnCoordinateZ"
        (folder / f"{name}_points.star").write_text(star(labels, row))
        whys = {"words": "_rlnCoordinateX is 'here'", "far_outside": "1 of 1 coordinates of t1, .* lie outside it"}
        why = whys.get(name, "no subtomogram lies inside")
        yield Case(name, (*EXTRACT[:1], "t.star", *EXTRACT[1:], f"--coordinates_star={name}_points.star"), why)

    optics = star("rlnOpticsGroup", "1", head="data_optics\nloop_\n")
    points = star(
        "rlnTomoName rlnCoordinateX rlnCoordinateY rlnCoordinateZ", "t1 16 16 12", head="data_particles\nloop_\n"
    )
    (folder / "relion.star").write_text(f"{optics}\n{points}")
    yield Case("relion", (*EXTRACT[:1], "t.star", *EXTRACT[1:], "--coordinates_star=relion.star"), None)
    (folder / "a b").mkdir()
    (folder / "a b" / "it's $x^{ & `touch ran`.mrc").write_bytes((folder / "t1.mrc").read_bytes())
    names = f"{USUAL} rlnTomoName"
    good = {
        "windows": star(USUAL, "1 t1.mrc 10").replace("\n", "\r\n"),
        "byte_order_mark": "\ufeff" + star(USUAL, "1 t1.mrc 10"),
        "tabs": star(USUAL, "1\tt1.mrc\t10"),
        "comments": "# by hand\n" + star(USUAL, "# one", "1 t1.mrc 10", "", "2 t2.mrc 10"),
        "quotes": star(USUAL, '1 "a b/it\'s $x^{ & `touch ran`.mrc" 10'),
        "climbing_name": star(names, "1 t1.mrc 10 ../../climbed"),
        "shell_name": star(names, "1 t1.mrc 10 $(touch${IFS}ran);x"),
        "one_name": star(names, "1 t1.mrc 10 same", "2 t2.mrc 10 same", "3 t1.mrc 10 same_1"),
        "single_row": "data_\n_rlnIndex 1\n_rlnMicrographName t1.mrc\n_rlnPixelSize 10\n",
    }
    for name, text in good.items():
        (folder / f"{name}.star").write_bytes(text.encode())
        # predict takes tables from the same reader, but writes names into its report
        yield from on_table(name, (MASK, PREDICT) if "name" in name or name == "quotes" else (MASK,), None)
    (folder / "ten_thousand.star").write_text(star(USUAL, *(f"{i} t1.mrc 10" for i in range(1, 10_001))))
    yield Case("ten_thousand", ("make_mask", "ten_thousand.star", "--tomo_idx=9999"), None)

    cubes = {
        "no_cube": ("cubes/s0.mrc", "t1.mrc", r"t1.mrc: its shape \(24, 32, 36\) is not a cube"),
        "other_side": ("cubes/s0.mrc", "cubes/small.mrc", "small.mrc: its side is 12 voxels, the first one's 16"),
        "flat_cube": ("cubes/flat.mrc", "cubes/flat.mrc", "all its subtomograms are blank"),
        "nan_cube": ("cubes/s0.mrc", "cubes/nan.mrc", "nan.mrc: it holds NaN"),
    }
    write_volume(folder / "cubes" / "small.mrc", voxels((12, 12, 12), 1), VOXEL_SIZE)
    write_volume(folder / "cubes" / "flat.mrc", np.ones((16, 16, 16), np.float32), VOXEL_SIZE)
    write_volume(folder / "cubes" / "nan.mrc", np.full((16, 16, 16), np.nan, np.float32), VOXEL_SIZE)
    for name, (first, second, why) in cubes.items():
        text = star("rlnSubtomoIndex rlnImageName rlnCubeSize", f"1 {first} 8", f"2 {second} 8")
        (folder / f"{name}.star").write_text(text)
        yield Case(name, ("refine", f"{name}.star", "--filter_base=2", "--unet_depth=1"), why)


# ---------------------------------------------------------------- boundaries


def imod(contours: list[np.ndarray], shape: tuple[int, int, int] = SHAPE, count: int | None = None) -> bytes:
    """An IMOD model of one object; `count` replaces the number of points that the contours' headers tell."""
    words = np.array(shape[::-1], ">i4").tobytes()
    head = b"IMODV1.2" + bytes(128) + words + np.array([1], ">i4").tobytes()
    head += bytes(240 - len(head))
    body = b"OBJT" + bytes(64 + 64) + np.array([len(contours)], ">i4").tobytes()
    body += bytes(4 + 176 - len(body))
    for points in contours:
        body += b"CONT" + np.array([len(points) if count is None else count, 0, 0, 0], ">i4").tobytes()
        body += np.asarray(points, ">f4").tobytes()
    return head + body + b"IEOF"


def boundaries(folder: Path) -> Iterator[Case]:
    square = np.array([[4, 4, 5], [28, 4, 5], [28, 28, 5], [4, 28, 5]], float)
    whole = imod([square])
    bad = {
        "empty_model": (b"", "the boundary is an empty file"),
        "no_imod": (b"MRC " + bytes(500), "not an IMOD model"),
        "cut_model": (whole[:-30], "claims 4 points"),
        "cut_end": (whole[:-2], "ends too early"),
        "head_model": (whole[:100], "damaged"),
        "no_contours": (imod([]), "no contours"),
        "other_volume": (imod([square], (99, 98, 97)), r"drawn on a volume of \(99, 98, 97\) voxels"),
        "billions": (imod([square], count=2**31 - 1), "claims 2147483647 points"),
        "less_than_none": (imod([square], count=-4), "claims -4 points"),
        "nan_points": (imod([square * np.nan]), "points that are not numbers"),
        "one_click": (imod([square[:1]]), "none of its 1 contours"),
        "skipped_chunk": (whole[:-4] + b"WHAT" + b"\x7f\xff\xff\xff", "ends too early"),
        "lost_chunk": (whole[:240] + whole[416:], "damaged"),
    }
    for name, (content, why) in bad.items():
        (folder / f"{name}.mod").write_bytes(content)
        table(folder / f"{name}.star", [{"rlnMaskBoundary": f"{name}.mod"}])
        yield from on_table(name, (MASK,), f"{name}.mod: .*{why}")
    table(folder / "absent_model.star", [{"rlnMaskBoundary": "absent.mod"}])
    yield from on_table("absent_model", (MASK,), "absent.mod: the boundary does not exist")
    (folder / "square.mod").write_bytes(whole)
    table(folder / "square.star", [{"rlnMaskBoundary": "square.mod"}])
    yield from on_table("square", (MASK,), None)


# ---------------------------------------------------------------- models


def archive(
    path: Path, source: Path, metadata: dict | str | None = None, packing: int = zipfile.ZIP_STORED, **members: bytes
) -> None:
    """A .keras with another isonet.json, or other members (their dots written as __); Keras does not pack either."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w", packing) as new:
        content = {name: old.read(name) for name in old.namelist()}
        if metadata is not None:
            content[METADATA] = (metadata if isinstance(metadata, str) else json.dumps(metadata)).encode()
        content.update({name.replace("__", "."): data for name, data in members.items()})
        for name, data in content.items():
            new.writestr(name, data)


def models(folder: Path) -> Iterator[Case]:
    good = folder / "m.keras"
    save_legacy(folder / "good.h5", build_unet(TINY), 4e-4)
    whole, legacy = good.read_bytes(), (folder / "good.h5").read_bytes()
    shape = TINY.as_dict()
    flipped = bytes(255 - byte for byte in whole[len(whole) // 2 :][:64])  # zeros would change none of those there
    files = {
        "empty.keras": b"",
        "text.keras": b"no model",
        "half.keras": whole[: len(whole) // 2],
        "flipped.keras": whole[: len(whole) // 2] + flipped + whole[len(whole) // 2 + 64 :],
        "half.h5": legacy[: len(legacy) // 2],
        "text.h5": b"no model",
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)
    unfit = build_unet(TINY)
    unfit.set_weights([np.full_like(weight, np.nan) for weight in unfit.get_weights()])
    save_model(folder / "nan_network.keras", unfit, ModelMetadata(TINY))
    save_legacy(folder / "nan.h5", unfit, 4e-4)
    wider = NetworkSettings(filter_base=4, unet_depth=1, convs_per_depth=2).as_dict()
    archive(folder / "other_network.keras", good, wider)
    archive(folder / "huge_network.keras", good, {**shape, "filter_base": 10**6})
    archive(folder / "deep_network.keras", good, {**shape, "unet_depth": 10**9})
    archive(folder / "long_network.keras", good, {**shape, "convs_per_depth": 10**9})
    archive(folder / "wide_stem_network.keras", good, {**shape, "stem": 10**9})
    archive(folder / "text_network.keras", good, {**shape, "filter_base": "two"})
    archive(folder / "text_tilt_network.keras", good, {**shape, "tilt_min": "a", "tilt_max": "b"})
    archive(folder / "text_kernel_network.keras", good, {**shape, "kernel": "abc"})
    archive(folder / "no_network.keras", good, {})
    for name, value in (("kept_beyond", "x"), ("voltage", "x"), ("cs", float("nan")), ("iteration", "2")):
        archive(folder / f"{name}_network.keras", good, {**shape, "ctf_aware": True, name: value})
    archive(folder / "list.keras", good, "[1, 2]")
    archive(folder / "nested.keras", good, "[" * 100_000)
    archive(folder / "bomb.keras", good, packing=zipfile.ZIP_DEFLATED, padding=bytes(64 << 20))
    archive(folder / "bad_weights.keras", good, model__weights__h5=b"no HDF5")
    with zipfile.ZipFile(folder / "strangers.keras", "w") as other:  # another program's model, with code in it
        layer = {"class_name": "Lambda", "config": {"function": "__import__('os').mknod('ran')"}}
        other.writestr("config.json", json.dumps(layer))
    with h5py.File(folder / "strangers.h5", "w") as file:
        layers = [{"class_name": "Lambda", "config": {"name": "x", "function": ["mknod('ran')", None, None]}}]
        file.attrs["model_config"] = json.dumps({"class_name": "Functional", "config": {"layers": layers}})
    with h5py.File(folder / "good.h5") as old, h5py.File(folder / "claims.h5", "w") as file:
        file.attrs.update(old.attrs)
        old.copy("model_weights", file)
        group = file["model_weights"]["down_level_0_no_0"]
        (name,) = (weight for weight in group.attrs["weight_names"] if "kernel" in str(weight))
        del group[name]
        group.create_dataset(name, (10**5, 10**4, 10**3, 1, 1), "f4", chunks=(1, 10, 10, 1, 1))
    # what else is in the user's files would go into the models that they give away
    for path in ("linked.h5", "stored.h5"):
        with h5py.File(folder / "good.h5") as old, h5py.File(folder / path, "w") as file:
            file.attrs.update(old.attrs)
            old.copy("model_weights", file)
            group = file["model_weights"]["down_level_0_no_0"]
            name = group.attrs["weight_names"][0]
            place, shape = group[name].name, group[name].shape
            del group[name]
            if path == "linked.h5":
                group[name] = h5py.ExternalLink("good.h5", place)
            else:
                group.create_dataset(name, shape, "f4", external=[("m.keras", 0, h5py.h5f.UNLIMITED)])
    for path in sorted({*files, *(p.name for p in folder.glob("*_network.keras"))}):
        yield Case(path, ("predict", "t.star", path), f"{path}: ")
    for path in ("list", "nested", "bomb", "bad_weights", "strangers"):
        yield Case(path, ("predict", "t.star", f"{path}.keras"), f"{path}.keras: ")
    for path in ("strangers.h5", "claims.h5", "nan.h5", "linked.h5", "stored.h5"):
        yield Case(path, ("predict", "t.star", path), f"{path}: ")
        yield Case(path, ("export_model", path, "new.h5"), f"{path}: ")
    yield Case("good.h5", ("predict", "t.star", "good.h5"), None)
    yield Case("no_h5", ("export_model", "m.keras", "m.txt"), "m.txt: IsoNet 0.2 only reads .h5")
    (folder / "broken.json").write_text("{")
    (folder / "list.json").write_text("[]")
    for path in ("broken.json", "list.json", "absent.json"):
        yield Case(path, ("refine", "s.star", f"--continue_from={path}"), f"{path}: ")
    strange = ("iter_count", "iterations", "batch_size", "kernel", "pool", "unet_depth", "learning_rate", "tilt_min")
    strange += ("noise_level", "precision", "method", "select_subtomo_number", "drop_out", "seed")
    for name in strange:
        (folder / f"{name}.json").write_text(json.dumps({name: "strange"}))
        why = f"{name}.json: it is not a refine_iter.*its {name} is"
        yield Case(f"{name}.json", ("refine", "s.star", f"--continue_from={name}.json"), why)
    (folder / "nested.json").write_text("[" * 100_000)
    yield Case("nested.json", ("refine", "s.star", "--continue_from=nested.json"), "nested.json: it is not a refine_")
    yield Case("pretrained", ("refine", "s.star", "--pretrained_model=half.keras"), "half.keras: ")


# ---------------------------------------------------------------- options


def options() -> Iterator[Case]:
    for arguments, named in (
        (("deconv", "t.star", "--ncpu=0"), "--ncpu"),
        (("deconv", "t.star", "--chunk_size=-4"), "--chunk_size"),
        (("deconv", "t.star", "--voltage=nan"), "--voltage.*not a number"),
        (("deconv", "t.star", "--snrfalloff=inf"), "--snrfalloff.*not a number"),
        (("deconv", "t.star", "--deconvstrength=1e9"), "--deconvstrength.*is not from 0 to 99"),
        (("deconv", "t.star", "--highpassnyquist=5"), "--highpassnyquist.*is not from 0 to 1"),
        (("predict", "t.star", "m.keras", "--batch_size=0"), "--batch_size"),
        (("predict", "t.star", "m.keras", "--cube_size=-8"), "--cube_size"),
        (("extract", "t.star", "--seed=-1"), "--seed"),
        (("refine", "s.star", "--preprocessing_ncpus=0"), "--preprocessing_ncpus"),
        (("refine", "s.star", "--noise_level=0.1,nan"), "--noise_level"),
        (("refine", "s.star", "--precision=float8"), "--precision"),
        (("resize", "t.star", "--apix=nan"), "--apix.*not a number"),
        (("prepare_star", ".", "--pixel_size=nan"), "--pixel_size"),
        (("prepare_star", ""), "FOLDER"),
        (("extract", "t.star", "--cube_size=8", "--subtomo_star="), "--subtomo_star.*it is empty"),
        (("extract", "t.star", "--cube_size=8", "--subtomo_folder="), "--subtomo_folder.*it is empty"),
        (("refine", "s.star", "--result_dir= "), "--result_dir.*it is empty"),
        (("polish", "t.star"), "polish"),
    ):
        yield Case(" ".join(arguments), arguments, named, status=2)
    for arguments, named in (
        (("deconv", "t.star", "--voltage=0"), "voltage: 0 kV"),
        (("deconv", "t.star", "--tomo_idx=9"), "t.star: it has no rlnIndex 9"),
        (("deconv", "t.star", "--tomo_idx=one"), "tomo_idx"),
        (("deconv", "absent/t.star"), "absent/t.star: the STAR file does not exist"),
        (("make_mask", "t.star", "--z_crop=0.5"), "z_crop"),
        (("make_mask", "t.star", "--density_percentage=0"), "density_percentage"),
        (("extract", "t.star", "--cube_size=64"), "fewer than crop_size 80"),
        (("extract", "t.star", "--cube_size=16", "--crop_size=8"), "crop_size: 8 is smaller"),
        (("resize", "t.star", "--apix=0"), "apix"),
        (("resize", "t.star", "--apix=0.0001"), "apix: 0.0001 A is much finer than the 10 A of "),
        (("refine", "s.star", "--unet_depth=4"), "cube_size: 8 is not divisible by 16"),
        (("refine", "s.star", "--kernel=3,3"), "kernel"),
        (("refine", "s.star", "--learning_rate=0"), "learning_rate"),
        (("refine", "s.star", "--tilt_min=80", "--tilt_max=60"), "80..60 degrees"),
        (("predict", "t.star", "m.keras", "--cube_size=20", "--crop_size=22"), "crop_size"),
        (("predict", "t.star", "m.keras", "--gpuID=first"), "gpuID"),
        (("extract", "t.star", "--cube_size=8", "--subtomo_star=cubes"), "cubes: .*it exists and is not a file.*name"),
        (("extract", "t.star", "--cube_size=8", "--subtomo_folder=t1.mrc"), "t1.mrc: .*is not a folder.*another name"),
        (("deconv", "t.star", "--deconv_folder=t1.mrc/in"), r"in: .*\(Not a directory\).*another name"),
        (("deconv", "t1.mrc/t.star"), "t1.mrc/t.star: .*Give another name"),
        (("prepare_star", ".", f"--output_star={'x' * 300}"), "File name too long.*another name"),
        (("export_relion", "t.star", "--output_star=cubes"), "cubes: .*is not a file"),
        (("prepare_star", ".", "--pixel_size=1e30"), "pixel_size: 1e.30 is not a voxel size"),
        (("prepare_star",), "FOLDER: it is not given"),
        (("prepare_star", "--from=absent.star"), "absent.star: the STAR file does not exist"),
        (("prepare_star", "--from=t.star"), "t.star: it is a table for this program already"),
        (("prepare_star", ".", "--tilt_files=absent"), "absent: the folder does not exist"),
        (("prepare_star", ".", "--defocus=2.5"), "defocus: 2.5 is not a defocus in A but looks like"),
        (("extract", "t.star", "--cube_size=21"), "cube_size: 21 is odd"),
        (("extract", "t.star", *EXTRACT[1:], "--coordinates_star=t1.mrc"), "t1.mrc: "),
        (("prepare_star", "absent"), "absent: the folder does not exist"),
        (("prepare_star", "t.star"), "t.star: it is a file, not a folder"),
        (("prepare_subtomo_star", ".", "--pixel_size=-1"), "pixel_size|mrc: "),
    ):
        yield Case(" ".join(arguments), arguments, named)
