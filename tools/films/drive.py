"""Last tram home: a slow drive through a wet city at night.

The street is a canyon, so every pixel knows its distance beforehand: a wall at x = +-W is
seen by column j at z = f W / |j - centre|, the road by row i at z = f h / (i - horizon). A
frame only moves the camera along z and looks up what stands there.
"""

from __future__ import annotations

import numpy as np

from .canvas import HEIGHT, WIDTH, F, Glow, fbm2, noise1

MARGIN = 48  # room for the camera to sway
WIDE = WIDTH + 2 * MARGIN
HORIZON = 236
FOCAL = 760.0
EYE = 1.5  # metres above the road
WALL = 11.0  # metres from the middle to the houses
HOUSE = 15.0  # metres of street per house
SPEED = 9.0
_HOUSES, _COLUMNS, _FLOORS = 64, 8, 24

_WINDOWS = np.float32(
    [[1.0, 0.66, 0.30], [1.0, 0.80, 0.52], [0.55, 0.75, 1.0], [0.95, 0.5, 0.62], [0.5, 0.9, 0.85]]
)
_NEON = np.float32(
    [[1.0, 0.12, 0.42], [0.10, 0.75, 1.0], [1.0, 0.55, 0.08], [0.55, 0.22, 1.0], [0.15, 1.0, 0.6]]
)
_HAZE = np.float32([0.062, 0.036, 0.088])


def _disc(radius: float, soft: float) -> F:
    """An out-of-focus point of light: a disc with a bright rim."""
    size = int(radius + soft * 3) + 1
    y, x = np.mgrid[-size : size + 1, -size : size + 1].astype(np.float32)
    r = np.hypot(x, y)
    edge = 1 / (1 + np.exp((r - radius) / soft))
    return (edge * (0.75 + 0.25 * np.minimum(r / max(radius, 0.5), 1) ** 3)).astype(np.float32)


