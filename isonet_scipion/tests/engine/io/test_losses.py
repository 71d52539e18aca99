"""The table of a training's epochs comes back as it was written."""

import pytest

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.losses import read_losses, write_losses
from isonet_scipion.engine.measure.history import EpochRecord

HISTORY = [EpochRecord(1, 1, 0.5, 0.25, 0.0, 3.5), EpochRecord(1, 2, 0.4, 0.2, 0.05, 3.0, 0.61, 0.02, 1)]


def test_epochs_come_back(tmp_path):
    write_losses(tmp_path / "losses.csv", HISTORY)
    assert read_losses(tmp_path / "losses.csv") == HISTORY
    assert (tmp_path / "losses.csv").read_text().splitlines()[0].startswith("iteration,epoch,loss,val_loss")
    assert read_losses(tmp_path / "absent.csv") == []


def test_columns_of_other_versions_are_passed_over(tmp_path):
    write_losses(tmp_path / "losses.csv", HISTORY)
    text = (tmp_path / "losses.csv").read_text()
    (tmp_path / "losses.csv").write_text(text.replace("withheld_", "wedge_"))
    assert [record.withheld_correlation for record in read_losses(tmp_path / "losses.csv")] == [None, None]


@pytest.mark.parametrize(
    "row",
    [
        *("1,1,x,0.2,0.0,3.5,,,0", "1,1", "one,1,0.1,0.2,0.0,3.5,,,0"),
        *("1,1,,0.2,0.0,3.5,,,0", "1,1,nan,0.2,0.0,3.5,,,0", "1,1,0.1,0.2,0.0,3.5,inf,,0"),
    ],
)
def test_what_is_no_such_table_is_told(tmp_path, row):
    write_losses(tmp_path / "losses.csv", [])
    with open(tmp_path / "losses.csv", "a") as file:
        file.write(row + "\n")
    with pytest.raises(EngineError, match=r"losses\.csv: it is no table of a training's epochs") as told:
        read_losses(tmp_path / "losses.csv")
    assert ("a row is cut off" in str(told.value)) == (row == "1,1")
