"""The mesh: a car as small coloured faces, in the order-free form that the painter sorts.

Faces are small (3 to 8 cm) because they are shaded flat and sorted by their centres; both are then exact
enough for the eye. What lies on another face (a window on the cabin) carries a `bias_m`: metres it is sorted
nearer to the lens.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from unets.studio.bodies import build_cabin, build_hull
from unets.studio.cars import Car
from unets.studio.fittings import fitting_layers
from unets.studio.materials import MATERIALS, PARTS, Material
from unets.studio.panels import panel_layers
from unets.studio.shells import Floats, Layer
from unets.studio.wheels import wheel_layers


@dataclass(frozen=True, kw_only=True, slots=True)
class Mesh:
    """The faces of one car, in its own frame."""

    quads: Floats  # (num_faces, 4, 3), metres
    normals: Floats  # (num_faces, 3), unit, outwards
    material_index: NDArray[np.intp]  # (num_faces,), into `materials`
    bias_m: Floats  # (num_faces,)
    materials: list[Material]

    @property
    def smooth_groups(self) -> list[NDArray[np.bool_]]:
        """The faces of each curved material, bool (num_faces,): shading that runs on from face to face."""
        smooth = [number for number, material in enumerate(self.materials) if material.is_smooth]
        return [self.material_index == number for number in smooth]

    @property
    def part_index(self) -> NDArray[np.uint8]:
        """The faces' parts, uint8 (num_faces,), as indices into PARTS."""
        parts = np.array([PARTS.index(material.part) for material in self.materials], dtype=np.uint8)
        return np.asarray(parts[self.material_index])


# A car's 16 photos follow one another, so one car is enough to remember; two cost nothing.
@lru_cache(maxsize=2)
def build_mesh(car: Car) -> Mesh:
    """Returns the mesh of a car."""
    materials = dict(MATERIALS)
    materials["paint"] = Material(
        part="body", rgb=car.paint_rgb, gloss=0.05, gloss_scale=0.8, metal=0.45 * car.flake, is_smooth=True
    )
    materials["rim"] = Material(part="wheel", rgb=car.rim_rgb, gloss=0.10, gloss_scale=0.5, metal=0.4)
    layers = list(_layers(car))
    names = list(materials)
    quads = np.concatenate([layer.quads for layer in layers])
    counts = [len(layer.quads) for layer in layers]
    normals = np.cross(quads[:, 2] - quads[:, 0], quads[:, 3] - quads[:, 1])
    sizes = np.linalg.norm(normals, axis=1)
    solid = sizes > 1e-9  # the ends of a shell's top close in faces without an area
    return Mesh(
        quads=quads[solid],
        normals=normals[solid] / sizes[solid, None],
        material_index=np.repeat([names.index(layer.material) for layer in layers], counts)[solid],
        bias_m=np.repeat([layer.bias_m for layer in layers], counts)[solid],
        materials=list(materials.values()),
    )


def _layers(car: Car) -> Iterator[Layer]:
    hull, cabin = build_hull(car.body), build_cabin(car.body)
    yield from panel_layers(car, hull, cabin)
    yield from wheel_layers(car, hull)
    yield from fitting_layers(car, hull, cabin)
