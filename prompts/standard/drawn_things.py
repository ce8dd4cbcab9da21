"""Drawn images of things, animals and patterns."""

import colorsys
import math

import numpy as np
from drawing import DRAWN, SCALE, UNITS, Pen, blurred, canvas, cells, disc, grained, image, layered, ridge, turned
from PIL import Image


@image
def fish() -> Image.Image:
    image = Image.new("RGB", (DRAWN, DRAWN), (20, 110, 120))
    for i, colour in enumerate(((25, 130, 140), (35, 155, 160), (60, 180, 180))):
        image = layered(image, ridge(560 + 140 * i, 40, i), colour)
    turns = np.linspace(0, 2 * math.pi, 60)
    body = [(300 + 270 * (1 - math.cos(t)), 430 - 150 * math.sin(t)) for t in turns]
    image = layered(image, [(330, 430), (150, 290), (190, 430), (150, 570)], (225, 90, 40))
    image = layered(image, body, (245, 130, 50))
    for x, wide in ((440, 34), (560, 32), (670, 24)):
        image = layered(image, [(x, 310), (x + wide, 310), (x + wide + 10, 550), (x + 10, 550)], (255, 240, 220))
    draw = Pen(image)
    disc(draw, 770, 400, 26, (255, 255, 255))
    disc(draw, 776, 400, 13, (20, 20, 30))
    return image


@image
def robin() -> Image.Image:
    image, draw = canvas((215, 230, 240))
    draw.line([(0, 800), (420, 740), (1024, 780)], fill=(95, 65, 45), width=34)
    for x, y in ((150, 740), (820, 730), (930, 800)):
        draw.ellipse((x, y - 40, x + 90, y + 10), fill=(90, 140, 80))
    draw.polygon([(300, 560), (110, 640), (130, 690), (340, 640)], fill=(90, 70, 55))
    draw.ellipse((270, 340, 660, 740), fill=(120, 92, 70))
    draw.ellipse((420, 380, 690, 730), fill=(215, 90, 45))
    disc(draw, 590, 330, 135, (120, 92, 70))
    draw.ellipse((560, 290, 730, 470), fill=(215, 90, 45))
    draw.polygon([(715, 320), (800, 345), (712, 365)], fill=(60, 55, 50))
    disc(draw, 640, 300, 22, (15, 15, 15))
    disc(draw, 646, 293, 7, (255, 255, 255))
    draw.polygon([(300, 450), (540, 520), (420, 660)], fill=(80, 62, 48))
    for x in (450, 520):
        draw.line([(x, 730), (x + 6, 765)], fill=(60, 45, 35), width=14)
    return image


@image
def apples() -> Image.Image:
    image, draw = canvas((238, 226, 205))
    draw.rectangle((0, 720, 1024, 790), fill=(140, 95, 60))
    draw.rectangle((0, 790, 1024, 830), fill=(105, 70, 45))
    for x, colour in ((220, (200, 40, 40)), (512, (210, 60, 45)), (804, (190, 35, 50))):
        draw.ellipse((x - 130, 470, x + 40, 724), fill=colour)
        draw.ellipse((x - 40, 470, x + 130, 724), fill=colour)
        draw.ellipse((x - 90, 510, x - 40, 580), fill=(240, 150, 140))
        draw.line([(x, 490), (x + 18, 420)], fill=(80, 55, 35), width=14)
        draw.ellipse((x + 18, 400, x + 110, 450), fill=(90, 150, 70))
    return image


@image
def tulips() -> Image.Image:
    image, draw = canvas((225, 235, 225))
    draw.rectangle((0, 800, 1024, 1024), fill=(190, 155, 115))
    for x, lean in ((200, -0.4), (356, -0.2), (512, 0), (668, 0.2), (824, 0.4)):
        top = 250 + abs(x - 512) * 0.4
        draw.line([(512 + (x - 512) * 0.3, 640), (x, top + 60)], fill=(80, 140, 75), width=14)
        draw.polygon(turned([(-60, -70), (-30, -15), (0, -80), (30, -15), (60, -70), (55, 50), (0, 90), (-55, 50)],
                            lean, x, top), fill=(245, 200, 60))  # fmt: skip
    for side in (-1, 1):
        draw.polygon([(512, 650), (512 + side * 190, 430), (512 + side * 60, 650)], fill=(95, 155, 85))
    draw.polygon([(430, 610), (594, 610), (560, 690), (640, 800), (600, 900), (424, 900), (384, 800), (464, 690)],
                 fill=(50, 95, 170))  # fmt: skip
    draw.line([(400, 800), (624, 800)], fill=(225, 235, 250), width=12)
    return image


