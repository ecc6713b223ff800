"""Pictures of a head: weak-perspective camera, painted skin, soft lights. NumPy only; runs anywhere, no display."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from head import PARTS, Mesh, catmull_clark, vertex_normals
from paint import (
    Look,
    cloth_depth,
    eye_colour,
    hair_colour,
    hair_height,
    linear,
    lips,
    mouth_colour,
    ramp,
    skin_colour,
    strands,
)
from raster import around, directions, rasterise, triangles_of, visible

PIVOT = np.array([0.0, 7.15, 0.35])  # decimetres: the point the head turns about, shown at the centre of the picture
BUN_AT = np.array([0.0, 8.35, -0.20])  # decimetres, on the undeformed base mesh


@dataclass(frozen=True)
class Camera:
    """Weak perspective. Angles in degrees: yaw > 0 turns the face to the viewer's right, pitch > 0 upwards, roll > 0
    clockwise as seen. `width` is the picture's side in decimetres; `shift` moves its centre off the pivot."""

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    size: int = 512
    width: float = 3.3
    shift: tuple[float, float] = (0.0, -0.05)


@dataclass(frozen=True)
class Light:
    """Lights fixed to the camera: directions towards the key and fill light, strengths, backdrop colour (sRGB)."""

    key: tuple[float, float, float] = (-0.5, 0.55, 0.75)
    fill: tuple[float, float, float] = (0.8, 0.1, 0.6)
    key_strength: float = 2.0
    fill_strength: float = 0.45
    ambient: float = 0.55
    backdrop: str = "#c6ccd0"


def rotation(camera: Camera) -> np.ndarray:
    """Rotation matrix (3, 3) from base-mesh axes to viewing axes: pitch, then yaw, then roll."""
    (cy, sy), (cp, sp), (cr, sr) = ((np.cos(a), np.sin(a)) for a in np.radians([camera.yaw, camera.pitch, camera.roll]))
    yaw = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    pitch = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
    roll = np.array([[cr, sr, 0], [-sr, cr, 0], [0, 0, 1]])
    return roll @ yaw @ pitch


def project(points: np.ndarray, camera: Camera) -> np.ndarray:
    """Pixel coordinates (V, 3) of points (V, 3) in decimetres: x right, y down, z away from the viewer, all in pixels
    of the picture; the top left corner of the picture is (0, 0), the first pixel's centre (0.5, 0.5)."""
    turned = (points - PIVOT) @ rotation(camera).T - np.array([*camera.shift, 0])
    return turned * np.array([1, -1, -1]) * camera.size / camera.width + np.array([1, 1, 0]) * camera.size / 2


def dress(mesh: Mesh, look: Look) -> Mesh:
    """Raise hair and garment off the skin along the normals, and add the bun if the look has one."""
    hair = ramp(hair_height(mesh.rest), -0.02, 0.28) * look.hair_thickness
    hair *= 0.93 + 0.14 * strands(mesh.rest)
    cloth = 0.05 * ramp(cloth_depth(mesh.rest), -0.05, 0.06)
    skin = np.zeros(len(mesh.rest), bool)
    skin[mesh.quads[mesh.part == 0]] = True
    raised = mesh.vertices + mesh.normals * ((hair + cloth) * skin)[:, None]
    mesh = replace(mesh, vertices=raised, normals=vertex_normals(raised, mesh.quads))
    return with_bun(mesh, look.bun) if look.bun else mesh


def with_bun(mesh: Mesh, radius: float) -> Mesh:
    """The mesh and a slightly flattened ball of hair on its crown, a part of its own."""
    cube = np.array([[x, y, z] for x in (-1.0, 1.0) for y in (-1.0, 1.0) for z in (-1.0, 1.0)])
    quads = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])
    for _ in range(5):
        cube, quads = catmull_clark(cube, quads)
    normals, first = unit(cube), len(mesh.vertices)
    crown = np.argmin(np.linalg.norm(mesh.rest - BUN_AT, axis=1))
    ball = normals * radius * [1, 0.85, 1] + 0.6 * radius * mesh.normals[crown]
    return Mesh(np.vstack([mesh.vertices, mesh.vertices[crown] + ball]),
                np.vstack([mesh.rest, mesh.rest[crown] + ball]), np.vstack([mesh.normals, normals]),
                np.vstack([mesh.quads, quads + first]), np.append(mesh.part, np.full(len(quads), PARTS.index("hair"))))


def openness(mesh: Mesh, rays: int = 192) -> np.ndarray:
    """Ambient occlusion (V,): the cosine-weighted share of the outer hemisphere that each vertex sees."""
    seen, total = np.zeros(len(mesh.vertices)), np.full(len(mesh.vertices), 1e-6)
    for ray in directions(rays):
        weight = np.maximum(mesh.normals @ ray, 0)
        seen += weight * visible(mesh.vertices, mesh.normals, ray)
        total += weight
    return blurred(seen / total, mesh)


