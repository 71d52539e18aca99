"""What protocols that make inputs are known to do."""

from types import SimpleNamespace

import pytest
from pyworkflow.protocol import Protocol
from pyworkflow.protocol.constants import STATUS_FAILED, STATUS_RUNNING

from isonet_scipion.protocols.linked_inputs import hasEndedByNow


@pytest.mark.parametrize(("status", "isOver"), [(STATUS_FAILED, True), (STATUS_RUNNING, False)])
def test_a_maker_whose_logs_were_deleted_is_as_the_project_knows_it(tmp_path, monkeypatch, status, isOver):
    monkeypatch.chdir(tmp_path)
    maker = Protocol(workingDir="Runs/000002_Maker")
    maker.setStatus(status)
    assert hasEndedByNow(maker, SimpleNamespace(path=str(tmp_path))) == isOver


def test_what_is_no_protocol_has_not_ended(tmp_path):
    assert not hasEndedByNow(None, SimpleNamespace(path=str(tmp_path)))
