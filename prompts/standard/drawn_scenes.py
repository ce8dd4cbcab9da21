"""Drawn images of places: buildings, landscapes, skies."""

import itertools
import math

import numpy as np
from drawing import DRAWN, SCALE, UNITS, Pen, blurred, canvas, disc, gradient, grained, image, ridge
from PIL import Image, ImageDraw


@image
def house() -> Image.Image:
    image, draw = canvas((150, 210, 245))
    disc(draw, 820, 190, 90, (255, 214, 60))
    draw.polygon(ridge(720, 30, 3), fill=(110, 180, 80))
    draw.rectangle((300, 470, 680, 780), fill=(250, 240, 220))
    draw.polygon([(250, 480), (490, 270), (730, 480)], fill=(200, 50, 45))
    draw.rectangle((600, 300, 650, 420), fill=(150, 70, 55))
    draw.rectangle((440, 620, 540, 780), fill=(120, 75, 45))
    for x in (340, 580):
        draw.rectangle((x, 540, x + 70, 610), fill=(120, 190, 230), outline=(90, 60, 40), width=8)
    return image


@image
def lighthouse() -> Image.Image:
    image = gradient([(0, (40, 40, 95)), (0.45, (190, 110, 130)), (0.6, (250, 180, 120)), (0.61, (35, 70, 110)),
                      (1, (15, 35, 65))])  # fmt: skip
    light = Image.new("L", image.size)
    Pen(light).polygon([(640, 250), (0, 90), (0, 330)], fill=120)
    image.paste((255, 240, 180), mask=blurred(light, 14))
    draw = Pen(image)
    draw.polygon([(420, 1024), (520, 800), (620, 740), (820, 760), (1024, 700), (1024, 1024)], fill=(45, 40, 45))
    for i in range(6):
        wide, wider = 52 + 8 * i, 60 + 8 * i
        top, bottom = 300 + i * 75, 375 + i * 75
        colour = (190, 45, 45) if i % 2 else (245, 240, 230)
        draw.polygon([(690 - wide, top), (690 + wide, top), (690 + wider, bottom), (690 - wider, bottom)], fill=colour)
    draw.rectangle((645, 220, 735, 300), fill=(255, 235, 150))
    draw.polygon([(630, 222), (690, 160), (750, 222)], fill=(60, 30, 35))
    return image


@image
def mountains() -> Image.Image:
    random, image = np.random.default_rng(5), gradient([(0, (255, 205, 170)), (0.6, (250, 235, 220)), (1, (255,) * 3)])
    draw = Pen(image)
    for layer, base in enumerate((430, 560, 690, 840)):
        peaks = [
            (i * 128 + random.uniform(-40, 40), base - random.uniform(40, 260) + 25 * layer) for i in range(-1, 10)
        ]
        for (x0, y0), (x1, y1) in itertools.pairwise(peaks):
            blue = np.array([130, 160, 200]) * (1 - 0.2 * layer)
            for points, shade in (([(x0, y0), (x1, y1), (x0, 1024)], 1.0), ([(x1, y1), (x1, 1024), (x0, 1024)], 0.86)):
                tone = blue * shade * random.uniform(0.92, 1.08)
                draw.polygon(points, fill=tuple(int(v) for v in tone.clip(0, 255)))
    return image


@image
def sailboat() -> Image.Image:
    image = gradient([(0, (90, 50, 110)), (0.35, (235, 100, 80)), (0.58, (255, 200, 90)), (0.585, (225, 120, 80)),
                      (1, (60, 40, 90))])  # fmt: skip
    draw = Pen(image)
    disc(draw, 380, 560, 110, (255, 240, 170))
    sea = gradient([(0, (235, 140, 80)), (1, (50, 35, 85))]).resize((DRAWN, 426 * SCALE))
    image.paste(sea, (0, 598 * SCALE))
    for i in range(14):
        y, half = 612 + i * 24, 105 - i * 5
        draw.rounded_rectangle((380 - half, y, 380 + half, y + 8), radius=4, fill=(255, 225, 150))
    draw.polygon([(640, 660), (860, 660), (820, 715), (690, 715)], fill=(40, 25, 45))
    draw.polygon([(745, 640), (745, 330), (860, 640)], fill=(60, 35, 60))
    draw.polygon([(730, 640), (730, 380), (640, 640)], fill=(75, 45, 70))
    return image


@image
def wave() -> Image.Image:
    image, draw = canvas((240, 228, 200))
    disc(draw, 760, 250, 100, (205, 70, 55))
    for i in range(9):
        base, colour = 470 + i * 66, ((25, 60, 110), (235, 240, 235), (70, 130, 170))[i % 3]
        outline = [(x, base - 70 * abs(math.sin((x + 150 * i) / (130 + 9 * i))) ** 0.6) for x in range(0, 1032, 4)]
        draw.polygon([*outline, (1032, 1024), (0, 1024)], fill=colour)
        draw.line(outline, fill=(20, 30, 55), width=7)
        for x in range(20 * i, 1024, 150):
            draw.arc((x, base + 6, x + 110, base + 70), 200, 330, fill=(20, 30, 55), width=5)
    return grained(image, 6, 2, 1)


