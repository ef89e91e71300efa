"""Ringed world: a gas giant turns, moons pass, its rings catch the light."""

from __future__ import annotations

import numpy as np

from .canvas import HEIGHT, WIDTH, F, Glow, fbm1, fbm2, splat, stars

_SUN = np.float32([-0.78, 0.30, 0.55])
_SUN = _SUN / np.linalg.norm(_SUN)
_TILT = np.float32(0.40)  # of the axis towards the viewer, radians
_LEAN = np.float32(-0.30)  # of the axis to the side
_INNER, _OUTER = 1.32, 2.35  # ring radii in planet radii

# Moons: distance, size (planet radii), revolutions over the film, phase, colour
_MOONS = (
    (2.85, 0.085, 0.42, 0.55, (0.80, 0.72, 0.60)),
    (3.60, 0.120, 0.30, 3.75, (0.55, 0.62, 0.72)),
    (1.22, 0.035, 1.10, 2.10, (0.85, 0.85, 0.88)),
)


def _clouds() -> F:
    """Colours by latitude (rows) and longitude, bands torn by turbulence; tiles in longitude."""
    height, width = 512, 2048
    latitude = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    warp = fbm2(height, width, 6, 12, 21, 6) - 0.5
    curl = fbm2(height, width, 18, 40, 41, 5) - 0.5
    place = latitude * 9 + warp * 1.5 * (1 - latitude**2) + curl * 0.75
    band = fbm1(place.ravel() + 40, 5, 4).reshape(height, width)
    fine = fbm1(place.ravel() * 5 + 90, 9, 3).reshape(height, width)
    palette = np.float32(
        [[0.34, 0.20, 0.16], [0.62, 0.40, 0.27], [0.90, 0.74, 0.55], [0.97, 0.91, 0.80]]
    )
    at = np.clip((band - 0.25) * 2.0 + (fine - 0.5) * 0.42, 0, 0.999) * 3
    i = at.astype(int)
    colour = palette[i] + (palette[np.minimum(i + 1, 3)] - palette[i]) * (at - i)[..., None]
    y, x = (latitude + 0.36) / 0.085, (np.arange(width, dtype=np.float32)[None, :] - 700) / 95
    storm = np.exp(-((y**2 + x**2) ** 1.5))[..., None]
    swirl = (0.85 + 0.3 * np.sin(6 * np.hypot(x, y) - 2 * np.arctan2(y, x)))[..., None]
    return (colour * (1 - storm) + np.float32([0.80, 0.34, 0.22]) * swirl * storm).astype(
        np.float32
    )


def _rings() -> tuple[F, F]:
    """Opacity and colour by radius, 1024 steps from the inner to the outer edge."""
    r = np.linspace(0, 1, 1024, dtype=np.float32)
    grain = 0.55 * fbm1(r * 26, 61, 5) + 0.45 * fbm1(r * 150, 71, 3)
    alpha = (
        np.clip(grain * 1.5 - 0.18, 0, 0.95) * np.clip(r * 9, 0, 1) * np.clip((1 - r) * 14, 0, 1)
    )
    alpha *= 1 - 0.94 * np.exp(-(((r - 0.64) / 0.018) ** 4))  # a Cassini division
    alpha *= 1 - 0.75 * np.exp(-(((r - 0.885) / 0.006) ** 4))
    tone = (0.62 + 0.5 * fbm1(r * 40 + 7, 81, 3))[:, None] * np.float32([0.95, 0.80, 0.62])
    return alpha.astype(np.float32), tone.astype(np.float32)


