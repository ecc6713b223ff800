"""The names of an ONNX graph's first nodes, read from the bytes of the file: the package ``onnx`` is not needed.

An ONNX file is a protocol buffer. Its field 7 is the graph, whose fields 1 are the nodes in order, whose field 3 is the
name. Sources: onnx.proto of the ONNX project, and the encoding guide of Protocol Buffers.
"""

from __future__ import annotations

from collections.abc import Iterator

_GRAPH, _NODE, _NAME = 7, 1, 3
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def first_nodes(data: bytes, count: int) -> list[str]:
    """Names of the first ``count`` nodes of the graph; fewer where the file has fewer, or is damaged after them."""
    names: list[str] = []
    for graph in _fields(memoryview(data), _GRAPH):
        for node in _fields(graph, _NODE):
            names.append(next((bytes(name).decode("utf-8", "replace") for name in _fields(node, _NAME)), ""))
            if len(names) == count:
                return names
    return names


def _fields(data: memoryview, wanted: int) -> Iterator[memoryview]:
    """The values of one length-delimited field of a message; ends quietly where the bytes are no message."""
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        kind = key & 7
        if kind == _BYTES:
            length, position = _varint(data, position)
            if position + length > len(data):
                return
            if key >> 3 == wanted:
                yield data[position : position + length]
            position += length
        elif kind == _VARINT:
            _, position = _varint(data, position)
        elif kind in (_FIXED64, _FIXED32):
            position += 8 if kind == _FIXED64 else 4
        else:
            return


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    """A number in base 128, least digit first, and the position after it; the end of ``data`` where it is cut off."""
    value = 0
    for shift in range(0, 64, 7):
        if position >= len(data):
            break
        byte, position = data[position], position + 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
    return 0, len(data)