def blurred(values: np.ndarray, mesh: Mesh, rounds: int = 3) -> np.ndarray:
    """Values at the vertices (V,), averaged over the faces around each vertex some rounds over."""
    hits = np.maximum(np.bincount(mesh.quads.ravel(), minlength=len(values)), 1)
    for _ in range(rounds):
        face = values[mesh.quads].mean(1)
        values = np.bincount(mesh.quads.ravel(), np.repeat(face, 4), len(values)) / hits
    return values


def render(mesh: Mesh, look: Look, camera: Camera = Camera(), light: Light = Light(), over: int = 2) -> np.ndarray:
    """Picture (size, size, 3) uint8 sRGB of a head that `dress` has returned, drawn `over` times finer and averaged."""
    fine = replace(camera, size=camera.size * over)
    triangles, turn = triangles_of(mesh.quads), rotation(camera)
    face, bary = rasterise(project(mesh.vertices, fine), triangles, fine.size)
    hit = face >= 0
    corner, weight = triangles[face[hit]], bary[hit][..., None]
    key = unit(np.array(light.key))
    rays = around(key, 0.3, 48) @ turn
    shadow = np.mean([visible(mesh.vertices, mesh.normals, ray) for ray in rays], 0)
    vertex = np.column_stack([mesh.rest, mesh.normals @ turn.T, openness(mesh), blurred(shadow, mesh)])
    pixel = (vertex[corner] * weight).sum(1)
    rest, normal = pixel[:, :3], unit(pixel[:, 3:6])
    part = mesh.part[face[hit] // 2]
    picture = backdrop(fine.size, light)
    picture[hit] = shade(albedo(rest, part, look), normal, pixel[:, 6], pixel[:, 7], gloss(rest, part), light)
    return encode(picture.reshape(camera.size, over, camera.size, over, 3).mean((1, 3)))


def albedo(rest: np.ndarray, part: np.ndarray, look: Look) -> np.ndarray:
    """Linear surface colour (N, 3) at positions (N, 3) on the parts (N,)."""
    colour = np.zeros((len(rest), 3))
    for number, name in enumerate(PARTS):
        at = part == number
        if name == "skin":
            colour[at] = skin_colour(rest[at], look)
        elif name.startswith("eye"):
            colour[at] = eye_colour(rest[at], look)
        elif name == "hair":
            colour[at] = hair_colour(rest[at], look)
        else:
            colour[at] = mouth_colour(rest[at], name == "teeth")
    return colour


def gloss(rest: np.ndarray, part: np.ndarray) -> np.ndarray:
    """Strength and sharpness of highlights (N, 2)."""
    cloth, wet = cloth_depth(rest) > 0, 0.10 * lips(rest)
    strength = np.where(np.isin(part, (1, 2)), 4.0, np.where(cloth, 0.0, 0.09 + wet))
    return np.stack([strength, np.where(np.isin(part, (1, 2)), 220.0, 18.0)], -1)


def shade(colour, normal, ambient, shadow, shine, light: Light) -> np.ndarray:
    """Linear RGB (N, 3). Red light wraps furthest round the terminator and into shadow, which passes for the light that
    scatters in skin. colour (N, 3), normal (N, 3), ambient (N,) and shadow (N,) in [0, 1], shine (N, 2)."""
    wrap, tint = np.array([0.32, 0.16, 0.10]), np.array([0.75, 1.0, 1.1])
    total, spots = np.zeros_like(colour), np.zeros_like(ambient)
    for way, strength, lit in ((light.key, light.key_strength, shadow), (light.fill, light.fill_strength, ambient)):
        towards = unit(np.array(way))
        facing = np.clip(((normal @ towards)[:, None] + wrap) / (1 + wrap), 0, None)
        total += strength * facing * np.clip(lit, 0.02, 1)[:, None] ** tint
        half = unit(towards + np.array([0, 0, 1.0]))
        spot = np.clip(normal @ half, 0, 1) ** shine[:, 1] * shine[:, 0] * np.where(shine[:, 0] > 1, 1, lit)
        spots += 0.5 * strength * spot
    sky = 0.65 + 0.35 * normal[:, 1:2]
    total += light.ambient * sky * ambient[:, None] ** (1.3 * tint)
    rim = np.clip(1 - normal[:, 2], 0, 1) ** 3 * np.clip(normal[:, 1] + 0.6, 0, 1) * ambient
    return (colour * (total + 0.5 * rim[:, None]) + spots[:, None]) / 2.2


def backdrop(size: int, light: Light) -> np.ndarray:
    """A plain wall, lighter behind the head: linear (size, size, 3)."""
    y, x = (np.mgrid[:size, :size] + 0.5) / size - 0.5
    glow = np.exp(-((x - 0.05) ** 2 + (y + 0.05) ** 2) / 0.35)
    return linear(light.backdrop) * (0.55 + 0.5 * glow)[..., None]


def encode(picture: np.ndarray) -> np.ndarray:
    """Linear RGB to 8-bit sRGB (IEC 61966-2-1)."""
    value = np.clip(picture, 0, 1)
    code = np.where(value <= 0.0031308, 12.92 * value, 1.055 * value ** (1 / 2.4) - 0.055)
    return np.round(255 * code).astype(np.uint8)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors (..., 3) scaled to length one."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
