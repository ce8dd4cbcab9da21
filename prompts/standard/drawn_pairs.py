"""Drawn scenes of the pairs: none of them is the scene of an item.

Each has two variants, which differ in colour, number or time of day. Words in braces are colours, which a caption
leaves out where the style has none of its own.
"""

import math
from collections.abc import Callable

import numpy as np
from drawing import SCALE, UNITS, Pen, blurred, canvas, disc, gradient, ridge, turned
from PIL import Image

Scene = Callable[[int], Image.Image]
SCENES: list[tuple[Scene, tuple[str, str]]] = []


def scene(first: str, second: str) -> Callable[[Scene], Scene]:
    def register(draw: Scene) -> Scene:
        SCENES.append((draw, (first, second)))
        return draw

    return register


@scene("two {red }mushrooms with white dots on {green }moss", "three {brown }mushrooms on {green }moss at night")
def mushrooms(v: int) -> Image.Image:
    image, draw = canvas(((205, 225, 235), (28, 36, 66))[v])
    draw.polygon(ridge(760, 24, 31 + v), fill=((96, 150, 74), (38, 72, 48))[v])
    cap, stalk = ((206, 48, 42), (150, 98, 60))[v], (240, 228, 204)
    for x, y, r in (((330, 520, 190), (700, 600, 140)), ((230, 600, 120), (520, 480, 170), (820, 610, 110)))[v]:
        draw.polygon([(x - r / 4, y), (x + r / 4, y), (x + r / 3, 830), (x - r / 3, 830)], fill=stalk)
        draw.pieslice((x - r, y - r, x + r, y + r), 180, 360, fill=cap)
        draw.ellipse((x - r, y - r / 5, x + r, y + r / 5), fill=(236, 212, 178))
        for u, w in () if v else ((-0.5, -0.4), (0.05, -0.7), (0.45, -0.35)):
            disc(draw, x + u * r, y + w * r, 0.13 * r, (250, 246, 238))
    return image


@scene("a {green }cactus in a {yellow }desert at noon", "a {green }cactus with {pink }flowers in a {red }desert")
def cactus(v: int) -> Image.Image:
    image = gradient(([(0, (90, 175, 225)), (1, (215, 235, 240))], [(0, (96, 52, 110)), (0.7, (240, 140, 110)),
                                                                   (1, (250, 190, 130))])[v])  # fmt: skip
    draw = Pen(image)
    disc(draw, (800, 240)[v], (190, 560)[v], 95, (255, 232, 120))
    draw.polygon(ridge(690, 40, 41 + v), fill=((226, 186, 110), (168, 74, 52))[v])
    draw.polygon(ridge(820, 25, 43 + v), fill=((238, 204, 132), (190, 92, 62))[v])
    green, x = ((62, 130, 70), (48, 104, 78))[v], (430, 600)[v]
    draw.rounded_rectangle((x - 65, 270, x + 65, 880), radius=65, fill=green)
    for side, top, low in ((-1, 420, 620), (1, 360, 540)):
        draw.rounded_rectangle((*sorted((x, x + 200 * side))[:1], low - 80, max(x, x + 200 * side), low), radius=40,
                               fill=green)  # fmt: skip
        edge = x + 200 * side - 42 * (side + 1)
        draw.rounded_rectangle((edge, top, edge + 84, low), radius=42, fill=green)
    if v:
        for a, b in ((x, 265), (x - 158, 415), (x + 158, 355)):
            disc(draw, a, b, 34, (245, 120, 170))
    return image


@scene("a snowman with a {blue }scarf on a snowy field", "two snowmen with {red }scarves under a night sky")
def snowman(v: int) -> Image.Image:
    image = gradient(([(0, (160, 200, 230)), (1, (225, 238, 246))], [(0, (12, 20, 52)), (1, (52, 72, 120))])[v])
    draw, random = Pen(image), np.random.default_rng(51)
    draw.polygon(ridge(740, 30, 52 + v), fill=((246, 249, 252), (198, 212, 232))[v])
    for x, y, r in random.uniform((0, 0, 3), (UNITS, 700, 8), (70, 3)):
        disc(draw, x, y, r, (255, 255, 255))
    for x, k in (((512, 1.0),), ((320, 0.8), (700, 0.95)))[v]:
        for y, r in ((780, 190), (520, 140), (310, 105)):
            disc(draw, x, 960 - (960 - y) * k, r * k, (238, 243, 250))
            draw.arc((x - r * k, 960 - (960 - y + r) * k, x + r * k, 960 - (960 - y - r) * k), -30, 130,
                     fill=(176, 192, 214), width=12)  # fmt: skip
        for u in (-38, 38):
            disc(draw, x + u * k, 960 - 680 * k, 13 * k, (25, 25, 30))
        draw.polygon([(x, 960 - 655 * k), (x, 960 - 625 * k), (x + 95 * k, 960 - 632 * k)], fill=(240, 130, 40))
        scarf = ((45, 85, 190), (200, 45, 50))[v]
        draw.rounded_rectangle((x - 100 * k, 960 - 575 * k, x + 100 * k, 960 - 525 * k), radius=20, fill=scarf)
        draw.rectangle((x + 40 * k, 960 - 550 * k, x + 85 * k, 960 - 400 * k), fill=scarf)
    return image


