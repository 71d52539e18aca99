"""check."""


def test_check_tells_versions_and_trains(run, capfd):
    from isonet_scipion.engine import cli

    assert cli.main(["check"]) == 0
    output = capfd.readouterr().out
    assert "tensorflow" in output and "Training step and prediction work" in output