@image
def castle() -> Image.Image:
    small = Image.new("RGB", (64, 64), (120, 190, 240))
    draw = ImageDraw.Draw(small)
    for x, y in ((6, 10), (40, 6)):
        draw.rectangle((x, y, x + 13, y + 3), fill=(250, 250, 255))
        draw.rectangle((x + 3, y - 2, x + 9, y + 1), fill=(250, 250, 255))
    draw.rectangle((0, 52, 63, 63), fill=(70, 150, 70))
    for x in range(0, 64, 3):
        draw.point((x, 52 + x % 2), fill=(100, 185, 85))
    for left, top, right in ((10, 24, 20), (43, 24, 53), (20, 32, 43)):
        draw.rectangle((left, top, right, 52), fill=(140, 140, 150))
        for x in range(left, right, 4):
            draw.rectangle((x, top - 3, x + 1, top - 1), fill=(140, 140, 150))
        for y in range(top + 2, 52, 4):
            for x in range(left + 1 + y // 4 % 2 * 2, right, 5):
                draw.line((x, y, x + 1, y), fill=(110, 110, 122))
    draw.rectangle((28, 41, 35, 52), fill=(85, 55, 35))
    for x, colour in ((15, (215, 55, 55)), (48, (240, 200, 60))):
        draw.line((x, 12, x, 21), fill=(80, 60, 50))
        draw.polygon([(x + 1, 12), (x + 7, 14), (x + 1, 16)], fill=colour)
    return small.resize((DRAWN, DRAWN), Image.Resampling.NEAREST)


@image
def city_night() -> Image.Image:
    random, image = np.random.default_rng(11), gradient([(0, (10, 12, 40)), (0.7, (60, 40, 95)), (1, (120, 60, 90))])
    draw = Pen(image)
    disc(draw, 200, 170, 70, (245, 240, 215))
    for layer, shade in enumerate(((45, 40, 80), (22, 22, 48))):
        x = -20.0
        while x < UNITS:
            wide, top = random.uniform(70, 140), random.uniform(300, 620) + 110 * layer
            draw.rectangle((x, top, x + wide, UNITS), fill=shade)
            for y in np.arange(top + 25, UNITS, 38):
                for left in np.arange(x + 14, x + wide - 20, 28):
                    if random.random() < 0.42:
                        draw.rectangle((left, y, left + 12, y + 18), fill=(255, 214, 120))
            x += wide + random.uniform(0, 14)
    return image


@image
def forest() -> Image.Image:
    random, image = np.random.default_rng(2), Image.new("RGB", (DRAWN, DRAWN), (246, 242, 230))
    for layer in range(4):
        wash = Image.new("RGB", image.size, (120 - 28 * layer, 165 - 30 * layer, 130 - 32 * layer))
        mask = Image.new("L", image.size)
        draw = Pen(mask)
        for _ in range(9):
            x, high, base = random.uniform(0, 1024), random.uniform(350, 620), 620 + 120 * layer
            for k in range(7):
                wide = 26 + k * 17
                y = base - high + k * high / 8
                points = [(x, y), (x + wide, y + high / 5 + random.uniform(-9, 9)), (x - wide, y + high / 5)]
                draw.polygon(points, fill=125)
        image.paste(wash, mask=blurred(mask, 9 - 2 * layer))
    return grained(image, 5, 3, 4)


@image
def balloon() -> Image.Image:
    image = gradient([(0, (110, 180, 235)), (0.8, (225, 240, 250)), (1, (250, 245, 230))])
    draw = Pen(image)
    draw.polygon(ridge(820, 40, 8), fill=(120, 165, 95))
    draw.polygon(ridge(900, 35, 9), fill=(90, 140, 80))
    stripes = ((215, 60, 55), (250, 215, 90))
    draw.polygon([(300, 430), (724, 430), (560, 650), (464, 650)], fill=stripes[0])
    for i, half in enumerate((230, 165, 98, 33)):
        draw.ellipse((512 - half, 120, 512 + half, 580), fill=stripes[i % 2])
        if i:
            edge = half * 0.45
            draw.polygon([(512 - half + 6, 400), (512 + half - 6, 400), (512 + edge, 650), (512 - edge, 650)],
                         fill=stripes[i % 2])  # fmt: skip
    for x in (470, 554):
        draw.line([(x, 650), (490 if x < 512 else 534, 720)], fill=(70, 50, 40), width=5)
    draw.rectangle((475, 720, 549, 780), fill=(130, 85, 50))
    return image


@image
def ringed_planet() -> Image.Image:
    random = np.random.default_rng(17)
    image, draw = canvas((8, 8, 26))
    for _ in range(320):
        x, y, r = random.uniform(0, 1024), random.uniform(0, 1024), random.choice([1.2, 2, 3.2])
        disc(draw, x, y, r, (235, 235, 255))
    for front in (False, True):
        ring = Image.new("L", image.size)
        drawn = Pen(ring)
        for r, shade in ((420, 210), (360, 0), (345, 160), (285, 0)):
            drawn.ellipse((512 - r, 512 - r * 0.28, 512 + r, 512 + r * 0.28), fill=shade)
        drawn.rectangle((0, 0, 1024, 512) if front else (0, 512, 1024, 1024), fill=0)
        ring = ring.rotate(18, center=(512 * SCALE, 512 * SCALE))
        if front:
            globe = Image.new("L", image.size)
            disc(Pen(globe), 512, 512, 210, None)
            Pen(globe).ellipse((302, 302, 722, 722), fill=255)
            bands = gradient([(k / 12, ((220, 170, 120), (190, 130, 95), (235, 200, 150))[k % 3]) for k in range(13)])
            image.paste(bands.rotate(18), mask=globe)
        image.paste((215, 200, 190), mask=ring)
    return image
