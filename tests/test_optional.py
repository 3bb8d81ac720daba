from __future__ import annotations

import pytest

from mergekit_mo import optional
from mergekit_mo.problems import UserError


def test_a_package_that_is_there_is_nothing_to_tell() -> None:
    optional.require("click", "this")


def test_a_package_that_is_not_there_is_told_with_the_line_that_installs_it() -> None:
    with pytest.raises(UserError) as caught:
        optional.require("no_such_package", "the colour blue")
    assert str(caught.value) == (
        "the colour blue needs the package no_such_package, which is not installed:\n"
        "  pip install no_such_package"
    )
    assert caught.value.status == 4


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("pymoo.core.algorithm", "pip install 'mergekit-mo[baselines]'"),
        ("yaml", "pip install pyyaml"),
        ("langdetect", "pip install langdetect"),
    ],
)
def test_the_line_names_what_pip_knows(module: str, line: str) -> None:
    assert str(optional.missing(module, "this")).endswith(f"\n  {line}")


def test_a_module_without_a_name_is_borne() -> None:
    assert "a package that is not installed" in str(optional.missing(None, "this"))
