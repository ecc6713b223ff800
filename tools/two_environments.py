"""Do two installations give the same bytes? ``python tools/two_environments.py [FACES] [--count 40] [--at FOLDER]``.

Makes two virtual environments, installs the pinned versions (constraints.txt) and one wheel of this tree in each, masks
the same pictures by the recipe ``deocclusion`` in both, with one worker and with two, landmarks detected every time,
and compares all files of the four results. Pictures: evenly chosen from FACES, else the package's mannequins. Prints a
line per result; exits with 1 where they differ. Takes some minutes, most of them for the installations.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from collections import Counter
from contextlib import nullcontext
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
PICTURES = (".jpg", ".jpeg", ".png")
WORKERS = (1, 2)
# Each environment must compile for itself, from its own code.
FOREIGN = ("PYTHONPATH", "PYTHONHOME", "NUMBA_CACHE_DIR", "VIRTUAL_ENV")


def choose(faces: Path, count: int, out: Path) -> int:
    """Copy up to ``count`` pictures below ``faces``, evenly chosen in the order of their paths; returns how many."""
    found = sorted(path for path in faces.rglob("*") if path.suffix.lower() in PICTURES and path.is_file())
    number = min(count, len(found))
    for index in range(number):
        path = found[index * len(found) // number]
        target = out / path.relative_to(faces)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    return number


def digests(root: Path) -> dict[str, str]:
    """The SHA-256 of every file below ``root``, by relative path in sorted order."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def differences(first: dict[str, str], second: dict[str, str]) -> list[str]:
    """The paths that only one has, or that have other bytes."""
    return sorted(path for path in {*first, *second} if first.get(path) != second.get(path))


def build_wheel(root: Path) -> Path:
    """A wheel of a copy of the tracked files as they now are: both environments get the very same code."""
    command = ["git", "ls-files", "-z"]
    names = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout.split("\0")
    for name in filter(lambda name: (REPOSITORY / name).is_file(), names):
        target = root / "tree" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(REPOSITORY / name, target)
    python = make_environment(root / "builder")
    run([python, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(root), str(root / "tree")])
    (wheel,) = root.glob("*.whl")
    return wheel


def make_environment(folder: Path, *requirements: str) -> str:
    """A new virtual environment with these pinned requirements; returns its Python."""
    venv.create(folder, with_pip=True)
    python = str(folder / "bin" / "python")
    if requirements:
        run([python, "-m", "pip", "install", "-q", "-c", str(REPOSITORY / "constraints.txt"), *requirements])
    return python


def run(command: list[str]) -> str:
    """What a command of an environment prints; its complaints pass through."""
    environment = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout


def mask(python: str, faces: Path, out: Path, workers: int) -> dict[str, str]:
    """Mask the pictures and print a line about it; returns the digests of all that was written."""
    options = ["--recipe", "deocclusion", "--workers", str(workers), "--save-alpha", "--no-cache"]
    started = time.monotonic()
    run([str(Path(python).with_name("maskbench")), "synthesize", str(faces), str(out), *options])
    seconds = time.monotonic() - started
    found = digests(out)
    with open(out / "manifest.csv", encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    counts = Counter(f"{row['status']} by {row['landmarks']}" if row["landmarks"] else row["status"] for row in rows)
    whole = hashlib.sha256("".join(f"{path}\0{digest}\n" for path, digest in found.items()).encode()).hexdigest()
    print(f"{out.name}: {dict(counts)}, {len(found)} files, sha256 of all {whole[:16]}, {seconds:.0f} s", flush=True)
    if not any(row["status"] == "masked" for row in rows):
        sys.exit(f"{faces}: nothing was masked, so that nothing can be compared; give pictures of faces")
    return found


def compare(faces: Path, root: Path) -> int:
    """Make the environments below ``root``, mask, compare; the exit status."""
    wheel = build_wheel(root)
    pythons = [make_environment(root / name, f"{wheel}[cpu]") for name in ("first", "second")]
    versions = [run([python, "-m", "pip", "freeze"]) for python in pythons]
    if versions[0] != versions[1]:
        odd = {*versions[0].splitlines()} ^ {*versions[1].splitlines()}
        print("the environments hold other versions:", *sorted(odd))
    results = [
        mask(python, faces, root / f"{Path(python).parents[1].name}-{workers}", workers)
        for python in pythons
        for workers in WORKERS
    ]
    different = sorted({path for result in results[1:] for path in differences(results[0], result)})
    print(f"{len(different)} of {len(results[0])} files differ", *different[:5])
    return int(bool(different) or versions[0] != versions[1])


def main() -> None:
    """Read the command line; exit with 1 when the results differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faces", type=Path, nargs="?", default=REPOSITORY / "maskbench" / "data")
    parser.add_argument("--count", type=int, default=40, help="Pictures to mask.")
    parser.add_argument("--at", type=Path, help="A new folder, which stays, for environments and results.")
    options = parser.parse_args()
    if options.at:
        options.at.mkdir(parents=True)
    with nullcontext(options.at) if options.at else tempfile.TemporaryDirectory() as folder:
        chosen = Path(folder).resolve() / "faces"
        if not choose(options.faces, options.count, chosen):
            sys.exit(f"{options.faces}: no pictures ({', '.join(PICTURES)}); choose another folder")
        sys.exit(compare(chosen, Path(folder).resolve()))


if __name__ == "__main__":
    main()
