"""Northern light: an aurora over snow mountains, mirrored in a lake."""

from __future__ import annotations

import numpy as np

from .canvas import HEIGHT, RGB, WIDTH, F, Glow, fbm1, fbm2, noise1, pan, splat, stars

HORIZON = 326
_ROWS = np.arange(HORIZON, dtype=np.float32)[:, None]
# Curtains: (height of the lower edge, brightness, seed).
_CURTAINS = ((238.0, 1.0, 3), (190.0, 0.65, 11), (150.0, 0.4, 29))
# How slowly light fades with height: oxygen's green low, nitrogen's violet above.
_FADE = np.float32([[0.966], [0.984]])


class _Ridge:
    """One mountain range: its crest, its snow, its pace when the camera pans."""

    def __init__(self, top: float, relief: float, pace: float, colour: RGB, seed: int) -> None:
        width = WIDTH * 2
        x = np.arange(width, dtype=np.float32)
        crest = fbm1(x / 190, seed, 7, 0.52)
        sharp = 1 - np.abs(2 * fbm1(x / 130, seed + 50, 6, 0.5) - 1) * 1.6
        self.crest = (top - relief * (0.55 * crest + 0.6 * sharp - 0.35))[None, :]
        slope = np.gradient(self.crest[0])[None, :]
        streaks = fbm2(HORIZON, width, 10, 60, seed + 9, 5)
        depth = np.maximum(_ROWS - self.crest, 0)
        snow = np.clip(1.25 - depth / (relief * 0.9) + (streaks - 0.5) * 3.4 - slope * 0.7, 0, 1)
        self.snow = (snow * (0.5 + 0.5 * streaks)).astype(np.float32)
        self.pace, self.colour = pace, np.float32(colour)

    def draw(self, image: F, shift: float, light: F) -> None:
        cover = np.clip(_ROWS - pan(self.crest, shift * self.pace) + 0.5, 0, 1)[..., None]
        snow = pan(self.snow, shift * self.pace)[..., None]
        body = self.colour * (0.35 + 1.1 * snow) + light * snow
        image += (body - image) * cover


def _pines(seed: int) -> F:
    """A strip of silhouettes of spruces, 1 where there is a tree, at twice the width."""
    rng = np.random.default_rng(seed)
    width, height = WIDTH * 2, 230
    mask = np.zeros((height * 2, width * 2), dtype=np.float32)
    shore = (fbm1(np.arange(width * 2, dtype=np.float32) / 260, seed, 4) * 60 + 12).astype(int)
    x = 0.0
    while x < width * 2:
        dense = float(noise1(np.float32([x / 420]), seed + 1)[0])
        tall = int((0.25 + 0.75 * rng.random()) * (90 + 300 * dense**2))
        base = height * 2 - int(shore[int(x)]) + 10
        for row in range(tall):
            part = row / tall
            layer = (part * 9) % 1
            half = int(tall * 0.19 * part * (0.55 + 0.45 * layer) + 1 + 3 * rng.random() * part)
            y = base - tall + row
            if 0 <= y < height * 2:
                mask[y, max(0, int(x) - half) : int(x) + half] = 1
        x += 12 + 60 * (1 - dense) + 40 * rng.random() ** 2
    for column, depth in enumerate(shore):
        mask[height * 2 - depth :, column] = 1
    return mask.reshape(height, 2, width, 2).mean(axis=(1, 3))


class Aurora:
    name, seconds = "northern-light", 40

    def __init__(self) -> None:
        y = np.linspace(0, 1, HORIZON, dtype=np.float32)[:, None, None]
        self.sky = np.broadcast_to(
            np.float32([0.006, 0.012, 0.04]) * (1 - y) + np.float32([0.03, 0.075, 0.11]) * y**2,
            (HORIZON, WIDTH, 3),
        )
        self.ridges = (
            _Ridge(272, 120, 1.2, (0.020, 0.040, 0.066), 101),
            _Ridge(300, 92, 2.2, (0.013, 0.027, 0.045), 211),
            _Ridge(322, 46, 3.6, (0.007, 0.015, 0.024), 307),
        )
        self.pines = _pines(5)
        self.stars = stars(1500, HORIZON * 2, WIDTH * 2, 8)
        self.glow = Glow(HORIZON, WIDTH, 22)
        self.water_y = np.arange(HEIGHT - HORIZON, dtype=np.float32)[:, None]
        self.water_x = np.arange(WIDTH, dtype=np.float32)[None, :]

    def frame(self, t: float) -> F:
        sky = self.sky.copy()
        x, y, colour, phase = self.stars
        turn = np.float32(0.0035 * t)  # the sky turns about a pole above the frame
        dx, dy = x - WIDTH, y - HORIZON * 0.4
        sx = dx * np.cos(turn) - dy * np.sin(turn) + WIDTH * 0.62
        sy = dx * np.sin(turn) + dy * np.cos(turn) + HORIZON * 0.3
        twinkle = 0.75 + 0.25 * np.sin(phase + t * 2.1)
        splat(sky, sx, sy, colour * twinkle[:, None])
        _meteor(sky, t)
        aurora = _curtains(t)
        sky += aurora + 0.5 * self.glow(aurora)
        light = aurora.mean(axis=(0, 1)) * 1.7 + np.float32([0.006, 0.012, 0.02])
        shift = 10 + t * 3.1
        for ridge in self.ridges:
            ridge.draw(sky, shift, light)
        _cabin(sky, 905 - shift * self.ridges[2].pace, t)
        image = np.empty((HEIGHT, WIDTH, 3), dtype=np.float32)
        image[:HORIZON] = sky
        image[HORIZON:] = self._lake(sky, t)
        trees = pan(self.pines, shift * 5.4)[..., None]
        image[-trees.shape[0] :] *= 1 - trees * 0.97
        return image

    def _lake(self, sky: F, t: float) -> F:
        y, x = self.water_y, self.water_x
        far = 900 / (y + 6)
        wave = np.sin(far * 1.7 + t * 2.2 + 0.012 * x) + 0.6 * np.sin(
            far * 3.1 - t * 1.6 - 0.02 * x
        )
        wave += 0.7 * np.sin(0.045 * x + far * 0.6 + t * 0.9)
        row = np.clip(HORIZON - 2 - y * 1.45 + wave * (0.4 + y * 0.028), 0, HORIZON - 1)
        column = np.clip(x + wave * (0.2 + y * 0.02), 0, WIDTH - 1)
        mirrored = sky[row.astype(int), column.astype(int)]
        shade = (0.62 - 0.0018 * y)[..., None]
        return mirrored * shade + np.float32([0.002, 0.008, 0.014])


