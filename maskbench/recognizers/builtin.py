"""The recognizers that ship with maskbench: name -> "module:factory"; a factory takes (device, engine)."""

BUILTIN: dict[str, str] = {
    "dlib-resnet": "maskbench.recognizers.dlib_resnet:dlib_resnet",
    "dummy": "maskbench.recognizers.dummy:dummy",
    "dummy-failing": "maskbench.recognizers.dummy:dummy_failing",
}

WITHOUT_WEIGHTS = ("dummy", "dummy-failing")


def shipped_recognizers() -> list[str]:
    """The recognizers that can be evaluated as they are installed: those of ``BUILTIN`` with weights, in its order."""
    return [name for name in BUILTIN if name not in WITHOUT_WEIGHTS]
