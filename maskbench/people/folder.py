"""Synthetic people to a folder of pictures: resumable at any moment, the same bytes for any number of workers."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import cv2
import numpy as np

from maskbench.datasets.folder import IMAGE_SUFFIXES
from maskbench.digest import bytes_sha256, file_sha256
from maskbench.errors import MaskbenchError
from maskbench.files import inside, is_temporary, write_bytes
from maskbench.images import encode, read_image, write_image
from maskbench.masking.engine import locked, prepare
from maskbench.parallel import default_workers, forkable, map_items, one_blas_thread
from maskbench.people.config import CONFIG, PeopleConfig, check_config, describe_config, picture_path
from maskbench.people.records import (
    JOURNAL,
    POINTS,
    TABLE,
    PeopleJournal,
    PictureRow,
    attribute_cells,
    row_to_json,
    write_people,
)
from maskbench.pixels import tile
from maskbench.progress import track

OWN_FILES = (CONFIG, TABLE, POINTS, JOURNAL)
OWN_FOLDER, OWN_PICTURE = re.compile(r"P[0-9]{5,9}"), re.compile(r"P[0-9]{5,9}_[0-9]{4}\.(jpg|webp|png)")
SHEET = (8, 6)  # tiles across and down
SHEET_SUFFIXES = IMAGE_SUFFIXES - {".pgm"}  # which has no colour

Pictures = tuple[int, list[int]]  # the number of a person, and those of the pictures to draw of them


@dataclass(frozen=True)
class PeopleSummary:
    """What a run did: how many pictures of how many people there are, how many are new, and in what time."""

    pictures: int
    identities: int
    new: int
    seconds: float
    table: Path


def make_people(
    out: Path | str, config: PeopleConfig, workers: int = 1, resume: bool = False, overwrite: bool = False
) -> PeopleSummary:
    """Write ``OUT/P00012/P00012_0003.jpg`` and so on, ``people.csv``, ``landmarks.npz`` and ``people.json``.

    Args:
        workers: processes, 0 for one on every processor; their number changes no byte. More than one needs a script's
            call to stand under ``if __name__ == "__main__":``.
        resume: continue an interrupted run with the same options, or check and mend a finished one: pictures that are
            not as they were written are drawn again, and all of them if the table or the landmarks are not.
        overwrite: first remove the people that an earlier run, whatever its options, left in ``out``.

    Raises:
        MaskbenchError: wrong options, a folder that cannot be written or that holds something else or links, or a run
            to resume whose options, model or versions differ.
    """
    started, out = time.monotonic(), Path(out)
    check_config(config)
    count = workers or default_workers()
    with locked(out), _one_thread():
        if overwrite:
            _clear(out)
        _refuse_links(out)
        prepare(out, describe_config(config), resume, CONFIG)
        paths = {picture_path(*shot, config.format): shot for shot in config.shots()}
        with closing(PeopleJournal(out)) as journal:
            kept = _kept(out, journal)
            todo = [shot for path, shot in paths.items() if path not in kept]
            people = [(number, [shot for _, shot in own]) for number, own in groupby(todo, key=lambda shot: shot[0])]
            (out / TABLE).unlink(missing_ok=True)  # from here on the journal says what there is
            with closing(map_items(_make_worker, (str(out), config, count > 1), people, count)) as answers:
                for path, line in track(_lines(answers, config.format), len(paths), "people", len(kept)):
                    journal.append(path, line)
            write_people(out, sorted(paths), journal.get)
            journal.remove()
    return PeopleSummary(len(paths), len(config.identities), len(todo), time.monotonic() - started, out / TABLE)


# ---------------------------------------------------------------- the work


@contextmanager
def _one_thread() -> Iterator[None]:
    """Matrices and OpenCV on one thread each: how work is divided among threads can decide last bits."""
    before = cv2.getNumThreads()
    with one_blas_thread():
        cv2.setNumThreads(1)
        try:
            yield
        finally:
            cv2.setNumThreads(before)


@forkable
def _make_worker(out: str, config: PeopleConfig, warm: bool) -> Callable[[Pictures], list[str]]:
    """Set up one process and return its function: a person's pictures to their rows, as lines of the journal.

    A person goes to one process whole, since much of the work is done once for all pictures of a person.

    Args:
        warm: draw a picture for nothing, so that workers that are copied from this process find all loaded.
    """
    from maskbench.people.portraits import Portraits

    one_blas_thread()
    cv2.setNumThreads(1)
    portraits = Portraits(config.seed, config.size)
    if warm:
        portraits.portrait(min(config.identities), 1)

    def draw(number: int, shot: int) -> str:
        portrait = portraits.portrait(number, shot)
        path = picture_path(number, shot, config.format)
        quality = 100 if config.format == "png" else config.quality or portrait.quality
        data = encode(portrait.image, f".{config.format}", quality)
        write_bytes(inside(Path(out), path), data)
        cells = attribute_cells({**portrait.attributes, "quality": quality})
        return row_to_json(PictureRow(path, bytes_sha256(data), cells, portrait.landmarks))

    def work(pictures: Pictures) -> list[str]:
        number, shots = pictures
        return [draw(number, shot) for shot in shots]

    return work


def _lines(answers: Iterator[tuple[Pictures, list[str] | None]], form: str) -> Iterator[tuple[str, str]]:
    """Path and journal line of every picture of the people answered for."""
    for (number, shots), lines in answers:
        if lines is None:
            path = picture_path(number, shots[0], form)
            raise MaskbenchError(f"{path}: the worker process crashed twice; run again with --resume")
        yield from zip((picture_path(number, shot, form) for shot in shots), lines, strict=True)


def _kept(out: Path, journal: PeopleJournal) -> set[str]:
    """The pictures of an earlier run that are still what their rows say."""
    return {row.path for row in track(journal.rows(), len(journal), "checking") if _holds(out, row)}


def _holds(out: Path, row: PictureRow) -> bool:
    try:
        return file_sha256(inside(out, row.path)) == row.sha256
    except OSError:
        return False


def _refuse_links(out: Path) -> None:
    """Raise MaskbenchError for a link in the place of a run's file or folder: it may lead out of ``out``."""
    with os.scandir(out) as entries:
        wrong = [entry.name for entry in entries if _misplaced(entry)]
    if wrong:
        kind = "file" if min(wrong) in OWN_FILES else "folder"
        raise MaskbenchError(f"{out / min(wrong)}: a link, or no {kind}, where a run writes; remove it")


