"""The recognizers that ship with maskbench: name -> "module:factory"; a factory takes (device, engine)."""

BUILTIN: dict[str, str] = {
    "dlib-resnet": "maskbench.recognizers.dlib_resnet:dlib_resnet",
    "dummy": "maskbench.recognizers.dummy:dummy",
    "dummy-failing": "maskbench.recognizers.dummy:dummy_failing",
}
