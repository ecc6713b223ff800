"""What is said where something is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from maskbench.errors import MaskbenchError


def message(function: Callable[..., Any], *arguments: Any, **named: Any) -> str:
    """The one line of the MaskbenchError that a call ends with."""
    with pytest.raises(MaskbenchError) as error:
        function(*arguments, **named)
    assert "\n" not in str(error.value)
    return str(error.value)