def _curtains(t: float) -> F:
    """Folded curtains: points along their lower edges, each of which shines upward."""
    s = np.linspace(0, 1, 5000, dtype=np.float32)
    source = np.zeros(HORIZON * WIDTH)
    for k, (base, power, seed) in enumerate(_CURTAINS):
        drift = t * (0.035 + 0.012 * k)
        fold = fbm1(s * 7 + drift * 3 + seed, seed, 3) - 0.5
        x = WIDTH * (1.5 * s - 0.25) + 210 * fold + 60 * np.sin(6.28 * (2.2 * s + drift) + seed)
        y = base + 120 * (fbm1(s * 6 - drift * 3 + 9, seed + 3, 4) - 0.5) + 36 * s * (1 - k)
        rays = fbm1(s * 170 + t * 0.9, seed + 7, 3) ** 1.6
        bands = np.clip(fbm1(s * 5 - t * 0.11 + 40, seed + 13, 2) * 2.4 - 0.6, 0, 1.3)
        weight = power * rays * bands * (0.85 + 0.15 * np.sin(t * 0.7 + 9 * s))
        inside = (x >= 0) & (x < WIDTH - 1) & (y > 0) & (y < HORIZON - 1)
        x, y, weight = x[inside], y[inside], weight[inside]
        j = x.astype(int)
        flat = y.astype(int) * WIDTH + j
        source += np.bincount(flat, weight * (1 - x + j), source.size)
        source += np.bincount(flat + 1, weight * (x - j), source.size)
    edge = source.reshape(HORIZON, WIDTH).astype(np.float32)
    light = np.empty((HORIZON, 2, WIDTH), dtype=np.float32)
    row = np.zeros((2, WIDTH), dtype=np.float32)
    for i in range(HORIZON - 1, -1, -1):
        row = row * _FADE + edge[i]
        light[i] = row
    for _ in range(2):
        light[:, :, 1:-1] = (light[:, :, :-2] + 2 * light[:, :, 1:-1] + light[:, :, 2:]) / 4
        light[1:-1] = (light[:-2] + 2 * light[1:-1] + light[2:]) / 4
    green, violet = light[:, 0, :, None], light[:, 1, :, None]
    high = np.maximum(violet - 1.1 * green, 0)
    return green * np.float32([0.035, 0.34, 0.15]) + high * np.float32([0.085, 0.03, 0.17])


def _cabin(sky: F, x: float, t: float) -> None:
    """A cabin on the shore with two lit windows."""
    if not 40 < x < WIDTH - 40:
        return
    i, j = HORIZON - 14, int(x)
    for row in range(14):
        half = min(15, 3 + row * 2) if row < 6 else 12
        sky[i + row, j - half : j + half] = (0.004, 0.006, 0.008)
    flicker = np.float32(1 + 0.06 * np.sin(t * 7.3) + 0.04 * np.sin(t * 12.1))
    warm = np.float32([1.6, 0.78, 0.24]) * flicker
    for left in (-7, 3):
        sky[i + 7 : i + 11, j + left : j + left + 4] = warm
    yy, xx = np.mgrid[-24:6, -40:40].astype(np.float32)
    halo = np.exp(-(xx**2 + yy**2) / 260)[..., None] * warm * 0.16
    sky[HORIZON - 30 : HORIZON, j - 40 : j + 40] += halo


def _meteor(sky: F, t: float) -> None:
    for start, x0, y0 in ((6.0, 620.0, 40.0), (21.5, 240.0, 26.0), (33.0, 700.0, 70.0)):
        age = t - start
        if 0 <= age < 0.8:
            tail = np.linspace(0, 1, 90, dtype=np.float32)
            head = age * 260
            bright = (1 - tail) ** 2 * (1 - age / 0.8)
            along = head - tail * min(70, head)
            colour = bright[:, None] * np.float32([0.9, 1.0, 1.0])
            splat(sky, x0 - along, y0 + along * 0.42, colour.astype(np.float32))
