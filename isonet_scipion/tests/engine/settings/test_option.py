"""What an option says of itself."""

from isonet_scipion.engine.settings.option import options
from isonet_scipion.engine.settings.preparation import DeconvSettings, PrepareStarSettings


def test_an_option_is_typed_without_the_underscore_that_python_needs_and_tells_its_default():
    known = options(PrepareStarSettings)
    assert known["from_"].flag == "from" and known["from_"].value_kind is str
    assert known["average_folder"].usual == "averages" and known["average_folder"].full_help.endswith(": averages.")
    assert known["tilt_min"].usual == "" and known["tilt_min"].full_help == known["tilt_min"].help


def test_a_range_holds_for_what_is_given():
    ncpu = options(DeconvSettings)["ncpu"]
    assert [ncpu.allows(value) for value in (None, 0, 1, 1024, 1025)] == [True, False, True, True, False]
