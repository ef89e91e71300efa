"""What the films share: noise, panning textures, glow, star splats."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT, FPS = 854, 480, 24

F = NDArray[np.float32]
RGB = tuple[float, float, float]


def smooth(x: F) -> F:
    """The cubic that makes value noise differentiable."""
    return x * x * (3 - 2 * x)


def noise1(x: F, seed: int) -> F:
    """Value noise in 0..1 with one knot per unit."""
    table = np.random.default_rng(seed).random(1024, dtype=np.float32)
    cell = np.floor(x)
    i = cell.astype(np.int64) & 1023
    return table[i] + (table[(i + 1) & 1023] - table[i]) * smooth((x - cell).astype(np.float32))


def fbm1(x: F, seed: int, octaves: int = 5, gain: float = 0.5) -> F:
    """Fractal sum of `noise1`, in 0..1."""
    total = np.zeros_like(x, dtype=np.float32)
    amplitude, norm = 1.0, 0.0
    for octave in range(octaves):
        total += amplitude * noise1(x * 2**octave + 17 * octave, seed + octave)
        norm += amplitude
        amplitude *= gain
    return total / np.float32(norm)


def noise2(height: int, width: int, knots_y: int, knots_x: int, seed: int) -> F:
    """Value noise of `height` by `width`, in 0..1, that tiles in both directions."""
    grid = np.random.default_rng(seed).random((knots_y, knots_x), dtype=np.float32)
    y = np.linspace(0, knots_y, height, endpoint=False, dtype=np.float32)
    x = np.linspace(0, knots_x, width, endpoint=False, dtype=np.float32)
    i, j = y.astype(int), x.astype(int)
    v, u = smooth(y - i)[:, None], smooth(x - j)[None, :]
    rows = grid[i] * (1 - v) + grid[(i + 1) % knots_y] * v
    return rows[:, j] * (1 - u) + rows[:, (j + 1) % knots_x] * u


def fbm2(height: int, width: int, knots_y: int, knots_x: int, seed: int, octaves: int = 5) -> F:
    """Fractal sum of `noise2`, in 0..1."""
    total = np.zeros((height, width), dtype=np.float32)
    amplitude, norm = 1.0, 0.0
    for octave in range(octaves):
        if (knots_x << octave) > width:
            break
        layer = noise2(height, width, knots_y << octave, knots_x << octave, seed + octave)
        total += amplitude * layer
        norm += amplitude
        amplitude *= 0.5
    return total / np.float32(norm)


def pan(texture: F, offset: float, width: int = WIDTH) -> F:
    """A window of `texture` that starts at column `offset`, which may lie between pixels."""
    i = int(offset)
    f = np.float32(offset - i)
    return texture[:, i : i + width] * (1 - f) + texture[:, i + 1 : i + width + 1] * f


def splat(image: F, x: F, y: F, colour: F) -> None:
    """Add points at sub-pixel places; `colour` is (n, 3). Points outside are dropped."""
    height, width = image.shape[:2]
    inside = (x >= 0) & (x < width - 1) & (y >= 0) & (y < height - 1)
    x, y, colour = x[inside], y[inside], colour[inside]
    i, j = y.astype(int), x.astype(int)
    v, u = (y - i).astype(np.float32), (x - j).astype(np.float32)
    for di, dj, weight in (
        (0, 0, (1 - v) * (1 - u)),
        (0, 1, (1 - v) * u),
        (1, 0, v * (1 - u)),
        (1, 1, v * u),
    ):
        np.add.at(image, (i + di, j + dj), colour * weight[:, None])


def spread(size: int, step: int, sigma: float) -> F:
    """Matrix (size, size // step) that blurs by `sigma` pixels and enlarges by `step`."""
    fine = np.arange(size, dtype=np.float32)[:, None]
    coarse = (np.arange(size // step, dtype=np.float32)[None, :] + 0.5) * step
    weights = np.exp(-0.5 * ((fine - coarse) / sigma) ** 2)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


class Glow:
    """Light that spills around bright things: a wide blur on a quarter of the resolution."""

    def __init__(self, height: int, width: int, sigma: float) -> None:
        self._rows, self._columns = spread(height, 4, sigma), spread(width, 4, sigma).T.copy()

    def __call__(self, image: F) -> F:
        height, width = image.shape[0] // 4, image.shape[1] // 4
        small = image[: height * 4, : width * 4].reshape(height, 4, width, 4, 3).mean(axis=(1, 3))
        blurred = np.empty_like(image)
        for channel in range(3):
            blurred[..., channel] = self._rows @ small[..., channel] @ self._columns
        return blurred


def stars(count: int, height: int, width: int, seed: int) -> tuple[F, F, F, F]:
    """Places x and y, colours (n, 3) and twinkling phases of a field of stars."""
    rng = np.random.default_rng(seed)
    brightness = (rng.pareto(2.0, count) * 0.16 + 0.06).clip(0, 1.3).astype(np.float32)
    tint = rng.random((count, 1), dtype=np.float32)
    warm, cold = np.float32([1.0, 0.86, 0.7]), np.float32([0.72, 0.85, 1.0])
    colour = (warm * tint + cold * (1 - tint)) * brightness[:, None]
    return (
        (rng.random(count) * width).astype(np.float32),
        (rng.random(count) * height).astype(np.float32),
        colour.astype(np.float32),
        (rng.random(count) * 6.28).astype(np.float32),
    )


def finish(image: F, dither: F) -> NDArray[np.uint8]:
    """Compress highlights, add a fixed grain against banding, make 8-bit pixels."""
    toned = 1 - np.exp(-1.5 * np.maximum(image, 0))
    return (toned**0.64 * 255 + dither).clip(0, 255).astype(np.uint8)