def _misplaced(entry: os.DirEntry[str]) -> bool:
    if entry.name in OWN_FILES:
        return not entry.is_file(follow_symlinks=False)
    return OWN_FOLDER.fullmatch(entry.name) is not None and not entry.is_dir(follow_symlinks=False)


def _clear(out: Path) -> None:
    """Remove the people of an earlier run. Raises MaskbenchError if ``out`` holds anything else."""
    names = sorted(os.listdir(out))
    other = [what for name in names if (what := _foreign(out, name))]
    if other or (names and CONFIG not in names):
        what = other[0] if other else f"no {CONFIG}"
        raise MaskbenchError(f"{out}: not overwritten, for it holds more than people ({what}); choose another folder")
    try:
        for name in sorted(names, key=lambda name: name == CONFIG):  # last, so that it tells of an interrupted removal
            shutil.rmtree(out / name) if (out / name).is_dir() else (out / name).unlink()
    except OSError as error:
        raise MaskbenchError(f"{out}: cannot be emptied ({error.strerror}); choose another folder") from error


def _foreign(out: Path, name: str) -> str:
    """What an entry of a people's folder is, or holds, that no run of ours wrote; "" if there is nothing."""
    path = out / name
    if OWN_FOLDER.fullmatch(name) and path.is_dir() and not path.is_symlink():
        other = [inner for inner in os.listdir(path) if not (OWN_PICTURE.fullmatch(inner) or is_temporary(inner))]
        return f"{name}/{min(other)}" if other else ""
    return "" if (name in OWN_FILES and not path.is_dir()) or is_temporary(name) else name


def check_sheet(sheet: Path, out: Path) -> None:
    """Raise MaskbenchError if a contact sheet of the people in ``out`` cannot be called ``sheet``; nothing is written.

    It must not lie in ``out``, which would then hold more than people and no longer be overwritten.
    """
    if sheet.suffix.lower() not in SHEET_SUFFIXES or sheet.is_dir():
        raise MaskbenchError(f"{sheet}: no name of a picture; let it end in one of {', '.join(sorted(SHEET_SUFFIXES))}")
    if sheet.resolve().is_relative_to(out.resolve()):
        raise MaskbenchError(f"{sheet}: a sheet inside {out} would keep it from being overwritten; write it elsewhere")


def write_sheet(folder: Path, paths: Sequence[str], out: Path, side: int | None = None) -> None:
    """A contact sheet of up to 48 pictures, spread evenly over ``paths``, at their own size unless ``side`` is given.

    Raises:
        MaskbenchError: a picture cannot be read, or the sheet cannot be written.
    """
    across, down = SHEET
    places = np.linspace(0, len(paths) - 1, min(len(paths), across * down)).round().astype(int)
    chosen = [paths[place] for place in places]
    images = [read_image(inside(folder, path)) for path in chosen]
    side = side or images[0].shape[0]
    tiles = [tile(image, side) for image in images]
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % across if len(tiles) > across else 0)
    rows = [np.hstack(tiles[start : start + across]) for start in range(0, len(tiles), across)]
    write_image(out, np.vstack(rows))
