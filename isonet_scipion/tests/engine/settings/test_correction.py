"""Options of the commands that work on results."""

import pytest

from isonet_scipion.engine.settings.correction import ExportRelionSettings, PredictSettings, ReportSettings
from isonet_scipion.engine.settings.option import options


def test_a_report_is_made_later_with_the_options_that_predict_makes_it_with():
    now, later = options(PredictSettings), options(ReportSettings)
    assert later.keys() < now.keys()
    assert all(later[name].default == now[name].default and later[name].choices == now[name].choices for name in later)


@pytest.mark.parametrize("settings", [PredictSettings, ReportSettings, ExportRelionSettings])
def test_each_default_is_one_that_may_be_given(settings):
    assert not [name for name, one in options(settings).items() if not one.allows(one.default)]