@scene("a {green }bus in front of houses", "a {yellow }bus with lit windows in front of dark houses")
def bus(v: int) -> Image.Image:
    image, draw = canvas(((190, 220, 240), (34, 34, 62))[v])
    for k, (wide, high) in enumerate(((210, 470), (250, 380), (190, 540), (230, 430), (240, 500))):
        left, tone = 210 * k - 20, 0.9 + 0.05 * (k % 3)
        wall = np.array(((214, 176, 150), (62, 56, 88))[v]) * tone
        draw.rectangle((left, 720 - high, left + wide, 760), fill=tuple(int(c) for c in wall))
        for y in range(760 - high, 480, 90):
            for x in (left + 40, left + 130):
                draw.rectangle((x, y, x + 40, y + 52), fill=((150, 180, 200), (82, 76, 110))[v])
    draw.rectangle((0, 760, UNITS, UNITS), fill=((120, 122, 128), (44, 44, 54))[v])
    draw.rounded_rectangle((120, 480, 900, 850), radius=44, fill=((52, 140, 88), (238, 186, 48))[v])
    for x in range(170, 850, 140):
        draw.rounded_rectangle((x, 540, x + 110, 660), radius=14, fill=((205, 230, 242), (255, 244, 190))[v])
    draw.rectangle((120, 720, 900, 744), fill=(245, 240, 225))
    for x in (290, 730):
        disc(draw, x, 855, 78, (35, 35, 40))
        disc(draw, x, 855, 34, (170, 172, 178))
    return image


@scene("a windmill with {white }sails on a {green }hill", "a windmill at dusk beside a {blue }canal")
def windmill(v: int) -> Image.Image:
    image = gradient(([(0, (120, 185, 235)), (1, (230, 240, 245))], [(0, (70, 60, 130)), (0.6, (240, 150, 110)),
                                                                    (1, (250, 200, 140))])[v])  # fmt: skip
    draw, x = Pen(image), (500, 660)[v]
    draw.polygon(ridge((760, 800)[v], (70, 14)[v], 61), fill=((104, 168, 84), (62, 88, 66))[v])
    if v:
        draw.polygon([(0, 860), (UNITS, 900), (UNITS, 990), (0, 960)], fill=(60, 100, 170))
    draw.polygon([(x - 75, 420), (x + 75, 420), (x + 130, 850), (x - 130, 850)], fill=((176, 110, 80), (84, 56, 62))[v])
    draw.pieslice((x - 85, 340, x + 85, 500), 180, 360, fill=((96, 62, 52), (46, 34, 44))[v])
    draw.rounded_rectangle((x - 36, 740, x + 36, 850), radius=30, fill=(60, 42, 36))
    sail = ((250, 248, 240), (226, 196, 170))[v]
    for k in range(4):
        angle = 0.5 + 0.35 * v + k * math.pi / 2
        draw.polygon(turned([(30, 8), (320, 8), (320, 82), (30, 60)], angle, x, 400), fill=sail)
        draw.line(turned([(0, 0), (330, 0)], angle, x, 400), fill=(70, 50, 40), width=14)
    return image


