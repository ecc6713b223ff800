"""The completions that ship with maskbench: name -> "module:factory"; a factory takes (device, **settings)."""

from importlib.resources import files
from pathlib import Path

BUILTIN: dict[str, str] = {
    "graph-laplace": "maskbench.completions.graph_laplace:graph_laplace",
    "mean-face": "maskbench.completions.mean_face:mean_face",
    "navier-stokes": "maskbench.completions.inpaint:navier_stokes",
    "none": "maskbench.completions.identity:identity",
    "rpca": "maskbench.completions.rpca:rpca",
    "telea": "maskbench.completions.inpaint:telea",
}

# Names that are kept for learned completions. One whose weights are in the package's data can be loaded as it is;
# whoever has weights for another supplies it by an entry point of its name.
SLOTS: dict[str, str] = {
    "ga": "generative inpainting with contextual attention (Yu et al., CVPR 2018)",
    "ga-noattention": "the same network without its attention branch",
    "gfc": "generative face completion (Li et al., CVPR 2017)",
    "ict": "image completion with transformers (Wan et al., ICCV 2021)",
    "idgan": "identity-diversity inpainting (Ge et al., IEEE TCSVT 2020)",
}

# What names a file of the user's own: "torch:PATH", weights with their card beside them.
PREFIX = "torch:"


def learned_folder() -> Path:
    """Where the package keeps the weights of learned completions, NAME.safetensors and NAME.json."""
    return Path(str(files("maskbench.data"))) / "completions"


def shipped_learned() -> dict[str, Path]:
    """The slots whose weights are in the package's data, each with its file."""
    found = {name: learned_folder() / f"{name}.safetensors" for name in SLOTS}
    return {name: path for name, path in found.items() if path.is_file()}
