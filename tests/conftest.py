"""What several test files share. Nothing heavy is imported before a test asks for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.browser import Browser
    from tests.toy import Toy

Make = Callable[..., Path]
"""Makes an untrained model from the arguments of `mergekit_mo.testing.untrained`."""


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Untrained model folders, each made once a session; torch is given one thread."""
    import torch

    from mergekit_mo.testing import untrained

    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("models")
    made: dict[str, Path] = {}

    def make(kind: str = "llama", **traits: Any) -> Path:
        key = f"{kind} {sorted(traits.items())}"
        if key not in made:
            made[key] = untrained(root / f"{kind}-{len(made)}", kind, **traits)
        return made[key]

    return make


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    """A folder with untrained models, two tasks and a recipe that searches them in seconds."""
    from tests.toy import make_toy

    return make_toy(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A Chromium without a window; skips where there is none."""
    from tests.browser import start

    yield from start()
