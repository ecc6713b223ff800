"""The completions that ship with maskbench: name -> "module:factory"; a factory takes (device, **settings)."""

BUILTIN: dict[str, str] = {
    "graph-laplace": "maskbench.completions.graph_laplace:graph_laplace",
    "mean-face": "maskbench.completions.mean_face:mean_face",
    "navier-stokes": "maskbench.completions.inpaint:navier_stokes",
    "none": "maskbench.completions.identity:identity",
    "rpca": "maskbench.completions.rpca:rpca",
    "telea": "maskbench.completions.inpaint:telea",
}

# Names that are kept for learned completions: whoever has weights for one supplies it by an entry point of its name.
SLOTS: dict[str, str] = {
    "ga": "generative inpainting with contextual attention (Yu et al., CVPR 2018)",
    "ga-noattention": "the same network without its attention branch",
    "gfc": "generative face completion (Li et al., CVPR 2017)",
    "ict": "image completion with transformers (Wan et al., ICCV 2021)",
    "idgan": "identity-diversity inpainting (Ge et al., IEEE TCSVT 2020)",
}