@image
def bicycle() -> Image.Image:
    image, draw = canvas((244, 242, 238))
    draw.rectangle((0, 790, 1024, 1024), fill=(190, 185, 178))
    red, dark = (200, 35, 40), (35, 35, 40)
    for x in (280, 744):
        for spoke in range(12):
            a = spoke * math.pi / 6
            draw.line([(x, 640), (x + 160 * math.cos(a), 640 + 160 * math.sin(a))], fill=(150, 150, 155), width=3)
        draw.ellipse((x - 165, 475, x + 165, 805), outline=dark, width=16)
    frame = [(280, 640), (420, 430), (660, 430), (490, 650), (280, 640)]
    draw.line(frame, fill=red, width=18, joint="curve")
    draw.line([(405, 400), (490, 650)], fill=red, width=18)
    draw.line([(744, 640), (645, 370)], fill=red, width=18)
    draw.line([(645, 370), (720, 340), (740, 380)], fill=dark, width=14, joint="curve")
    draw.rounded_rectangle((350, 380, 455, 404), radius=12, fill=dark)
    disc(draw, 490, 650, 38, dark)
    return image


@image
def tea_sign() -> Image.Image:
    image, draw = canvas((170, 190, 175))
    for x in (300, 724):
        draw.line([(x, 0), (x, 330)], fill=(60, 60, 60), width=12)
    draw.rounded_rectangle((130, 320, 894, 760), radius=40, fill=(120, 78, 45), outline=(70, 42, 22), width=18)
    for y in range(380, 740, 60):
        draw.line([(150, y), (874, y + 8)], fill=(105, 66, 36), width=6)
    cream, w = (248, 236, 205), 40
    for line in ([(230, 440), (410, 440)], [(320, 440), (320, 640)], [(470, 430), (470, 650)], [(470, 440), (600, 440)],
                 [(470, 540), (580, 540)], [(470, 640), (600, 640)], [(650, 650), (730, 430)], [(730, 430), (810, 650)],
                 [(680, 580), (780, 580)]):  # fmt: skip
        draw.line(line, fill=cream, width=w)
    return image


@image
def wall_clock() -> Image.Image:
    image, draw = canvas((205, 215, 220))
    disc(draw, 522, 440, 300, (170, 182, 190))
    disc(draw, 512, 420, 300, (40, 44, 50))
    disc(draw, 512, 420, 270, (250, 250, 246))
    for k in range(12):
        draw.line(
            turned([(215 if k % 3 else 195, 0), (245, 0)], k * math.pi / 6, 512, 420), fill=(30, 30, 35), width=14
        )
    for length, wide, minutes in ((135, 22, 10 / 12 * 60 + 50 / 60), (205, 14, 10)):
        angle = minutes * math.pi / 30 - math.pi / 2
        draw.line([(512, 420), *turned([(length, 0)], angle, 512, 420)], fill=(30, 30, 35), width=wide)
    disc(draw, 512, 420, 22, (30, 30, 35))
    draw.rectangle((0, 870, 1024, 910), fill=(150, 110, 75))
    for x, wide, high, colour in (
        (560, 44, 130, (160, 50, 50)),
        (610, 56, 150, (60, 100, 80)),
        (672, 38, 120, (50, 70, 120)),
    ):
        draw.rectangle((x, 870 - high, x + wide, 870), fill=colour)
    draw.polygon([(250, 800), (370, 800), (350, 870), (270, 870)], fill=(190, 100, 65))
    draw.rounded_rectangle((285, 690, 335, 805), radius=25, fill=(80, 135, 80))
    return image


@image
def cubes() -> Image.Image:
    image, draw = canvas((230, 234, 240))
    h = 92 * math.sqrt(3)
    for x, y, hue in ((353, 700, 0.0), (671, 700, 0.6), (512, 790, 0.13), (512, 610, 0.35), (432, 470, 0.78), (592, 470,
                      0.5)):  # fmt: skip
        for points, light in (
            ([(0, 0), (h, -92), (0, -184), (-h, -92)], 0.98),
            ([(0, 0), (-h, -92), (-h, 92), (0, 184)], 0.8),
            ([(0, 0), (h, -92), (h, 92), (0, 184)], 0.6),
        ):
            colour = tuple(int(255 * c) for c in colorsys.hsv_to_rgb(hue, 0.62, light))
            draw.polygon([(x + 0.55 * u, y + 0.55 * v) for u, v in points], fill=colour)
    return image


