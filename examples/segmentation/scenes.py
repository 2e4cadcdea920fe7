"""How does one get street scenes with exact masks? By rendering them: any number, each fixed by its index.

A street is drawn from far to near, each piece into the picture and, with its class, into the mask; where it lies tells
the depth. Perspective, bends, haze, shadows, four kinds of light and the camera's noise are there; so are colours that
do not tell the class: grey façades on grey roads, windows that mirror the sky, clothes and cars of any colour.

    picture, mask = render(7)               (1216, 1920, 3) and (1216, 1920), both uint8
    picture, mask, depth = survey(7)        depth too: (1216, 1920) uint16, centimetres ahead, 0 for the sky
    python scenes.py                        writes scene-0.png … scene-5.png, each above its mask and its depth
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageColor, ImageDraw

WIDTH, HEIGHT = 1920, 1216
CLASSES = ("sky", "building", "road", "lane mark", "sidewalk", "tree", "pole", "car", "pedestrian")
SKY, BUILDING, ROAD, MARK, SIDEWALK, TREE, POLE, CAR, PEDESTRIAN = range(len(CLASSES))
PALETTE = "#6eaadc", "#785a50", "#5a466e", "#faf078", "#dc78c8", "#50963c", "#f09628", "#1e28aa", "#dc1e3c"

Pixels = NDArray[np.uint8]
Colour = tuple[float, float, float]
Point = tuple[float, float, float]  # metres: to the right, up, ahead

# what the light does: (sky above, sky at the horizon, gain of the colours)
LIGHTS: tuple[tuple[Colour, Colour, Colour], ...] = (
    ((80, 130, 210), (190, 215, 240), (1.05, 1.02, 0.98)),  # noon
    ((150, 155, 160), (195, 198, 200), (0.85, 0.87, 0.9)),  # overcast
    ((70, 80, 130), (240, 170, 120), (0.95, 0.75, 0.6)),  # evening
    ((25, 30, 55), (70, 75, 100), (0.42, 0.43, 0.52)),  # dusk
)
FACADES: tuple[Colour, ...] = ((150, 85, 65), (135, 135, 135), (205, 190, 160), (110, 105, 100), (90, 100, 115))
LEAVES: tuple[Colour, ...] = ((60, 105, 45), (85, 120, 50), (150, 115, 45), (45, 80, 50))


def render(index: int, seed: int = 0) -> tuple[Pixels, Pixels]:
    """Scene `index` and its mask: (1216, 1920, 3) and (1216, 1920); the same index gives the same bytes."""
    picture, canvas = draw(index, seed)
    return picture, np.asarray(canvas.mask)


def survey(index: int, seed: int = 0) -> tuple[Pixels, Pixels, NDArray[np.uint16]]:
    """The same, and how far ahead each pixel is: (1216, 1920) uint16, in centimetres; 0 for the sky."""
    picture, canvas = draw(index, seed)
    return picture, np.asarray(canvas.mask), canvas.depth()


def draw(index: int, seed: int) -> tuple[Pixels, Canvas]:
    """The picture, and the canvas that knows what can be seen where."""
    rng = np.random.default_rng([seed, index])
    street = Street.draw_lots(rng)
    canvas = Canvas(street)
    paint_sky(canvas, rng)
    paint_ground(canvas, rng)
    things = [*buildings(street, rng), *furniture(street, rng), *traffic(street, rng), *people(street, rng)]
    for _, paint in sorted(things, key=lambda thing: -thing[0]):
        paint(canvas)
    return expose(canvas.picture, street, rng), canvas


@dataclass(frozen=True, kw_only=True)
class Street:
    """Where everything is seen from, and in which light."""

    half: float  # of the road's width, in metres
    pavement: float  # its width
    eye: float  # the camera, to the right of the road's middle
    eye_height: float
    focal: float  # pixels
    horizon: float  # row
    yaw: float  # metres to the right for each metre ahead
    bend: float  # and for each square metre
    above: Colour
    haze: Colour
    gain: Colour
    sun: float  # from which side: shadows fall the other way

    @classmethod
    def draw_lots(cls, rng: np.random.Generator) -> Street:
        half = rng.choice([3.5, 3.5, 5.25, 7.0])
        above, haze, gain = LIGHTS[rng.integers(len(LIGHTS))]
        return cls(
            half=half,
            pavement=rng.uniform(2, 4.5),
            eye=rng.uniform(0.2, 0.8) * half,
            eye_height=rng.uniform(1.3, 2.0),
            focal=rng.uniform(950, 1250),
            horizon=rng.normal(500, 30),
            yaw=rng.normal(0, 0.02),
            bend=rng.normal(0, 0.0006),
            above=above,
            haze=haze,
            gain=gain,
            sun=rng.choice([-1.0, 1.0]),
        )

    def project(self, point: Point) -> tuple[float, float]:
        """Where the camera sees it: (column, row)."""
        x, y, z = point
        right = x - self.eye + self.yaw * z + self.bend * z * z
        return WIDTH / 2 + self.focal * right / z, self.horizon + self.focal * (self.eye_height - y) / z

    def lit(self, colour: Colour, z: float, shade: float = 1.0) -> tuple[int, int, int]:
        """The colour in this light, through the haze of z metres."""
        clear = math.exp(-z / 160)
        mixed = [c * g * shade * clear + h * (1 - clear) for c, g, h in zip(colour, self.gain, self.haze, strict=True)]
        return (min(255, int(mixed[0])), min(255, int(mixed[1])), min(255, int(mixed[2])))


Thing = tuple[float, Callable[["Canvas"], None]]  # how far away, and how to paint it


class Canvas:
    """The picture and the mask, drawn on together, and what was drawn, to tell how far away it is."""

    def __init__(self, street: Street) -> None:
        self.street = street
        self.picture, self.mask = Image.new("RGB", (WIDTH, HEIGHT)), Image.new("L", (WIDTH, HEIGHT), SKY)
        self._pen, self._label = ImageDraw.Draw(self.picture), ImageDraw.Draw(self.mask)
        self._pieces: list[
            tuple[list[Point], list[float]]
        ] = []  # corners in space, the same on the canvas; from afar on

    def depth(self) -> NDArray[np.uint16]:
        """Centimetres ahead, 0 for the sky. One over it changes linearly over a flat piece: see `_slope`."""
        numbers = Image.new("I", (WIDTH, HEIGHT))
        pen = ImageDraw.Draw(numbers)
        for number, (corners, outline) in enumerate(self._pieces, start=1):
            (pen.polygon if len(corners) > 1 else pen.ellipse)(outline, fill=number)
        slopes = [(0.0, 0.0, 0.0), *(self._slope(corners) for corners, _ in self._pieces)]
        across, down, base = np.array(slopes, np.float32).T
        seen, u, v = np.asarray(numbers), np.arange(WIDTH, dtype=np.float32), np.arange(HEIGHT, dtype=np.float32)
        near = across.take(seen) * u + down.take(seen) * v[:, None] + base.take(seen)
        centimetres: NDArray[np.float32] = np.divide(100, near, out=np.zeros_like(near), where=near > 100 / 65535)
        return centimetres.astype(np.uint16)

    def _slope(self, corners: list[Point]) -> tuple[float, float, float]:
        """(a, b, c) of 1 / metres = a · column + b · row + c."""
        near, far = min(corners, key=lambda point: point[2]), max(corners, key=lambda point: point[2])
        if near[2] == far[2]:
            return 0.0, 0.0, 1 / near[2]
        axis = int(any(x != near[0] for x, _, _ in corners))  # 0: a wall along the street, whose columns tell
        start, end = self.street.project(near)[axis], self.street.project(far)[axis]
        slope = (1 / far[2] - 1 / near[2]) / (end - start)
        return (slope, 0.0, 1 / near[2] - slope * start) if axis == 0 else (0.0, slope, 1 / near[2] - slope * start)

    def polygon(self, corners: Iterable[Point], colour: Colour, label: int, shade: float = 1.0) -> None:
        """A flat piece in space."""
        points = list(corners)
        seen = [c for point in points for c in self.street.project(point)]
        self._pen.polygon(seen, fill=self.street.lit(colour, points[0][2], shade))
        self._label.polygon(seen, fill=label)
        self._pieces.append((points, seen))

    def upright(
        self,
        x: float,
        z: float,
        width: float,
        low: float,
        high: float,
        colour: Colour,
        label: int,
        *,
        shade: float = 1.0,
        top: float | None = None,
        lean: float = 0.0,
        back: float = 0.0,
    ) -> None:
        """A piece that faces the camera; its upper edge may have another width, and lie to the right or further."""
        left, right, half = x - width / 2, x + width / 2, (width if top is None else top) / 2
        upper = [(x + lean + half, high, z + back), (x + lean - half, high, z + back)]
        self.polygon([(left, low, z), (right, low, z), *upper], colour, label, shade)

    def disc(self, middle: Point, radius: float, colour: Colour, label: int, tall: float = 1.0) -> None:
        """A round piece that faces the camera; `tall` times as high as wide."""
        u, v = self.street.project(middle)
        r = self.street.focal * radius / middle[2]
        if r < 0.5:
            return
        box = [u - r, v - r * tall, u + r, v + r * tall]
        self._pen.ellipse(box, fill=self.street.lit(colour, middle[2]))
        self._label.ellipse(box, fill=label)
        self._pieces.append(([middle], box))

    def darken(self, pieces: Iterable[Iterable[Point]], strength: float) -> None:
        """Shadows: pieces of ground that get less light; no class changes."""
        shadow = Image.new("L", (WIDTH, HEIGHT))
        pen = ImageDraw.Draw(shadow)
        for piece in pieces:
            pen.polygon([self.street.project(point) for point in piece], fill=int(255 * strength))
        self.picture.paste((8, 8, 16), mask=shadow)


def paint_sky(canvas: Canvas, rng: np.random.Generator) -> None:
    """A gradient, and clouds."""
    street = canvas.street
    height = np.linspace(0, 1, 64)[:, None]
    gradient = (1 - height) * np.array(street.above) + height * np.array(street.haze)
    strip = Image.fromarray(gradient[:, None].astype(np.uint8))
    canvas.picture.paste(strip.resize((WIDTH, int(street.horizon) + 8), Image.Resampling.BILINEAR))
    pen = ImageDraw.Draw(canvas.picture)
    for _ in range(rng.integers(0, 9)):
        u, v, size = rng.uniform(0, WIDTH), rng.uniform(0, 350), rng.uniform(40, 120)
        for _ in range(6):
            du, dv, r = rng.normal(0, size), rng.normal(0, size / 6), rng.uniform(0.3, 0.6) * size
            shade = rng.uniform(0.55, 0.7)
            white = tuple(int(h + (255 - h) * (shade - 0.45)) for h in street.haze)
            pen.ellipse((u + du - 2 * r, v + dv - r / 2, u + du + 2 * r, v + dv + r / 2), fill=white)


def stripe(left: float, right: float, start: float, end: float) -> list[Point]:
    """A strip of ground along the street, following its bend."""
    pieces = max(2, int(12 * math.log(end / start)))
    ahead = [start * (end / start) ** (i / (pieces - 1)) for i in range(pieces)]
    return [(left, 0.0, z) for z in ahead] + [(right, 0.0, z) for z in reversed(ahead)]


def paint_ground(canvas: Canvas, rng: np.random.Generator) -> None:
    """Pavement, road and marks, then the shadows of houses across them."""
    street, half = canvas.street, canvas.street.half
    paving, asphalt, worn = rng.uniform(115, 190), rng.uniform(60, 125), rng.uniform(0.6, 1.0)
    tint = rng.uniform(0.9, 1.05)
    for start, end in ((1.0, 12.0), (12.0, 40.0), (40.0, 400.0)):  # in three pieces, for the haze
        canvas.polygon(stripe(-300, 300, start, end), (paving, paving * 0.97, paving * 0.92 * tint), SIDEWALK)
        canvas.polygon(stripe(-half - 0.18, half + 0.18, start, end), (165, 165, 160), SIDEWALK)
        canvas.polygon(stripe(-half, half, start, end), (asphalt, asphalt, asphalt * 1.05), ROAD)
    for _ in range(rng.integers(2, 9)):  # patches where the road was mended
        x, z, shade = rng.uniform(-half, half - 1.5), rng.uniform(3, 40), rng.uniform(0.75, 1.2)
        patch = stripe(x, x + rng.uniform(0.5, 1.5), z, z + rng.uniform(1, 6))
        canvas.polygon(patch, (asphalt, asphalt, asphalt), ROAD, shade)
    paint = (225.0, 225.0, 215.0)
    lanes = max(1, round(half / 3.5))
    for lane in range(-lanes + 1, lanes):
        x, phase = lane * half / lanes, rng.uniform(0, 9)
        for z in np.arange(1.5 + phase - 9, 110, 9.0):
            if z + 3.5 > 1.2:
                canvas.polygon(stripe(x - 0.08, x + 0.08, max(1.2, z), z + 3.5), paint, MARK, worn)
    for x in (-half + 0.3, half - 0.3):
        canvas.polygon(stripe(x - 0.07, x + 0.07, 1.2, 120), paint, MARK, worn)
    if rng.random() < 0.5:
        z = rng.uniform(7, 30)
        for x in np.arange(-half + 0.6, half - 0.8, 1.1):
            canvas.polygon(stripe(x, x + 0.55, z, z + 3), paint, MARK, worn)
    if street.gain[0] > 0.9:  # the sun is out
        edge, reach = street.sun * (half + street.pavement), rng.uniform(0.3, 1.4) * half
        far = edge - street.sun * (street.pavement + reach)
        cuts = 1.2 + np.cumsum(rng.uniform(1, 12, 14))
        canvas.darken([stripe(edge, far, a, b) for a, b in zip(cuts[::2], cuts[1::2], strict=True)], 0.45)


def buildings(street: Street, rng: np.random.Generator) -> list[Thing]:
    """Houses along both sides, with gaps."""
    things: list[Thing] = []
    for side in (-1.0, 1.0):
        z = rng.uniform(1.5, 6)
        while z < 150:
            length, height = rng.uniform(8, 24), rng.choice([4.0, 7.0, 10.0, 13.0, 16.0, 22.0]) + rng.uniform(0, 2)
            things.append((z + length, house(street, side, z, z + length, height, rng)))
            z += length + (rng.uniform(3, 14) if rng.random() < 0.3 else 0)
    return things


def house(
    street: Street, side: float, near: float, far: float, height: float, rng: np.random.Generator
) -> Callable[[Canvas], None]:
    """Its front along the pavement, the wall that faces the camera, and windows."""
    x = side * (street.half + street.pavement)
    base = FACADES[rng.integers(len(FACADES))]
    shade = rng.uniform(0.75, 1.1) * (0.8 if side == street.sun else 1.0)
    glass = (60.0, 70.0, 85.0) if rng.random() < 0.6 else tuple(0.9 * c for c in street.above)
    glow = rng.random((12, 12))
    floor, step, wide = rng.uniform(2.9, 3.5), rng.uniform(2.2, 4.0), rng.uniform(0.4, 0.7)

    def wall(start: float, end: float, low: float, high: float) -> list[Point]:
        return [(x, low, start), (x, low, end), (x, high, end), (x, high, start)]

    def paint(canvas: Canvas) -> None:
        canvas.upright(x + side * 7, near, 14, 0, height, base, BUILDING, shade=0.7 * shade)
        canvas.polygon(wall(near, far, 0, height), base, BUILDING, shade)
        canvas.polygon(wall(near, far, height - 0.4, height), base, BUILDING, 0.7 * shade)
        if near > 70:
            return
        for column in range(int((far - near) / step)):
            z = near + (column + 0.5 * (1 - wide)) * step
            for level in range(int((height - 0.8) / floor)):
                low = level * floor + (0.15 if level == 0 else 0.9)
                top = level * floor + floor - 0.5
                lit = glow[column % 12, level % 12] > 0.9
                colour: Colour = (250.0, 220.0, 150.0) if lit else glass  # type: ignore[assignment]
                brightness = 0.8 + 0.4 * glow[level % 12, column % 12]
                canvas.polygon(wall(z, z + wide * step, low, top), colour, BUILDING, brightness)

    return paint


def furniture(street: Street, rng: np.random.Generator) -> list[Thing]:
    """Trees, lamp posts and signs, near the kerb."""
    things: list[Thing] = []
    for side in (-1.0, 1.0):
        kerb = side * (street.half + 0.6)
        for z in np.arange(rng.uniform(6, 25), 110, rng.uniform(14, 30)):
            things.append((z, lamp(kerb, z, side, rng)))
        if rng.random() < 0.75:
            for z in np.arange(rng.uniform(5, 15), 100, rng.uniform(7, 16)):
                things.append((z, tree(kerb + side * rng.uniform(0.2, 1.0), z + rng.uniform(-1, 1), rng)))
        for z in rng.uniform(5, 60, rng.integers(0, 4)):
            things.append((z, sign(kerb, z, rng)))
    return things


def lamp(x: float, z: float, side: float, rng: np.random.Generator) -> Callable[[Canvas], None]:
    """A post with an arm over the road."""
    height, grey = rng.uniform(5, 8), rng.uniform(40, 130)

    def paint(canvas: Canvas) -> None:
        colour = (grey, grey, grey)
        canvas.upright(x, z, 0.16, 0, height, colour, POLE)
        canvas.upright(x - side * 0.7, z, 1.4, height - 0.1, height, colour, POLE)
        canvas.upright(x - side * 1.3, z, 0.5, height - 0.2, height - 0.05, (230, 225, 200), POLE)

    return paint


def sign(x: float, z: float, rng: np.random.Generator) -> Callable[[Canvas], None]:
    """A traffic sign; it counts as a pole."""
    face: Colour = ((200, 30, 30), (30, 60, 170), (230, 230, 230))[rng.integers(3)]
    is_round = rng.random() < 0.6

    def paint(canvas: Canvas) -> None:
        canvas.upright(x, z, 0.09, 0, 2.6, (130, 130, 135), POLE)
        if is_round:
            canvas.disc((x, 2.5, z), 0.36, face, POLE)
            canvas.disc((x, 2.5, z), 0.24, (235, 235, 235), POLE)
        else:
            canvas.upright(x, z, 0.65, 2.1, 2.8, face, POLE)

    return paint


def tree(x: float, z: float, rng: np.random.Generator) -> Callable[[Canvas], None]:
    """A trunk and a crown of leaves."""
    stem, size = rng.uniform(1.8, 3.0), rng.uniform(0.9, 1.7)
    leaf = LEAVES[rng.integers(len(LEAVES))]
    tufts = rng.normal(0, 1, (int(100 / (1 + z / 25)), 3)).clip(-1.5, 1.5)

    def paint(canvas: Canvas) -> None:
        canvas.upright(x, z, 0.3, 0, stem + 0.5, (80, 62, 48), TREE)
        for dx, dy, shade in tufts:
            light = 1 + 0.14 * shade + 0.12 * dy
            colour = (leaf[0] * light, leaf[1] * light, leaf[2] * light)
            where = (x + 0.55 * size * dx, stem + size * (1 + 0.55 * dy), z)
            canvas.disc(where, 0.3 * size, colour, TREE)

    return paint


def traffic(street: Street, rng: np.random.Generator) -> list[Thing]:
    """Cars in both directions, and parked ones by the kerb; never two in one place."""
    things: list[Thing] = []
    lanes = max(1, round(street.half / 3.5))
    for lane in range(-lanes, lanes):
        x = (lane + 0.5) * street.half / lanes
        parked = lane in (-lanes, lanes - 1) and lanes > 1 and rng.random() < 0.6
        z = rng.uniform(5, 25) if abs(x - street.eye) > 1.9 else rng.uniform(9, 35)
        while z < 110:
            things.append((z, car(x + rng.normal(0, 0.15), z, street, oncoming=lane < 0, rng=rng)))
            z += rng.uniform(5.3, 9) if parked else rng.uniform(8, 45)
    return things


def car(x: float, z: float, street: Street, oncoming: bool, rng: np.random.Generator) -> Callable[[Canvas], None]:
    """Its side towards the camera, then its end; `z` is where that end is."""
    grey = rng.uniform(20, 235)
    paint_: Colour = tuple(rng.uniform(20, 200, 3)) if rng.random() < 0.5 else (grey, grey, grey)
    roof, long, wide = rng.choice([1.45, 1.5, 1.9]), rng.uniform(3.9, 4.9), rng.uniform(1.7, 1.9)
    toward = 1.0 if x < street.eye else -1.0  # which of its sides can be seen
    profile = ((0, 0.3), (0, 0.85), (0.05, 0.95), (0.14, roof), (0.68, roof), (0.82, 0.95), (1, 0.8), (1, 0.3))
    window = ((0.1, 0.97), (0.16, roof - 0.08), (0.66, roof - 0.08), (0.77, 0.97))

    def paint(canvas: Canvas) -> None:
        side = x + toward * wide / 2
        canvas.polygon(stripe(x - wide / 2, x + wide / 2, z, z + long), (25, 25, 28), ROAD)  # its shadow
        canvas.polygon([(side, y, z + part * long) for part, y in profile], paint_, CAR, 0.85)
        canvas.polygon([(side, y, z + part * long) for part, y in window], (35, 40, 50), CAR)
        for part in (0.2, 0.8):
            hub = z + part * long
            rim = [(side, 0.33 + 0.33 * math.sin(a), hub + 0.33 * math.cos(a)) for a in np.linspace(0, 6.28, 12)]
            canvas.polygon(rim, (22, 22, 24), CAR)
        canvas.upright(x, z, wide, 0.3, 0.95, paint_, CAR)
        canvas.upright(x, z, 0.94 * wide, 0.93, roof, paint_, CAR, shade=0.9, top=0.76 * wide, back=0.3)
        glass = 0.94 * wide - 0.24
        canvas.upright(x, z, glass, 0.97, roof - 0.1, (40, 46, 58), CAR, top=0.76 * wide - 0.2, back=0.3)
        lamps: Colour = (250, 245, 220) if oncoming else (190, 20, 25)
        for end in (x - wide / 2 + 0.2, x + wide / 2 - 0.2):
            canvas.upright(end, z, 0.32, 0.66, 0.84, lamps, CAR)
            canvas.upright(end, z, 0.24, 0.0, 0.32, (22, 22, 24), CAR)
        canvas.upright(x, z, 0.5, 0.5, 0.62, (225, 225, 215), CAR)

    return paint


def people(street: Street, rng: np.random.Generator) -> list[Thing]:
    """On the pavements, and now and then on the road."""
    things: list[Thing] = []
    for z in 4 + rng.exponential(20, rng.integers(3, 16)):
        on_road = rng.random() < 0.15
        beside = rng.choice([-1.0, 1.0]) * (street.half + rng.uniform(0.4, street.pavement - 0.4))
        x = rng.uniform(-street.half, street.half) if on_road and z > 8 else beside
        things.append((z, person(x, z, rng)))
    return things


def person(x: float, z: float, rng: np.random.Generator) -> Callable[[Canvas], None]:
    """Legs, a body with arms, and a head."""
    tall, stride, wide = rng.uniform(1.2, 1.9), rng.uniform(-0.22, 0.22), rng.uniform(0.36, 0.5)
    shirt, trousers = tuple(rng.uniform(15, 230, 3)), tuple(rng.uniform(15, 130, 3))
    skin = tuple(np.array((225.0, 180.0, 150.0)) * rng.uniform(0.4, 1.0))

    def paint(canvas: Canvas) -> None:
        hip, neck = 0.48 * tall, 0.83 * tall
        for foot in (-stride, stride):
            canvas.upright(x + foot, z, 0.14, 0, hip, trousers, PEDESTRIAN, top=0.18, lean=-foot)
        for hand in (-1, 1):
            out = hand * abs(stride) / 2
            canvas.upright(x + hand * wide / 2 + out, z, 0.1, hip, neck, shirt, PEDESTRIAN, shade=0.85, lean=-out)
        canvas.upright(x, z, 0.8 * wide, hip, neck, shirt, PEDESTRIAN, top=wide)
        canvas.disc((x, 0.92 * tall, z), 0.065 * tall, skin, PEDESTRIAN, tall=1.25)

    return paint


def expose(picture: Image.Image, street: Street, rng: np.random.Generator) -> Pixels:
    """What the camera makes of it: contrast, a cast of colour, and noise that grows as light fails."""
    gamma, cast = rng.uniform(0.85, 1.15), rng.uniform(0.94, 1.06, 3)
    levels = np.arange(256) / 255
    table = [int(v) for gain in cast for v in np.clip(255 * gain * levels**gamma, 0, 255)]
    left, top = int(rng.integers(512)), int(rng.integers(256))
    noise = grain(12 if street.gain[0] < 0.5 else 6).crop((left, top, left + WIDTH, top + HEIGHT))
    return np.asarray(ImageChops.add(picture.point(table), noise, scale=1, offset=-128))


@lru_cache
def grain(deviation: int) -> Image.Image:
    """The noise of a sensor around 128, larger than a picture: each picture takes its piece."""
    rng = np.random.default_rng(deviation)
    fine = rng.normal(0, deviation, (HEIGHT + 256, WIDTH + 512, 3))
    coarse = Image.fromarray(rng.normal(0, deviation, (184, 304)).astype(np.float32))
    blotches = np.asarray(coarse.resize((WIDTH + 512, HEIGHT + 256), Image.Resampling.BILINEAR))[:, :, None]
    return Image.fromarray(np.clip(fine + blotches + 128, 0, 255).astype(np.uint8))


def colour(mask: Pixels) -> Pixels:
    """(h, w) classes -> (h, w, 3) in the colours of PALETTE."""
    return np.array([ImageColor.getrgb(one) for one in PALETTE], dtype=np.uint8)[mask]


def colour_depth(depth: NDArray[np.uint16]) -> Pixels:
    """(h, w) centimetres -> (h, w, 3): near is light, the sky is black."""
    return np.repeat((255 / np.maximum(depth / 500, 1) * (depth > 0)).astype(np.uint8)[:, :, None], 3, axis=2)


if __name__ == "__main__":
    for number in range(6):
        scene = survey(number)
        layers = [scene[0], colour(scene[1]), colour_depth(scene[2])]
        Image.fromarray(np.concatenate(layers)).save(f"scene-{number}.png")
