"""What results were made with: the form's values and the data."""

from __future__ import annotations

import os
import resource
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from isonet_scipion.convert.acquisition import Optics
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.protocols import record
from isonet_scipion.protocols.record import identityOf, isIdentityOf
from isonet_scipion.tests.protocols.odd_conditions import roomFor

OPTICS = Optics(200.0, 2.0, 0.08, -57.0, 51.0)


def test_the_values_that_results_are_made_with_are_stored_whole_or_not_at_all(tmp_path, monkeypatch):
    protocol = SimpleNamespace(_getExtraPath=lambda name: str(tmp_path / name))
    for values, size in (({"a": 1}, resource.RLIM_INFINITY), ({"a": "long" * 9}, 12)):
        monkeypatch.setattr(record, "formValues", lambda _, values=values: values)
        with roomFor(size), nullcontext() if size < 0 else pytest.raises(EngineError, match=r"values\.json"):
            record.keepValues(protocol)
    assert record.keptValues(protocol) == {"a": 1}


@pytest.mark.parametrize("left", [b"", b"{", b"null", b"[1]", b"\xff"])
def test_a_record_that_is_damaged_is_told_with_what_to_do(tmp_path, monkeypatch, left):
    protocol = SimpleNamespace(_getExtraPath=lambda name: str(tmp_path / name))
    monkeypatch.setattr(record, "formValues", lambda _, free=(): {"a": 1})
    (tmp_path / record.RECORD).write_bytes(left)
    for told in (record.recordErrors(protocol), record.changeErrors(protocol)):
        assert len(told) == 1 and "values.json: it does not tell any more" in told[0] and "delete it and" in told[0]
    assert record.usedValue(protocol, "a") == 1
    (tmp_path / record.RECORD).write_text('{"a": 2}')
    assert (record.recordErrors(protocol), record.usedValue(protocol, "a")) == ([], 2)


def test_what_results_are_made_from_is_known_by_content_and_read_only_where_it_was_written(
    tmp_path, tomogram, monkeypatch
):
    path, things = tmp_path / "volume.mrc", (tomogram, OPTICS, [], (20000.0, "CTF"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "CTF").mkdir()  # the word is no file
    tomogram.setLocation(str(tmp_path / "link.mrc"))
    (tmp_path / "link.mrc").symlink_to(path)
    identity, content = identityOf(*things), path.read_bytes()
    with monkeypatch.context() as patch:
        patch.delattr(record, "fileDigest")
        assert isIdentityOf(identity, *things)
    os.utime(path, (1e9, 1e9))
    assert isIdentityOf(identity, *things)
    for other in (
        (tomogram, OPTICS, [], (30000.0, "CTF")),
        (tomogram, Optics(300.0, 2.0, 0.08, -57.0, 51.0), [], None),
    ):
        assert not isIdentityOf(identity, *other)
    path.write_bytes(content[:-4] + b"\0\0\0\0")
    assert not isIdentityOf(identity, *things)
    path.write_bytes(content)
    assert isIdentityOf(identity, *things)
    path.unlink()
    with pytest.raises(EngineError, match=r"link\.mrc"):
        isIdentityOf(identity, *things)
