"""Options of the commands that come before a training."""

import pytest

from isonet_scipion.engine.settings.option import options
from isonet_scipion.engine.settings.preparation import (
    DeconvSettings,
    ExtractSettings,
    MakeMaskSettings,
    PrepareStarSettings,
    PrepareSubtomoStarSettings,
    ResizeSettings,
)

# of IsoNet 0.2; None: what the table says, or what is told by the data
USUAL = {
    DeconvSettings: {
        "deconv_folder": "./deconv", "snrfalloff": None, "deconvstrength": None, "highpassnyquist": 0.02,
        "chunk_size": None, "overlap_rate": 0.25, "ncpu": 4, "tomo_idx": None,
    },
    MakeMaskSettings: {
        "mask_folder": "mask", "patch_size": 4, "density_percentage": None, "std_percentage": None,
        "use_deconv_tomo": True, "z_crop": None, "tomo_idx": None,
    },
    ExtractSettings: {
        "use_deconv_tomo": True, "subtomo_folder": "subtomo", "subtomo_star": "subtomo.star", "cube_size": 64,
        "crop_size": None, "tomo_idx": None,
    },
}  # fmt: skip


@pytest.mark.parametrize("settings", USUAL)
def test_isonets_options_have_its_names_and_defaults(settings):
    known = options(settings)
    assert {name: known[name].default for name in USUAL[settings]} == USUAL[settings]


@pytest.mark.parametrize("settings", [*USUAL, PrepareStarSettings, PrepareSubtomoStarSettings, ResizeSettings])
def test_each_default_is_one_that_may_be_given(settings):
    assert not [name for name, one in options(settings).items() if not one.allows(one.default)]