@scene("an owl on a branch in front of a {yellow }full moon", "a {grey }owl in a hollow tree")
def owl(v: int) -> Image.Image:
    image, draw = canvas(((24, 32, 72), (122, 88, 60))[v])
    if v:
        for x in range(30, UNITS, 110):
            draw.line([(x, 0), (x + 30, 400), (x - 10, UNITS)], fill=(98, 68, 46), width=16)
        draw.ellipse((190, 160, 834, 960), fill=(44, 30, 24))
    else:
        disc(draw, 560, 400, 340, (246, 236, 200))
        draw.line([(0, 850), (500, 820), (UNITS, 870)], fill=(62, 42, 34), width=44)
    body, belly = ((132, 92, 58), (150, 154, 164))[v], ((206, 172, 124), (206, 208, 214))[v]
    for side in (-1, 1):
        draw.polygon([(512 + 60 * side, 300), (512 + 180 * side, 210), (512 + 190 * side, 380)], fill=body)
    draw.ellipse((310, 270, 714, 860), fill=body)
    draw.ellipse((390, 480, 634, 840), fill=belly)
    for y in range(560, 800, 60):
        for x in range(430 + y // 60 % 2 * 30, 610, 60):
            draw.arc((x - 26, y - 26, x + 26, y + 26), 20, 160, fill=body, width=9)
    for x in (424, 600):
        disc(draw, x, 390, 88, (250, 240, 205))
        disc(draw, x, 390, 58, (245, 180, 40))
        disc(draw, x, 390, 30, (15, 15, 18))
    draw.polygon([(482, 440), (542, 440), (512, 520)], fill=(225, 150, 50))
    return image


@scene("an {orange }butterfly on a {purple }flower", "two {blue }butterflies over a meadow")
def butterfly(v: int) -> Image.Image:
    image, draw = canvas(((214, 232, 200), (188, 222, 240))[v])
    if v:
        draw.polygon(ridge(780, 20, 71), fill=(112, 176, 92))
        for x, y in np.random.default_rng(72).uniform((0, 800), (UNITS, 1000), (40, 2)):
            disc(draw, x, y, 13, (250, 240, 130))
    else:
        draw.line([(512, 1024), (512, 700)], fill=(70, 130, 70), width=22)
        for k in range(12):
            ((x, y),) = turned([(120, 0)], k * math.pi / 6, 512, 740)
            disc(draw, x, y, 62, (140, 80, 180))
        disc(draw, 512, 740, 74, (240, 200, 70))
    for x, y, k in (((512, 440, 1.0),), ((330, 330, 0.75), (690, 560, 0.6)))[v]:
        for side in (-1, 1):
            for (a, b, r, s), colour in (
                ((165, -95, 165, 130), ((235, 120, 35), (50, 110, 205))[v]),
                ((130, 110, 115, 105), ((245, 165, 60), (95, 160, 230))[v]),
            ):
                at = (x + (side * a - r) * k, y + (b - s) * k, x + (side * a + r) * k, y + (b + s) * k)
                draw.ellipse(at, fill=colour, outline=(40, 28, 30), width=16 * k)
                disc(draw, x + side * (a + 40) * k, y + b * k, 30 * k, (255, 240, 220))
            draw.line([(x, y - 130 * k), (x + side * 80 * k, y - 260 * k)], fill=(40, 28, 30), width=8 * k)
        draw.rounded_rectangle((x - 20 * k, y - 150 * k, x + 20 * k, y + 190 * k), radius=20 * k, fill=(50, 36, 36))
    return image


@scene("a {pink }cake with three candles", "a {brown }cake with {red }cherries on a {blue }plate")
def cake(v: int) -> Image.Image:
    image, draw = canvas(((232, 236, 222), (246, 222, 190))[v])
    draw.rectangle((0, 800, UNITS, UNITS), fill=((170, 200, 196), (196, 130, 90))[v])
    draw.ellipse((150, 770, 874, 900), fill=((250, 250, 250), (70, 110, 180))[v])
    for left, top, low in ((230, 560, 840), (330, 380, 600)):
        right, cream = UNITS - left, ((250, 236, 226), (240, 214, 180))[v]
        draw.rounded_rectangle((left, top, right, low), radius=26, fill=((236, 138, 166), (112, 66, 44))[v])
        for x in range(left, right - 20, 60):
            draw.ellipse((x, top - 20, x + 76, top + 62), fill=cream)
        draw.rounded_rectangle((left, top - 16, right, top + 20), radius=18, fill=cream)
    for x in (400, 512, 624):
        if v:
            disc(draw, x, 340, 42, (200, 30, 45))
            draw.line([(x, 310), (x + 28, 240)], fill=(70, 110, 60), width=9)
        else:
            draw.rectangle((x - 14, 250, x + 14, 370), fill=(90, 150, 210))
            draw.polygon([(x, 170), (x + 22, 230), (x, 255), (x - 22, 230)], fill=(250, 190, 50))
    return image


@scene("an {orange }tent under stars beside fir trees", "a {blue }tent at a lake by day")
def tent(v: int) -> Image.Image:
    image = gradient(([(0, (10, 16, 46)), (1, (48, 66, 112))], [(0, (140, 200, 240)), (1, (236, 244, 246))])[v])
    draw = Pen(image)
    if v:
        draw.polygon(ridge(470, 70, 81), fill=(130, 160, 150))
        draw.rectangle((0, 560, UNITS, 760), fill=(86, 150, 190))
        for y in range(590, 750, 36):
            draw.line([(80 + 3 * y % 200, y), (420 + 3 * y % 300, y)], fill=(140, 190, 215), width=6)
    else:
        for x, y, r in np.random.default_rng(82).uniform((0, 0, 2), (UNITS, 520, 5), (120, 3)):
            disc(draw, x, y, r, (245, 245, 225))
        for x, high in ((90, 480), (210, 380), (850, 520), (960, 400)):
            for k in range(5):
                y, wide = 780 - high + k * high / 6, 34 + 22 * k
                draw.polygon([(x, y), (x + wide, y + high / 4), (x - wide, y + high / 4)], fill=(20, 46, 52))
    draw.polygon(ridge(770, 14, 83), fill=((30, 56, 48), (126, 176, 96))[v])
    front, side = (((236, 130, 48), (190, 92, 34)), ((60, 110, 200), (40, 76, 150)))[v]
    draw.polygon([(470, 420), (700, 470), (860, 860), (690, 890)], fill=side)
    draw.polygon([(470, 420), (690, 890), (230, 890)], fill=front)
    draw.polygon([(470, 560), (545, 890), (395, 890)], fill=((255, 226, 140), (30, 44, 84))[v])
    return image


@scene("a stone bridge over a {blue }river", "a {red }suspension bridge in mist")
def bridge(v: int) -> Image.Image:
    image = gradient(([(0, (176, 212, 236)), (1, (240, 240, 226))], [(0, (196, 204, 212)), (1, (232, 232, 230))])[v])
    draw = Pen(image)
    draw.polygon(ridge(560, 60, 91 + v), fill=((140, 176, 120), (176, 188, 196))[v])
    draw.rectangle((0, 760, UNITS, UNITS), fill=((64, 120, 180), (150, 168, 180))[v])
    if v:
        red = (190, 62, 46)
        draw.rectangle((0, 640, UNITS, 676), fill=red)
        for x in (260, 764):
            draw.rectangle((x - 26, 230, x + 26, 860), fill=red)
        for left, right in ((-244, 260), (260, 764), (764, 1268)):
            line = [(x, 620 - 360 * ((2 * x - left - right) / 504) ** 2) for x in range(left, right + 1, 12)]
            draw.line(line, fill=red, width=14)
            for x, y in line[3::4]:
                draw.line([(x, y), (x, 640)], fill=red, width=5)
    else:
        draw.rectangle((0, 520, UNITS, 850), fill=(172, 160, 144))
        for x in (190, 512, 834):
            draw.pieslice((x - 125, 590, x + 125, 960), 180, 360, fill=(92, 140, 186))
            draw.rectangle((x - 125, 775, x + 125, 850), fill=(72, 124, 180))
        for row, y in enumerate((536, 566)):
            for x in range(-30 * row, UNITS, 70):
                draw.rectangle((x, y, x + 62, y + 22), fill=(188, 178, 162))
        draw.rectangle((0, 500, UNITS, 526), fill=(140, 128, 114))
    return image


@scene("a steamer with two {red }funnels on a {blue }sea", "a {white }steamer in front of icebergs")
def steamer(v: int) -> Image.Image:
    image = gradient(([(0, (150, 205, 240)), (1, (246, 236, 214))], [(0, (150, 170, 200)), (1, (220, 232, 240))])[v])
    draw = Pen(image)
    if v:
        for points in ([(40, 700), (150, 380), (260, 500), (330, 700)], [(720, 700), (840, 300), (1000, 700)]):
            draw.polygon(points, fill=(236, 246, 252))
            draw.polygon([points[1], points[-1], (points[1][0] + 40, 700)], fill=(180, 208, 226))
    draw.rectangle((0, 690, UNITS, UNITS), fill=((36, 96, 150), (60, 110, 140))[v])
    for x in (430, 570):
        for k in range(4):
            disc(draw, x + 45 * k, 300 - 55 * k, 34 + 12 * k, ((214, 216, 220), (120, 124, 136))[v])
        draw.rectangle((x - 36, 330, x + 36, 520), fill=((200, 50, 44), (230, 190, 80))[v])
        draw.rectangle((x - 36, 330, x + 36, 366), fill=(30, 30, 34))
    draw.rectangle((300, 500, 740, 620), fill=(248, 246, 238))
    for x in range(335, 720, 60):
        disc(draw, x, 558, 18, (60, 90, 120))
    draw.polygon([(120, 610), (910, 610), (820, 780), (220, 780)], fill=((40, 44, 56), (240, 242, 244))[v])
    for y in range(780, UNITS, 70):
        for x in range(-40 + y % 100, UNITS, 190):
            draw.arc((x, y, x + 120, y + 50), 190, 350, fill=(220, 234, 242), width=8)
    return image


@scene("a {yellow }lamp on a wooden table", "a lit lamp with a {green }shade in a dark room")
def lamp(v: int) -> Image.Image:
    image, draw = canvas(((206, 220, 214), (36, 30, 40))[v])
    if v:
        light = Image.new("L", image.size)
        Pen(light).polygon([(360, 480), (664, 480), (1000, 1024), (24, 1024)], fill=150)
        image.paste((255, 214, 130), mask=blurred(light, 40))
    draw.rectangle((0, 790, UNITS, UNITS), fill=((160, 110, 70), (96, 62, 40))[v])
    draw.rectangle((496, 460, 528, 780), fill=(92, 84, 76))
    draw.ellipse((380, 750, 644, 830), fill=(74, 66, 60))
    draw.polygon([(410, 230), (614, 230), (720, 490), (304, 490)], fill=((245, 200, 60), (50, 132, 92))[v])
    draw.rectangle((304, 476, 720, 500), fill=((226, 170, 40), (250, 236, 170))[v])
    for x, high, colour in ((760, 90, (170, 60, 60)), (760, 50, (60, 90, 140))):
        draw.rectangle((x - 40, 800 - high, x + 170, 840 - high), fill=colour)
    return image


@scene("a {blue }whale under water", "a {grey }whale leaping out of the sea at sunset")
def whale(v: int) -> Image.Image:
    dusk = [(0, (250, 160, 110)), (0.6, (250, 210, 150)), (0.62, (70, 90, 140)), (1, (24, 40, 84))]
    image = gradient(([(0, (170, 225, 230)), (1, (60, 140, 180))], dusk)[v])
    draw, random = Pen(image), np.random.default_rng(95)
    turns, tilt = np.linspace(0, 2 * math.pi, 80), (0.05, -0.7)[v]
    body = [(330 * math.cos(t) * (1 - 0.15 * math.sin(t)), 150 * math.sin(t)) for t in turns]
    skin, belly = ((30, 58, 112), (92, 100, 116))[v], ((190, 214, 230), (214, 216, 220))[v]
    draw.polygon(turned([(-290, -20), (-470, -130), (-420, 0), (-470, 120), (-290, 40)], tilt, 512, 520), fill=skin)
    draw.polygon(turned(body, tilt, 512, 520), fill=skin)
    draw.polygon(turned([(x * 0.86, 40 + y * 0.66) for x, y in body if y > 10], tilt, 512, 520), fill=belly)
    draw.polygon(turned([(60, 90), (180, 90), (40, 260)], tilt, 512, 520), fill=skin)
    ((x, y),) = turned([(225, -10)], tilt, 512, 520)
    disc(draw, x, y, 15, (15, 15, 20))
    if v:
        draw.polygon(ridge(800, 26, 96), fill=(50, 76, 128))
    for x, y, r in random.uniform((0, 0, 5), (UNITS, 1000, 18), (26, 3)) if not v else ():
        draw.ellipse((x - r, y - r, x + r, y + r), outline=(235, 248, 250), width=5)
    return image


@scene("three penguins on ice", "a penguin with its chick in falling snow")
def penguins(v: int) -> Image.Image:
    image = gradient(([(0, (120, 180, 225)), (1, (220, 236, 246))], [(0, (160, 172, 190)), (1, (212, 220, 230))])[v])
    draw = Pen(image)
    draw.polygon(ridge(800, 16, 101 + v), fill=(240, 246, 250))
    for x, k in (((230, 0.8), (512, 1.0), (790, 0.75)), ((400, 1.1), (720, 0.55)))[v]:
        coat = (28, 32, 44) if k > 0.6 else (130, 134, 144)
        draw.ellipse((x - 130 * k, 880 - 520 * k, x + 130 * k, 880), fill=coat)
        draw.ellipse((x - 88 * k, 880 - 420 * k, x + 88 * k, 880 - 10 * k), fill=(248, 248, 244))
        disc(draw, x, 880 - 520 * k, 92 * k, coat)
        for side in (-1, 1):
            draw.polygon([(x + 110 * side * k, 880 - 400 * k), (x + 190 * side * k, 880 - 190 * k),
                          (x + 120 * side * k, 880 - 210 * k)], fill=coat)  # fmt: skip
            disc(draw, x + 36 * side * k, 880 - 535 * k, 20 * k, (250, 250, 250))
            disc(draw, x + 36 * side * k, 880 - 535 * k, 9 * k, (10, 10, 12))
            draw.ellipse((x + (60 * side - 45) * k, 862, x + (60 * side + 45) * k, 900), fill=(238, 150, 50))
        draw.polygon([(x - 26 * k, 880 - 508 * k), (x + 26 * k, 880 - 508 * k), (x, 880 - 450 * k)],
                     fill=(238, 150, 50))  # fmt: skip
    for x, y, r in np.random.default_rng(103).uniform((0, 0, 5), (UNITS, UNITS, 11), (80, 3)) if v else ():
        disc(draw, x, y, r, (255, 255, 255))
    return image


@scene("a pineapple on a {turquoise }cloth", "half a pineapple and two {green }limes")
def pineapple(v: int) -> Image.Image:
    image, draw = canvas(((70, 180, 176), (236, 214, 196))[v])
    for k in range(7):
        angle = -math.pi / 2 + (k - 3) * 0.32
        leaf = turned([(0, -34), (300 - 30 * abs(k - 3), 0), (0, 34)], angle, 512, 400)
        draw.polygon(leaf, fill=((52, 122, 62), (74, 150, 74))[k % 2])
    if v:
        draw.pieslice((292, 180, 732, 1000), 180, 360, fill=(216, 150, 50))
        draw.ellipse((292, 510, 732, 670), fill=(250, 222, 110))
        draw.ellipse((450, 555, 574, 625), fill=(236, 196, 80))
        for x in (230, 800):
            disc(draw, x, 800, 105, (110, 170, 60))
            disc(draw, x - 30, 770, 26, (170, 210, 110))
    else:
        draw.ellipse((312, 340, 712, 930), fill=(222, 156, 48))
        for y in range(390, 900, 64):
            half = 185 * math.sqrt(max(0, 1 - ((y - 635) / 290) ** 2))
            for x in np.arange(512 - half + 30 + y // 64 % 2 * 30, 512 + half - 10, 64):
                draw.polygon([(x, y - 24), (x + 24, y), (x, y + 24), (x - 24, y)], fill=(176, 110, 34))
    return image


@scene("a guitar leaning against a {blue }wall", "a {red }guitar on a {yellow }rug")
def guitar(v: int) -> Image.Image:
    image, draw = canvas(((120, 160, 200), (180, 140, 100))[v])
    if v:
        draw.rounded_rectangle((110, 130, 914, 960), radius=60, fill=(238, 200, 90))
        for y in (180, 880):
            draw.rectangle((150, y, 874, y + 26), fill=(200, 90, 60))
    else:
        draw.rectangle((0, 860, UNITS, UNITS), fill=(140, 98, 64))
    layer = Image.new("RGBA", image.size)
    pen, wood = Pen(layer), ((206, 150, 84), (190, 44, 44))[v]
    pen.ellipse((352, 620, 672, 920), fill=wood)
    pen.ellipse((392, 460, 632, 700), fill=wood)
    disc(pen, 512, 650, 62, (50, 32, 24))
    pen.rectangle((484, 130, 540, 640), fill=(80, 54, 38))
    pen.rounded_rectangle((468, 60, 556, 170), radius=16, fill=(60, 40, 30))
    pen.rectangle((440, 790, 584, 822), fill=(60, 40, 30))
    for x in range(494, 534, 8):
        pen.line([(x, 120), (x, 800)], fill=(240, 230, 210), width=2)
    tilted = layer.rotate((12, -38)[v], Image.Resampling.BICUBIC, center=(512 * SCALE, 560 * SCALE))
    image.paste(tilted.convert("RGB"), mask=tilted.getchannel("A"))
    return image
