"""The records of the commands."""

from isonet_scipion.engine.command import Command, value_of


def stage(folder):
    """Do it."""


def test_a_record_takes_name_and_description_from_its_function():
    command = Command(stage, ("FOLDER",), writes=value_of("folder"))
    assert (command.name, command.description) == ("stage", "Do it.")
    assert command.writes({"folder": "results"}) == "results"


def test_what_is_told_lacks_the_defaults_of_options_which_are_made_once():
    made = []
    command = Command(stage, ("FOLDER",), lambda: made.append("options") or dict.fromkeys(("typed", "default")))
    values = {"folder": "results", "typed": 1, "default": 2}
    assert command.told(values, {"typed": 1}) == {"folder": "results", "typed": 1}
    assert made == ["options"]