class Drive:
    name, seconds = "last-tram-home", 36

    def __init__(self) -> None:
        rng = np.random.default_rng(77)
        x = np.arange(WIDE, dtype=np.float32)[None, :] - WIDE / 2 + 0.5
        y = np.arange(HEIGHT, dtype=np.float32)[:, None] - HORIZON + 0.5
        self.side = np.broadcast_to((x > 0).astype(int), (HEIGHT, WIDE))
        z = np.minimum(FOCAL * WALL / np.abs(x), 420.0)
        self.wall_z = np.broadcast_to(z, (HEIGHT, WIDE)).astype(np.float32)
        self.wall_h = (EYE - y * z / FOCAL).astype(np.float32)
        self.is_wall = self.wall_h >= 0
        self.blur = np.clip((self.wall_z - 45) / 110, 0, 1)  # far windows melt together
        self.fog = (1 - np.exp(-self.wall_z / 150)).astype(np.float32)[..., None]
        down = y[HORIZON:].clip(0.5)
        self.floor_z = np.minimum(FOCAL * EYE / down, 420.0).astype(np.float32)
        self.floor_x = (x * self.floor_z / FOCAL).astype(np.float32)
        self.floor_fog = (1 - np.exp(-self.floor_z / 150))[..., None]
        self.floor = ~self.is_wall[HORIZON:]

        self.height = rng.uniform(13, 52, (2, _HOUSES)).astype(np.float32)
        self.height[rng.random((2, _HOUSES)) < 0.12] = 0  # cross streets
        paint = rng.uniform(0.008, 0.021, (2, _HOUSES, 1)) * rng.uniform(0.7, 1.3, (2, _HOUSES, 3))
        self.paint = (paint * np.float32([0.9, 0.95, 1.4])).astype(np.float32)
        lit = rng.random((2, _HOUSES, _COLUMNS, _FLOORS)) ** 4
        lit *= rng.random(lit.shape) < 0.42
        hue = rng.integers(0, len(_WINDOWS), (2, _HOUSES, 1, 1))
        hue = np.where(rng.random(lit.shape) < 0.75, hue % 2, rng.integers(0, 5, lit.shape))
        self.window = _WINDOWS[hue] * (lit[..., None] * 2.2 + 0.03 * (lit[..., None] > 0))
        self.window = self.window.astype(np.float32)
        shop = _NEON[rng.integers(0, len(_NEON), (2, _HOUSES))]
        self.shop = shop * rng.choice([0, 0.35, 0.9], (2, _HOUSES, 1), p=[0.35, 0.35, 0.3])
        self.puddles = fbm2(512, 256, 32, 8, 4, 4)
        self.discs = [_disc(r, 0.8 + r * 0.05) for r in np.linspace(0.6, 26, 40)]
        self.glow = Glow(HEIGHT, WIDE, 15)
        up = np.linspace(0, 1, HORIZON, dtype=np.float32)[::-1, None, None]
        self.sky = np.zeros((HEIGHT, WIDE, 3), dtype=np.float32)
        self.sky[:HORIZON] = _HAZE * 1.5 * np.exp(-3.0 * up) + np.float32([0.007, 0.007, 0.022])
        self.cars = [(-3.1, 24.0 + 57 * i + rng.uniform(0, 20)) for i in range(9)]
        self.leaders = [(3.2, 17.0, 1.0), (3.0, 44.0, 0.6), (2.9, 83.0, 0.8)]

    def frame(self, t: float) -> F:
        camera = SPEED * t + 1.5 * np.sin(t * 0.2)
        image = self._street(camera)
        self._road(image, camera)
        self._lamps(image, camera)
        self._traffic(image, t)
        image += 0.55 * self.glow(image)
        sway = MARGIN + 22 * np.sin(t * 0.23) + 6 * np.sin(t * 0.61)
        bob = 0.25 * np.sin(t * 3.1)
        i, f = int(sway), np.float32(sway - int(sway))
        frame = image[:, i : i + WIDTH] * (1 - f) + image[:, i + 1 : i + WIDTH + 1] * f
        frame[1:] += (frame[:-1] - frame[1:]) * np.float32(0.25 + bob)
        return frame

    def _street(self, camera: float) -> F:
        along = self.wall_z + np.float32(camera)
        house = (along / HOUSE).astype(int) % _HOUSES
        u = along % HOUSE * (_COLUMNS / HOUSE)
        v = np.maximum(self.wall_h - 4.2, 0) / 3.1
        column, floor = u.astype(int), np.minimum(v.astype(int), _FLOORS - 1)
        fu, fv = u - column, v - floor
        top = self.height[self.side, house]
        pane = (fu > 0.24) & (fu < 0.76) & (fv > 0.25) & (fv < 0.8)
        pane &= (self.wall_h > 4.2) & (self.wall_h < top - 1.2)
        body = self.paint[self.side, house] * (0.7 + 0.6 * np.exp(-self.wall_h / 9))[..., None]
        share = pane * (1 - self.blur) + 0.3 * self.blur * (self.wall_h > 4.2)
        body += self.window[self.side, house, np.minimum(column, 7), floor] * share[..., None]
        front = np.exp(-((self.wall_h - 3.0) ** 2) / 0.5) * (np.abs(u - 4) < 3.4)
        display = (self.wall_h > 0.7) & (self.wall_h < 2.6) & (np.abs(u - 4) < 3.2) & (fu > 0.08)
        body += self.shop[self.side, house] * (front * 1.5 + display * 0.35)[..., None]
        body += (_HAZE - body) * self.fog
        here = self.is_wall & (self.wall_h < top)
        return np.where(here[..., None], body, self.sky)

    def _road(self, image: F, camera: float) -> None:
        along = self.floor_z + np.float32(camera)
        x = np.abs(self.floor_x)
        soft = np.clip(self.floor_z / FOCAL, 0.004, 2)  # one pixel in metres
        tar = (
            0.006
            + 0.010
            * self.puddles[(along * 6).astype(int) % 512, (self.floor_x * 6).astype(int) % 256]
        )
        dash = np.clip((0.09 - x) / soft + 0.5, 0, 1) * (along % 7 < 3.2)
        rail = np.clip((0.06 - np.abs(x - 1.6)) / soft + 0.5, 0, 1) * 0.35
        curb = np.clip((0.12 - np.abs(x - 6.6)) / soft + 0.5, 0, 1) * 0.5
        ground = (tar + 0.11 * (dash + rail + curb))[..., None] * np.float32([0.95, 0.95, 1.15])
        rows = HEIGHT - HORIZON
        mirror = image[HORIZON - min(rows, HORIZON) : HORIZON][::-1]
        mirror = np.concatenate([mirror, np.repeat(mirror[-1:], rows - len(mirror), axis=0)])
        # Rain water smears what it mirrors towards the viewer.
        sums = np.cumsum(np.concatenate([np.zeros_like(mirror[:1]), mirror]), axis=0)
        index = np.arange(rows)
        reach = 2 + index // 6
        low, high = np.maximum(index - reach, 0), np.minimum(index + reach, rows)
        smear = (sums[high] - sums[low]) / (high - low)[:, None, None]
        wet = self.puddles[(along * 9).astype(int) % 512, (self.floor_x * 14).astype(int) % 256]
        wet = np.clip(wet * 2.8 - 0.7, 0.15, 1.15) * np.where(x < 6.6, 1.0, 0.45)
        ground += smear * (0.85 * wet)[..., None]
        ground += (_HAZE - ground) * self.floor_fog
        lower = image[HORIZON:]
        lower[self.floor] = ground[self.floor]

    def _light(self, image: F, x: float, y: float, z: float, size: float, colour: F) -> None:
        """A lamp at metres (x, y above the road, z ahead), and its mirror in the wet road."""
        if z < 2.5:
            return
        fade = np.float32(np.exp(-z / 210) * min(1, (z - 2.5) / 3))
        radius = size * FOCAL / z
        disc = self.discs[int(np.clip((radius - 0.6) / 25.4 * 39, 0, 39))]
        power = fade * np.float32(min(1.0, 1.6 / max(radius, 1) + 0.22))
        px = WIDE / 2 + FOCAL * x / z
        self._add(image, px, HORIZON + FOCAL * (EYE - y) / z, disc, colour * power)
        streak = np.repeat(disc, 4, axis=0)
        self._add(image, px, HORIZON + FOCAL * (EYE + y) / z, streak, colour * power * 0.14)

    @staticmethod
    def _add(image: F, x: float, y: float, disc: F, colour: F) -> None:
        top, left = int(y) - disc.shape[0] // 2, int(x) - disc.shape[1] // 2
        a, b = max(0, -top), max(0, -left)
        c = min(disc.shape[0], image.shape[0] - top)
        d = min(disc.shape[1], image.shape[1] - left)
        if c > a and d > b:
            target = image[top + a : top + c, left + b : left + d]
            target += disc[a:c, b:d, None] * colour

    def _lamps(self, image: F, camera: float) -> None:
        amber = np.float32([1.9, 1.0, 0.36])
        for number in range(int(camera / 20) + 14, int(camera / 20), -1):
            z = number * 20 - camera
            for x in (-6.9, 6.9):
                self._light(image, x * 0.93, 7.2, z, 0.2, amber)
        for number in range(int(camera / 90) + 3, int(camera / 90), -1):  # signals over the road
            z = number * 90 + 6 - camera
            go = np.float32([0.1, 1.5, 0.75]) if number % 2 else np.float32([1.7, 0.75, 0.1])
            for x in (-5.4, 5.4):
                self._light(image, x, 5.0, z, 0.14, go)

    def _traffic(self, image: F, t: float) -> None:
        white, red = np.float32([1.9, 1.8, 1.55]), np.float32([1.9, 0.12, 0.08])
        for x, start in sorted(self.cars, key=lambda car: -((car[1] - 22 * t) % 510)):
            z = (start - 22 * t) % 510
            for dx in (-0.75, 0.75):
                self._light(image, x + dx, 0.75, z, 0.16, white)
        for x, start, drift in reversed(self.leaders):
            wander = noise1(np.float32([t * 0.12 * drift + start]), 3)[0]
            z = start + 9 * (float(wander) - 0.5)
            self._body(image, x, z)
            brake = np.float32(1.0 + 1.1 * (np.sin(t * 0.5 * drift + start) > 0.82))
            for dx in (-0.72, 0.72):
                self._light(image, x + dx, 0.85, z, 0.11, red * brake)

    def _body(self, image: F, x: float, z: float) -> None:
        def box(left: float, right: float, low: float, high: float, shade: float) -> None:
            i0, i1 = (int(HORIZON + FOCAL * (EYE - h) / z) for h in (high, low))
            j0, j1 = (int(WIDE / 2 + FOCAL * (x + w) / z) for w in (left, right))
            area = image[max(i0, 0) : max(i1, 0), max(j0, 0) : max(j1, 0)]
            area *= shade
            area += _HAZE * np.float32(1 - np.exp(-z / 150))

        box(-1.0, 1.0, 0.0, 0.3, 0.25)
        box(-0.95, 0.95, 0.3, 1.0, 0.07)
        for step in range(5):
            box(-0.85 + 0.045 * step, 0.85 - 0.045 * step, 1.0 + 0.1 * step, 1.1 + 0.1 * step, 0.12)
