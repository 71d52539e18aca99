"""Subtomograms at given coordinates."""

from __future__ import annotations

import numpy as np
from pwem.objects import Transform
from tomo.constants import BOTTOM_LEFT_CORNER
from tomo.objects import Coordinate3D, SetOfCoordinates3D, SetOfTomograms, Tomogram

from isonet_scipion.protocols import ProtIsoNetExtract
from isonet_scipion.tests.protocols.scene import SHAPES, VOXEL_SIZE, IsoNetTest, positions, scene, write


class TestIsoNetCoordinates(IsoNetTest):
    """Two tomograms, and coordinates that were picked in them, or in others."""

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.input = {"inputTomograms": (cls.tomograms, "Tomograms")}

    def test_given_coordinates_are_used_in_their_own_tomogram_and_scaled(self) -> None:
        first = self.run_(ProtIsoNetExtract, self.input, cubeSize=16, cropSize=24, numberSubtomos=4, seed=3)
        again = self.run_(
            ProtIsoNetExtract, {**self.input, "inputCoordinates": (first, "coordinates")}, cubeSize=16, cropSize=24
        )

        self.assertEqual(positions(first.subtomograms), positions(again.subtomograms))
        self.check_orientations(first)
        # the same volumes, called twice as coarse: their voxels count twice as much, so the places are half as far
        coarse = self.importTomograms(samplingRate=2 * VOXEL_SIZE)
        scaled = self.run_(
            ProtIsoNetExtract,
            {"inputTomograms": (coarse, "Tomograms"), "inputCoordinates": (first, "coordinates")},
            cubeSize=4,
            cropSize=6,
        )
        expected = {(name, *(round(value / 2) for value in place)) for name, *place in positions(first.subtomograms)}
        self.assertLessEqual(set(positions(scaled.subtomograms)), expected)
        self.assertTrue(0 < len(positions(scaled.subtomograms)) <= 8)
        # called four times as fine, they do not reach as far as the coordinates
        fine = self.prepare(
            ProtIsoNetExtract,
            {
                "inputTomograms": (self.importTomograms(samplingRate=VOXEL_SIZE / 4), "Tomograms"),
                "inputCoordinates": (first, "coordinates"),
            },
            cubeSize=4,
            cropSize=6,
        )
        self.assertRegex(self.errorOf(fine), "coordinates of TS_0., taken as voxels of the tomogram.* lie outside it")

    def check_orientations(self, first: ProtIsoNetExtract) -> None:
        """Those of coordinates are the subtomograms' too, for programs that average them."""
        oriented = SetOfCoordinates3D.create(first._getPath(), prefix="oriented")
        oriented.copyInfo(first.coordinates)
        oriented.setPrecedents(first.coordinates.getPrecedents())
        matrix = np.array([[0, -1, 0, 1], [1, 0, 0, 2], [0, 0, 1, 3], [0, 0, 0, 1]], float)
        for coordinate in [item.clone() for item in first.coordinates.iterCoordinates()]:
            coordinate.setMatrix(matrix)
            oriented.append(coordinate)
        oriented.write()
        first._defineOutputs(oriented=oriented)
        self.proj.mapper.commit()
        inputs = {**self.input, "inputCoordinates": (first, "oriented")}
        extract = self.run_(ProtIsoNetExtract, inputs, cubeSize=16, cropSize=24)
        for subtomogram in extract.subtomograms.iterItems():
            np.testing.assert_array_equal(subtomogram.getTransform().getMatrix(), matrix)

    def test_coordinates_without_their_tomogram_are_left_out(self) -> None:
        items = [item.clone() for item in self.tomograms.Tomograms]
        inputs = self.picked("one", items[0].clone(), [(tomogram, (24, 24, 20)) for tomogram in items])
        extract = self.prepare(ProtIsoNetExtract, inputs, cubeSize=16, cropSize=24)
        self.assertEqual(extract.validate(), [])
        warnings = " ".join(extract.warnings())
        self.assertIn("they have no mask or coordinates: TS_01.", warnings)
        self.assertIn("The coordinates in TS_01 are left out", warnings)
        self.launchProtocol(extract)
        self.assertEqual([item.getVolName() for item in extract.subtomograms], ["TS_02"])

    def test_coordinates_whose_set_of_tomograms_was_deleted_are_refused(self) -> None:
        (first, _) = (item.clone() for item in self.tomograms.Tomograms)
        inputs = self.picked("deleted", first, [(first, (24, 24, 20))])
        extract = self.prepare(ProtIsoNetExtract, inputs, cubeSize=16, cropSize=24)
        self.tomograms.deletedCoordinates._precedentsPointer.set(None)  # as it is loaded then
        (told,) = extract.validate()
        self.assertIn("the set of tomograms that they were picked in is no longer in the project", told)

    def test_coordinates_picked_in_two_tomograms_of_one_id_are_refused(self) -> None:
        first, last = (item.clone() for item in self.tomograms.Tomograms)
        inputs = self.picked("joined", first, [(first, (24, 24, 20))])
        extract = self.prepare(ProtIsoNetExtract, inputs, cubeSize=16, cropSize=24)
        self.assertEqual(extract.validate(), [])
        precedents = self.tomograms.joinedCoordinates.getPrecedents()
        last.setTsId(first.getTsId())
        precedents.append(last)
        precedents.write()
        self.assertRegex(" ".join(extract.validate()), r"\*Coordinates\*: which tomogram .* TS_02 \(2 times\)")

    def test_coordinates_of_another_voxel_size_than_their_tomograms_are_refused(self) -> None:
        (first, _) = (item.clone() for item in self.tomograms.Tomograms)
        inputs = self.picked("finer", first, [(first, (24, 24, 20))])
        extract = self.prepare(ProtIsoNetExtract, inputs, cubeSize=16, cropSize=24)
        self.assertEqual(extract.validate(), [])
        self.tomograms.finerCoordinates.setSamplingRate(VOXEL_SIZE / 2)
        self.assertIn("voxel size of their set is 5 Å, but that of the tomograms", " ".join(extract.validate()))

    def test_coordinates_without_numbers_are_left_out(self) -> None:
        (first, _) = (item.clone() for item in self.tomograms.Tomograms)
        inputs = self.picked("nan", first, [(first, (24, 24, 20)), (first, (24, float("nan"), 20))])
        extract = self.prepare(ProtIsoNetExtract, inputs, cubeSize=16, cropSize=24)
        self.assertIn("1 of the coordinates are left out: they have no numbers", " ".join(extract.warnings()))
        self.launchProtocol(extract)
        self.assertEqual(positions(extract.subtomograms), [("TS_02", 24, 24, 20)])

    def test_coordinates_of_another_tomogram_are_told_in_the_forms_words(self) -> None:
        (first, _) = (item.clone() for item in self.tomograms.Tomograms)
        inputs = self.picked("outside", first, [(first, (240, 24, 20)), (first, (240, 25, 20))])
        told = self.errorOf(self.prepare(ProtIsoNetExtract, inputs, cubeSize=16, cropSize=24))
        self.assertRegex(told, "2 of 2 coordinates of TS_02, .* lie outside it: x 240..240, .* has x 0..63, ")
        self.assertIn("0..39. Select coordinates of these tomograms; the voxel sizes of both sets must be right.", told)
        self.assertNotIn("--", told)

    def picked(self, name: str, precedent: Tomogram, places: list[tuple]) -> dict[str, tuple]:
        """Inputs with coordinates, pairs of a tomogram and (x, y, z) from its corner, that belong to a set of one."""
        own = SetOfTomograms.create(self.tomograms._getPath(), prefix=name)
        own.copyInfo(self.tomograms.Tomograms)
        own.append(precedent)
        own.write()
        self.tomograms._defineOutputs(**{name: own})
        coordinates = SetOfCoordinates3D.create(self.tomograms._getPath(), prefix=f"{name}Coordinates")
        coordinates.setSamplingRate(VOXEL_SIZE)
        coordinates.setPrecedents(own)
        for tomogram, place in places:
            coordinate = Coordinate3D()
            coordinate.setVolume(tomogram)
            coordinate.setPosition(*place, BOTTOM_LEFT_CORNER)
            coordinates.append(coordinate)
        coordinates.write()
        self.tomograms._defineOutputs(**{f"{name}Coordinates": coordinates})
        self.proj.mapper.commit()
        return {**self.input, "inputCoordinates": (self.tomograms, f"{name}Coordinates")}

    def test_coordinates_picked_in_a_thicker_tomogram_are_placed_by_the_origins(self) -> None:
        thin = self.tomograms.Tomograms[{"_tsId": "TS_02"}].clone()
        depth, height, width = SHAPES["TS_02"]
        thick, path = thin.clone(), self.raw / "thicker" / "TS_02.mrc"
        path.parent.mkdir()
        write(path, scene((depth + 20, height, width), 5))
        thick.setLocation(str(path))
        x, y, z = thin.getShiftsFromOrigin()
        thick.setOrigin(Transform())
        thick.setShiftsInOrigin(x, y, z - 10 * VOXEL_SIZE)
        inputs = self.picked("thick", thick, [(thick, (24, 26, 32))])
        extract = self.prepare(ProtIsoNetExtract, inputs, cubeSize=16, cropSize=24)
        self.assertEqual(extract.validate(), [])
        self.assertRegex(" ".join(extract.warnings()), r"placed by the origins .*: TS_02 \(\+0, \+0, -10\)\.")
        self.launchProtocol(extract)
        self.assertEqual(positions(extract.subtomograms), [("TS_02", 24, 26, 22)])
