"""A folder of 500 files as bad as they come, with what must become of each."""

from __future__ import annotations

import os
import random
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np

COUNT = 500
ANY = ("masked", "failed")  # fuzzed pictures: either, but never a crash
Expected = dict[str, tuple[str, ...]]


def encoded(picture: np.ndarray, suffix: str) -> bytes:
    """By OpenCV itself, not by the code under test."""
    return cv2.imencode(suffix, picture)[1].tobytes()


class Maker:
    """Writes files and remembers what must become of them; names are relative, as the walk gives them."""

    def __init__(self, root: Path, crop: np.ndarray) -> None:
        self.root, self.crop, self.rng = root, crop, random.Random(0)
        self.expected: Expected = {}
        self.good = {suffix: encoded(crop, suffix) for suffix in (".jpg", ".png", ".bmp", ".webp")}
        self.good[".pgm"] = encoded(cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY), ".pgm")

    def add(self, name: str, content: bytes, *status: str) -> None:
        """A file, its folders made."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        self.expect(name, *status)

    def expect(self, name: str, *status: str) -> None:
        assert name not in self.expected
        self.expected[name] = status

    def build(self) -> Expected:
        self.names()
        self.links()
        self.headers()
        self.wrong_extensions()
        self.fuzz(COUNT - len(self.expected))
        return self.expected

    def names(self) -> None:
        """Names up to the limits of the file system, with every byte that a name may hold."""
        for number, suffix in enumerate(self.good):
            self.add("n" * (255 - len(suffix) - number) + suffix, self.good[suffix], "masked")
            self.add(f"upper/{number}{suffix.upper()}", self.good[suffix], "masked")
        deep = "/".join(["d" * 200] * 15)
        self.add(f"{deep}/deep.png", self.good[".png"], "masked")
        self.add("/".join("abcdefghij" * 6) + "/many.png", self.good[".png"], "masked")
        odd = ["new\nline", "tab\t", "carriage\rreturn", "quote\"'", "comma,semicolon;", " space ", "back\\slash"]
        odd += ["a\\..\\b", "per%cent%s", "$(touch x)", "{0}", "*?[x]", "ü\u0301\u202e", "\U0001f637", "-rf", "con"]
        odd += ["a.b.c", "..two"]
        for name in odd:
            self.add(f"odd/{name.lstrip('.')}.png", self.good[".png"], "masked")
            self.add(f"odd {name}/x.jpg".lstrip("."), self.good[".jpg"], "masked")
        for raw in (b"\xff\xfe.png", b"latin\xe9.jpg", b"\x80/\x81.png", b"\xed\xa0\x80.png"):
            self.add(os.fsdecode(b"bytes/" + raw), self.good[".png"], "masked")
        for control in range(1, 32):
            self.add(f"control/{chr(control)}.png", self.good[".png"], "masked")

    def links(self) -> None:
        """What is no regular file, or cannot be opened by its path."""
        folder = self.root / "links"
        folder.mkdir()
        self.add("links/target.png", self.good[".png"], "masked")
        for name, target, status in (
            ("good.png", "target.png", "masked"), ("self.png", "self.png", "failed"), ("a.png", "b.png", "failed"),
            ("b.png", "a.png", "failed"), ("dangling.jpg", "nowhere", "failed"), ("up", "..", "skipped"),
            ("folder.jpg", "../odd", "skipped"), ("here", ".", "skipped"), ("null.png", "/dev/null", "skipped"),
            ("zero.png", "/dev/zero", "skipped"), ("long.png", "x/" * 2000, "failed"), ("loop", "loop", "skipped"),
            ("through.png", "target.png/x.png", "failed"), ("sizeless.png", "/proc/version", "failed"),
        ):  # fmt: skip
            (folder / name).symlink_to(target)
            self.expect(f"links/{name}", status)
        for name in ("fifo.png", "fifo.txt"):
            os.mkfifo(folder / name)
            self.expect(f"links/{name}", "skipped")
        self.add("a folder.jpg/x.png", self.good[".png"], "masked")
        self.add("empty.jpg/.keep", b"", "hidden")
        del self.expected["empty.jpg/.keep"]
        self.too_deep()

    def too_deep(self) -> None:
        """A folder whose path is longer than the system takes; it can be made, but not named."""
        here, name = os.open(self.root, os.O_RDONLY), "t" * 250
        path = ""
        for _ in range(17):
            os.mkdir(name, dir_fd=here)
            inner = os.open(name, os.O_RDONLY, dir_fd=here)
            os.close(here)
            here, path = inner, f"{path}/{name}".lstrip("/")
        os.close(os.open("x.png", os.O_CREAT | os.O_WRONLY, dir_fd=here))
        os.close(here)
        # The first folder on the way that cannot be opened has the row.
        while len(os.fsencode(self.root / path)) >= 4096 and len(os.fsencode((self.root / path).parent)) >= 4096:
            path = os.path.dirname(path)
        self.expect(path, "failed")

    def headers(self) -> None:
        """Sizes that are declared and not there, from none to more than any memory holds."""
        png, jpg, bmp = (bytearray(self.good[suffix]) for suffix in (".png", ".jpg", ".bmp"))
        frame = next(at for at in range(len(jpg)) if jpg[at] == 0xFF and jpg[at + 1] in (0xC0, 0xC2))
        for number, size in enumerate((0, 1, 111, 113, 30_001, 65_535, 2**31 - 1, 2**32 - 1)):
            png[16:24] = struct.pack(">II", size, size)
            png[29:33] = struct.pack(">I", zlib.crc32(png[12:29]))
            self.add(f"declared/{number}.png", bytes(png), "failed")
            jpg[frame + 5 : frame + 9] = struct.pack(">HH", min(size, 65_535), min(size, 65_535))
            self.add(f"declared/{number}.jpg", bytes(jpg), *ANY)
            bmp[18:26] = struct.pack("<II", size, size)
            self.add(f"declared/{number}.bmp", bytes(bmp), *ANY)
            self.add(f"declared/{number}.pgm", f"P5 {size} {size} 255\n".encode() + bytes(50), "failed")
            webp = b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + 2 * struct.pack("<I", size % 2**24)[:3] + bytes(4)
            self.add(f"declared/{number}.webp", webp, "failed")
        self.add("declared/text.pgm", b"P2 3 1 255 1 2", *ANY)
        self.add("declared/comment.pgm", b"P5 #" + b"x" * 5000, "failed")
        self.add("declared/bomb.png", self.bomb(7_900), "failed")

    @staticmethod
    def bomb(side: int) -> bytes:
        """A small PNG of many pixels: under the limit, decoded, and no face."""

        def chunk(kind: bytes, data: bytes) -> bytes:
            return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

        rows = zlib.compress(bytes((side + 8) // 8 * side), 9)
        head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
        return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")

    def wrong_extensions(self) -> None:
        for suffix in self.good:
            for other in (".jpg", ".png", ".bmp", ".webp"):
                if other != suffix:
                    self.add(f"wrong/{suffix[1:]} as{other}", self.good[suffix], "masked")
            self.add(f"empty/0{suffix}", b"", "failed")
            self.add(f"text/0{suffix}", b"<html>404 not found</html>", "failed")
            self.add(f"zeros/0{suffix}", bytes(4096), "failed")
            self.add(f"other/0{suffix}.txt", self.good[suffix], "skipped")
        for name in ("a.gif", "a.tif", "a", "jpg", "a.jpg~", "a.zip", "Thumbs.db"):
            self.add(f"other/{name}", self.good[".jpg"], "skipped")

    def fuzz(self, count: int) -> None:
        """Pictures cut short, or with bytes changed, most of them in the header."""
        suffixes = list(self.good)
        for number in range(count):
            suffix = suffixes[number % len(suffixes)]
            data = bytearray(self.good[suffix])
            if number % 3 == 0:
                self.add(f"cut/{number}{suffix}", bytes(data[: self.rng.randrange(1, len(data))]), *ANY)
                continue
            for _ in range(self.rng.choice((1, 3, 20))):
                reach = len(data) if number % 3 == 1 else 64
                data[self.rng.randrange(reach)] = self.rng.randrange(256)
            self.add(f"fuzz/{number}{suffix}", bytes(data), *ANY)


def hostile_folder(root: Path, crop: np.ndarray) -> Expected:
    """Make the folder; return what must become of each path: the statuses that are right."""
    root.mkdir()
    return Maker(root, crop).build()