class Planet:
    name, seconds = "ringed-world", 36

    def __init__(self) -> None:
        self.clouds = _clouds()
        self.ring_alpha, self.ring_tone = _rings()
        self.x = np.arange(WIDTH, dtype=np.float32)[None, :]
        self.y = np.arange(HEIGHT, dtype=np.float32)[:, None]
        self.stars = stars(900, HEIGHT + 80, WIDTH + 240, 19)
        dust = fbm2(HEIGHT + 64, WIDTH + 200, 3, 5, 31, 5)
        veil = np.clip(dust * 2.4 - 1.05, 0, 1)[..., None] ** 2
        self.nebula = (veil * np.float32([0.050, 0.022, 0.075])).astype(np.float32)
        self.nebula += np.clip(0.75 - dust, 0, 1)[..., None] ** 3 * np.float32([0.01, 0.03, 0.05])
        self.glow = Glow(HEIGHT, WIDTH, 18)
        lean = np.float32([[np.cos(_LEAN), -np.sin(_LEAN)], [np.sin(_LEAN), np.cos(_LEAN)]])
        self.axis = np.float32([*(lean @ [0, np.cos(_TILT)]), np.sin(_TILT)])
        self.east = np.float32([*(lean @ [1, 0]), 0])
        self.north = np.cross(self.axis, self.east)  # second direction in the ring's plane

    def frame(self, t: float) -> F:
        part = t / self.seconds
        radius = 118 + 40 * part * part * (3 - 2 * part)
        cx, cy = WIDTH * (0.60 - 0.13 * part), HEIGHT * (0.50 + 0.01 * np.sin(part * 6.28))
        image = self._space(t, part)
        px, py = (self.x - cx) / radius, (cy - self.y) / radius
        moons = [self._moon(moon, part) for moon in _MOONS]
        for place, size, colour in moons:
            if place[2] < 0:
                self._ball(image, cx, cy, radius, place, size, colour)
        # Where a ray straight into the picture meets the ring's plane: axis . p = 0.
        depth = -(self.axis[0] * px + self.axis[1] * py) / self.axis[2]
        distance = np.sqrt(px * px + py * py + depth * depth)
        at = (distance - _INNER) / (_OUTER - _INNER) * 1023
        ring = (at >= 0) & (at < 1023)
        index = at.clip(0, 1023).astype(int)
        alpha = self.ring_alpha[index] * ring
        toward = px * _SUN[0] + py * _SUN[1] + depth * _SUN[2]
        aside = np.sqrt(np.maximum(distance**2 - toward**2, 0))
        shade = np.where(toward < 0, np.clip((aside - 0.985) / 0.04, 0.03, 1), 1)
        tone = self.ring_tone[index] * (shade * 0.95)[..., None]
        behind = (alpha * (depth < 0))[..., None]
        image += (tone - image) * behind
        self._globe(image, px, py, radius, t)
        front = (alpha * (depth >= 0))[..., None]
        image += (tone - image) * front
        for place, size, colour in moons:
            if place[2] >= 0:
                self._ball(image, cx, cy, radius, place, size, colour)
        return image + 0.22 * self.glow(image)

    def _space(self, t: float, part: float) -> F:
        shift = 150 * part
        i, f = int(shift), np.float32(shift - int(shift))
        image = self.nebula[32 : 32 + HEIGHT, i : i + WIDTH] * (1 - f)
        image = image + self.nebula[32 : 32 + HEIGHT, i + 1 : i + WIDTH + 1] * f
        x, y, colour, phase = self.stars
        pace = 0.6 + 0.4 * colour.max(axis=1).clip(0, 1)
        twinkle = 0.9 + 0.1 * np.sin(phase + 1.7 * t)
        splat(image, x - 200 * part * pace, y - 30, colour * twinkle[:, None])
        return image

    def _globe(self, image: F, px: F, py: F, radius: float, t: float) -> None:
        squared = px * px + py * py
        rows = np.flatnonzero((squared < 1.02).any(axis=1))
        columns = np.flatnonzero((squared < 1.02).any(axis=0))
        box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        qx, qy = px[:, box[1]], py[box[0]]
        squared = squared[box]
        qz = np.sqrt(np.maximum(1 - squared, 0))
        up = qx * self.axis[0] + qy * self.axis[1] + qz * self.axis[2]
        east = qx * self.east[0] + qy * self.east[1] + qz * self.east[2]
        north = qx * self.north[0] + qy * self.north[1] + qz * self.north[2]
        latitude = np.arcsin(up.clip(-1, 1)) / np.float32(np.pi / 2)
        jets = 1 + 0.22 * np.sin(latitude * 22)  # bands turn at their own pace
        longitude = np.arctan2(north, east) / np.float32(2 * np.pi) + t * 0.0085 * jets
        row = (latitude + 1) * 0.5 * 511
        column = longitude % 1 * 2048
        i, j = row.astype(int), column.astype(int)
        u = (column - j)[..., None]
        colour = self.clouds[i, j % 2048] * (1 - u) + self.clouds[i, (j + 1) % 2048] * u
        light = qx * _SUN[0] + qy * _SUN[1] + qz * _SUN[2]
        day = np.clip(light * 1.15 + 0.06, 0, 1) ** 0.85
        # The rings' shadow: the ray to the sun meets the ring's plane at this radius.
        along = -up / np.dot(self.axis, _SUN)
        hx, hy, hz = (q + along * s for q, s in zip((qx, qy, qz), _SUN, strict=True))
        at = (np.sqrt(hx * hx + hy * hy + hz * hz) - _INNER) / (_OUTER - _INNER) * 1023
        veiled = self.ring_alpha[at.clip(0, 1023).astype(int)] * (
            (at >= 0) & (at < 1023) & (along > 0)
        )
        day = day * (1 - 0.8 * veiled)
        colour = colour * (day * (0.35 + 0.65 * qz**0.4) * 1.15)[..., None]
        rim = ((1 - qz) ** 3 * np.clip(light + 0.25, 0, 1))[..., None]
        colour = colour + rim * np.float32([0.35, 0.30, 0.26])
        cover = np.clip((1 - np.sqrt(squared)) * radius + 0.5, 0, 1)[..., None]
        area = image[box]
        area += (colour - area) * cover

    def _moon(self, moon: tuple, part: float) -> tuple[F, float, F]:
        distance, size, turns, phase, colour = moon
        angle = phase + 6.2832 * turns * part
        place = distance * (np.cos(angle) * self.east + np.sin(angle) * self.north)
        return place, size, np.float32(colour)

    def _ball(
        self, image: F, cx: float, cy: float, radius: float, place: F, size: float, colour: F
    ) -> None:
        x, y, r = cx + place[0] * radius, cy - place[1] * radius, max(size * radius, 1.5)
        left, top = int(x - r - 2), int(y - r - 2)
        right, bottom = int(x + r + 3), int(y + r + 3)
        if left < 0 or top < 0 or right > WIDTH or bottom > HEIGHT:
            return
        px, py = (self.x[:, left:right] - x) / r, (y - self.y[top:bottom]) / r
        squared = px * px + py * py
        pz = np.sqrt(np.maximum(1 - squared, 0))
        light = np.clip(px * _SUN[0] + py * _SUN[1] + pz * _SUN[2] + 0.03, 0.012, 1)
        mottled = 0.9 + 0.2 * np.sin(4.1 * px + 2.3 * py + 7 * size) * np.sin(3 * py * pz + 1)
        cover = np.clip((1 - np.sqrt(squared)) * r + 0.5, 0, 1)[..., None]
        area = image[top:bottom, left:right]
        area += ((light * mottled)[..., None] * colour - area) * cover
