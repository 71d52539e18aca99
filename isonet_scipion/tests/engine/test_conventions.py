"""Conventions that several rooms share."""

from isonet_scipion.engine.conventions import Normalisation


def test_the_first_option_that_is_given_decides_and_percentiles_where_none_is():
    moments, percentiles = Normalisation.MOMENTS, Normalisation.PERCENTILES
    assert Normalisation.told(None, False) is Normalisation.told(False, True) is moments
    assert Normalisation.told(True, False) is Normalisation.told(None, None) is Normalisation.told() is percentiles
