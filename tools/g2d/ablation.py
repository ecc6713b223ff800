"""G2D row by row on small means: trains a reformer for every row with the same budget, and measures all.

    python tools/g2d/ablation.py train RUNS --data FACES --data OTHERS --subjects LIST --seeds 0 1
    python tools/g2d/ablation.py measure RUNS --people FOLDER --work FOLDER

All rows begin with the encoder that ships, apart from those that say otherwise. The rest is as in
../maskinv/ablation.py.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "maskinv"))
import ablation as shared

BUDGET = ("reformer.epochs=0.6", "reformer.optimiser.warm_up=0.1", "reformer.encoder=shipped")
_CLASSES = "reformer.losses={instance: none, pair_weight: 0, triplet_weight: 0, margin_weight: 1}"
_OWN = ("network.reformer=residual", "reformer.start=random", "network.embedding=128")


def _deep(depth: int) -> tuple[str, ...]:
    return (*_OWN, "network.widths=[48, 96, 192, 384]", f"network.depth={depth}")


_TERMS = "reformer.losses={{instance_weight: {}, pair_weight: {}, triplet_weight: {}}}".format
# name -> (what it is, settings, the row that it is compared with)
ROWS: dict[str, tuple[str, tuple[str, ...], str]] = {
    "greedy": ("greedy, the recipe's terms", (), "dlib-resnet"),
    "random": ("encoder without training", ("reformer.encoder=random",), "greedy"),
    "scratch": (
        "encoder from scratch, with the reformer",
        ("reformer.encoder=random", "reformer.train_encoder=true", "reformer.encoder_rate=1"), "greedy",
    ),
    "end-to-end": ("encoder learns along", ("reformer.train_encoder=true",), "greedy"),
    "instance": ("without relations", (_TERMS(2, 0, 0),), "greedy"),
    "relations": ("relations alone", (_TERMS(0, 1, 2),), "greedy"),
    "classes": ("classification alone, its classes begun with the teacher's templates", (_CLASSES,), "greedy"),
    "picture": ("completed picture", ("network.reads=picture", "network.adapter=1"), "greedy"),
    "last-block": ("descriptor of the last block", ("network.block=-1",), "greedy"),
    "1x1": ("a first convolution of 1 x 1", ("network.adapter=1",), "greedy"),
    "depth-22": ("residual reformer from scratch, 22 layers", _deep(22), "greedy"),
    "depth-10": ("the same, 10 layers", _deep(10), "depth-22"),
    "depth-34": ("the same, 34 layers", _deep(34), "depth-22"),
}  # fmt: skip


def main() -> None:
    """Parse the options and run."""
    shared.ROWS, shared.BUDGET = ROWS, BUDGET
    method = "g2d", "--recipe", "small", "--stage", "reformer"
    shared.main(__doc__, method, "*/reformer/weights.safetensors")


if __name__ == "__main__":
    main()
