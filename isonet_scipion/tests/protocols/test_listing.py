"""How many tomograms are listed in a message or a summary."""

from pyworkflow.object import Float
from tomo.objects import Tomogram

from isonet_scipion.constants import SCALE_ATTRIBUTE
from isonet_scipion.protocols.listing import MOST, firstLines, named
from isonet_scipion.protocols.set_checks import correctedWarnings


def test_few_are_all_told_and_of_many_the_first():
    ids = [f"TS_{number}" for number in range(MOST + 2)]
    assert named(ids[:MOST]) == ", ".join(ids[:MOST])
    assert named(iter(ids)) == ", ".join(ids[:MOST]) + " and 2 more"
    assert firstLines(ids[:MOST], "failed, too.") == ids[:MOST]
    assert firstLines(ids, "failed, too.") == [*ids[:MOST], "2 more failed, too."]


def test_as_many_tomograms_that_a_network_corrected_are_named():
    items = [Tomogram(tsId=f"TS_{number}") for number in range(MOST + 2)]
    for item in items:
        setattr(item, SCALE_ATTRIBUTE, Float(1))
    (told,) = correctedWarnings("Tomograms", items)
    assert f"TS_{MOST - 1} and 2 more." in told
