"""The tests of this folder run vLLM itself: `make vllm-test`. Elsewhere they skip."""

from importlib.util import find_spec

import pytest


@pytest.fixture(scope="session", autouse=True)
def vllm() -> None:
    """Skips where vLLM is not installed."""
    if find_spec("vllm") is None:
        pytest.skip("vllm is not installed: make vllm-test")
