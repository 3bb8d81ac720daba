"""Packages that need not be installed: what is missing is told with the line that installs it.

Rule: whoever needs an optional package asks here, before any work is done.
"""

from __future__ import annotations

from importlib.util import find_spec

from mergekit_mo.problems import UserError

STATUS = 4
"""The exit status of a command that lacks something."""

_EXTRAS = {
    "bitsandbytes": "quantised",
    "cma": "baselines",
    "pymoo": "baselines",
    "ray": "ray",
    "vllm": "vllm",
}
"""Which of this project's extras brings a package."""

_NAMES = {"google": "protobuf", "yaml": "pyyaml"}
"""The distribution of a module, where its name is another one."""


def require(package: str, what: str) -> None:
    """Sees that an optional package is there.

    Args:
        package: its module.
        what: who needs it.

    Raises:
        UserError: it is not, with the way to install it; the exit status is 4.
    """
    if find_spec(package) is None:
        raise missing(package, what)


def missing(module: str | None, what: str) -> UserError:
    """The error of a module that could not be imported, with the way to install it."""
    package = (module or "").partition(".")[0]
    if not package:
        return UserError(f"{what} needs a package that is not installed", status=STATUS)
    told = f"{what} needs the package {package}, which is not installed"
    return UserError(f"{told}:\n  {pip_line(package)}", status=STATUS)


def pip_line(package: str) -> str:
    """The command that installs a module's package."""
    extra = _EXTRAS.get(package)
    wanted = f"'mergekit-mo[{extra}]'" if extra else _NAMES.get(package, package)
    return f"pip install {wanted}"