@image
def halftone_lemon() -> Image.Image:
    image, draw = canvas((255, 120, 160))
    step = 22
    for row, y in enumerate(range(0, UNITS + step, step)):
        for x in range(-(row % 2) * step // 2, UNITS + step, step):
            inside = ((x - 512) / 330) ** 2 + ((y - 512) / 235) ** 2 < 1 or math.hypot(x - 850, y - 512) < 55
            shade = 0.5 + 0.5 * math.sin((x + y) / 330 - 1.2)
            disc(draw, x, y, (13 if inside else 8) * (0.55 + 0.6 * shade), (255, 230, 40) if inside else (90, 30, 120))
    draw.ellipse((180, 275, 844, 749), outline=(25, 20, 60), width=16)
    draw.polygon([(300, 330), (210, 170), (390, 215), (420, 300)], fill=(60, 190, 120), outline=(25, 20, 60))
    return image


@image
def blueprint() -> Image.Image:
    image, draw = canvas((24, 62, 130))
    for k in range(0, UNITS, 64):
        draw.line([(k, 0), (k, UNITS)], fill=(40, 82, 155), width=2)
        draw.line([(0, k), (UNITS, k)], fill=(40, 82, 155), width=2)
    white = (225, 235, 250)
    teeth = [p for k in range(16) for p in turned([(300, -34), (350, -24), (350, 24), (300, 34)], k * math.pi / 8,
                                                  512, 512)]  # fmt: skip
    draw.line([*teeth, teeth[0]], fill=white, width=6)
    for r in (240, 90, 60):
        draw.ellipse((512 - r, 512 - r, 512 + r, 512 + r), outline=white, width=6)
    for k in range(6):
        ((x, y),) = turned([(165, 0)], k * math.pi / 3, 512, 512)
        draw.ellipse((x - 42, y - 42, x + 42, y + 42), outline=white, width=5)
    draw.line([(60, 512), (964, 512)], fill=white, width=2)
    draw.line([(512, 60), (512, 964)], fill=white, width=2)
    draw.line([(162, 930), (862, 930)], fill=white, width=4)
    for x in (162, 862):
        draw.line([(x, 900), (x, 960)], fill=white, width=4)
    return image


@image
def stained_glass() -> Image.Image:
    random = np.random.default_rng(21)
    rings = [(0.0, 1)] + [(110.0 * k, 6 * k) for k in range(1, 7)]
    points, colours = [], []
    for ring, count in rings:
        for k in range(count):
            angle = 2 * math.pi * k / count + random.uniform(-0.08, 0.08)
            points.append((512 + ring * math.cos(angle), 512 + ring * math.sin(angle)))
            hue = (0.98, 0.08, 0.14, 0.62, 0.55, 0.36, 0.75)[int(ring // 110)]
            colours.append([255 * c for c in colorsys.hsv_to_rgb(hue, 0.8, random.uniform(0.6, 0.95))])
    nearest, margin = cells(np.array(points))
    pixels = np.array(colours)[nearest]
    pixels[margin < 14] = (22, 20, 26)
    return grained(Image.fromarray(pixels.astype(np.uint8)), 9, 12, 3)


@image
def mosaic() -> Image.Image:
    random, image = np.random.default_rng(8), Image.new("RGB", (DRAWN, DRAWN), (196, 186, 170))
    draw = Pen(image)
    for y in range(12, UNITS, 34):
        for x in range(12, UNITS, 34):
            r, angle = math.hypot(x - 512, y - 512), math.atan2(y - 512, x - 512)
            ray = math.cos(12 * angle) > 0
            base = (235, 180, 50) if r < 190 else (220, 110, 50) if r < 330 and ray else (40, 95, 150)
            tone = np.array(base) * random.uniform(0.82, 1.12)
            tile = turned([(-14, -14), (14, -14), (14, 14), (-14, 14)], random.uniform(-0.12, 0.12), x, y)
            draw.polygon(tile, fill=tuple(int(v) for v in tone.clip(0, 255)))
    return image


@image
def tartan() -> Image.Image:
    stripe = np.zeros((DRAWN, 3), np.float32)
    sett = ((70, (150, 25, 30)), (12, (240, 215, 120)), (46, (20, 70, 50)), (10, (245, 245, 240)), (46, (20, 70, 50)),
            (12, (240, 215, 120)), (70, (150, 25, 30)), (22, (25, 30, 70)))  # fmt: skip
    at = 0
    while at < UNITS:
        for wide, colour in sett:
            stripe[at * SCALE : (at + wide) * SCALE] = colour
            at += wide
    y, x = np.mgrid[0:DRAWN, 0:DRAWN]
    twill = ((x + y) // (6 * SCALE) % 2 == 0)[..., None]
    cloth = np.where(twill, stripe[None], stripe[:, None])
    return grained(blurred(Image.fromarray(cloth.astype(np.uint8)), 1), 5, 2, 6)


@image
def art_deco() -> Image.Image:
    image, draw = canvas((16, 18, 24))
    gold = ((214, 175, 90), (150, 115, 50))
    for row, y in enumerate(range(1180, -40, -128)):
        for x in range(-128 * (row % 2), UNITS + 256, 256):
            for k, r in enumerate((128, 108, 88, 68, 48, 28)):
                fill = (16, 18, 24) if k % 2 else gold[k // 2 % 2]
                draw.pieslice((x - r, y - r, x + r, y + r), 180, 360, fill=fill)
    return image


@image
def circles() -> Image.Image:
    image, draw = canvas((242, 238, 226))
    discs = (
        (360, 380, 230, (205, 50, 45)), (690, 600, 170, (35, 70, 150)), (700, 260, 90, (240, 190, 40)),
        (270, 770, 110, (30, 30, 35)),
    )  # fmt: skip
    for x, y, r, colour in discs:
        disc(draw, x, y, r, colour)
    disc(draw, 360, 380, 110, (242, 238, 226))
    for k in range(7):
        draw.line([(120 + 60 * k, 980), (620 + 60 * k, 60)], fill=(30, 30, 35), width=5)
    draw.polygon([(760, 860), (940, 960), (720, 980)], fill=(240, 190, 40))
    return image


@image
def teapot() -> Image.Image:
    image, draw = canvas((236, 228, 214))
    draw.rectangle((0, 740, UNITS, UNITS), fill=(126, 84, 52))
    draw.rectangle((0, 740, UNITS, 764), fill=(150, 104, 66))
    blue, dark, light = (52, 98, 168), (36, 70, 128), (150, 186, 226)
    draw.ellipse((230, 790, 800, 850), fill=(98, 64, 40))
    draw.arc((120, 400, 380, 680), 80, 290, fill=dark, width=44)
    draw.polygon([(700, 620), (716, 500), (850, 380), (910, 392), (836, 520), (770, 680)], fill=dark)
    draw.ellipse((260, 350, 770, 820), fill=blue)
    draw.rectangle((410, 800, 620, 830), fill=dark)
    draw.ellipse((390, 318, 640, 408), fill=dark)
    draw.ellipse((404, 306, 626, 380), fill=blue)
    disc(draw, 515, 286, 34, dark)
    draw.arc((310, 400, 700, 780), 190, 250, fill=light, width=20)
    for k in range(5):
        disc(draw, 370 + 72 * k, 610, 20, light)
    return image


@image
def umbrella() -> Image.Image:
    image, draw = canvas((158, 168, 178))
    random = np.random.default_rng(17)
    for x, y in random.uniform(0, UNITS, (150, 2)):
        draw.line([(x, y), (x - 14, y + 56)], fill=(196, 206, 214), width=4)
    draw.rectangle((0, 900, UNITS, UNITS), fill=(112, 120, 130))
    draw.line([(512, 300), (512, 872)], fill=(70, 46, 32), width=18)
    draw.arc((503, 810, 613, 930), 0, 180, fill=(70, 46, 32), width=18)
    draw.pieslice((162, 190, 862, 890), 180, 360, fill=(206, 44, 52))
    for inner, colour in ((230, (226, 84, 86)), (80, (206, 44, 52))):
        draw.pieslice((512 - inner, 190, 512 + inner, 890), 180, 360, fill=colour)
    for k in range(5):
        draw.pieslice((162 + 140 * k, 490, 302 + 140 * k, 590), 180, 360, fill=(158, 168, 178))
    draw.line([(512, 150), (512, 200)], fill=(70, 46, 32), width=18)
    return image
