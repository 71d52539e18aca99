"""Commands of several threads that are run together."""

import threading

from isonet_scipion.protocols.together import Together


def test_commands_are_run_together_in_order_and_each_has_its_own_end():
    ran, got = [], {}

    def run(commands):
        assert threading.current_thread() is threading.main_thread()
        ran.append(list(commands))
        return [command.upper() for command in commands]

    together = Together(run)

    def task(*commands):
        for command in commands:
            got[command] = together.end(threading.current_thread(), command)

    def fails():
        raise ValueError("before its command")

    errors = together.do([lambda: task("a", "bbb"), fails, lambda: task("cc"), lambda: None])
    assert ran == [["a", "cc"], ["bbb"]]
    assert got == {"a": "A", "cc": "CC", "bbb": "BBB"}
    assert [str(error) for error in errors] == ["None", "before its command", "None", "None"]


def test_where_they_cannot_be_run_each_has_the_error():
    def run(commands):
        raise OSError("no queue")

    together = Together(run)
    errors = together.do([lambda: together.end(threading.current_thread(), "a")] * 2)
    assert [str(error) for error in errors] == ["no queue"] * 2
