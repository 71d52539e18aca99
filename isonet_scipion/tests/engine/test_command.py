"""The records of the commands."""

from isonet_scipion.engine.command import Command, value_of


def stage(folder):
    """Do it."""


def test_a_record_takes_name_and_description_from_its_function():
    command = Command(stage, ("FOLDER",), writes=value_of("folder"))
    assert (command.name, command.description) == ("stage", "Do it.")
    assert command.writes({"folder": "results"}) == "results"
