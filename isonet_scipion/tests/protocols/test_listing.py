"""How many tomograms are listed in a message or a summary."""

from isonet_scipion.protocols.listing import MOST, firstLines, named


def test_few_are_all_told_and_of_many_the_first():
    ids = [f"TS_{number}" for number in range(MOST + 2)]
    assert named(ids[:MOST]) == ", ".join(ids[:MOST])
    assert named(iter(ids)) == ", ".join(ids[:MOST]) + " and 2 more"
    assert firstLines(ids[:MOST], "failed, too.") == ids[:MOST]
    assert firstLines(ids, "failed, too.") == [*ids[:MOST], "2 more failed, too."]
