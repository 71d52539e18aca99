"""Which shapes a network can have."""

import pytest

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.settings.network import NetworkSettings


@pytest.mark.parametrize(
    ("network", "divisor"),
    [
        (NetworkSettings(), (8, 8, 8)),
        (NetworkSettings(unet_depth=2, stem=2), (8, 8, 8)),
        (NetworkSettings(unet_depth=2, pool=(1, 2, 3)), (1, 4, 9)),
    ],
)
def test_sides_are_multiples_of_what_is_halved(network, divisor):
    assert network.divisor == divisor


def test_impossible_networks_are_refused_by_the_name_of_the_option():
    for name, value in (("kernel", (3, 3)), ("unet_depth", 0), ("convs_per_depth", 1), ("drop_out", 1.0), ("fine", -1)):
        with pytest.raises(EngineError, match=f"^{name}:"):
            NetworkSettings(**{name: value})


@pytest.mark.parametrize(
    "wrong",
    [
        {"filter_base": 10**9},
        {"unet_depth": 10**6},
        {"convs_per_depth": 10**7},
        {"convs_per_depth": 10**5000},
        {"stem": 17},
        {"fine": -1},
        {"kernel": (10**9, 1, 1)},
        {"pool": (0, 2, 2)},
    ],
)
def test_a_network_that_no_machine_holds_is_told(wrong):
    with pytest.raises(EngineError, match=next(iter(wrong))):
        NetworkSettings(**wrong)
    NetworkSettings(filter_base=4096, unet_depth=10, convs_per_depth=64, stem=16, fine=1024, kernel=(64, 1, 1))
