"""Names in a recipe become classes: the file name is the kind, `optimizers/sobol.py` is `sobol`.

Rule: a kind's module is imported only when it is chosen; outsiders write `package.module:Class`.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from types import ModuleType
from typing import Any, TypeVar, get_type_hints

from mergekit_mo.problems import Place, Problem, near

Role = TypeVar("Role")


def names(package: ModuleType) -> tuple[str, ...]:
    """The kinds that a package offers, without importing them."""
    found = (module.name for module in pkgutil.iter_modules(package.__path__))
    return tuple(sorted(name.replace("_", "-") for name in found if not name.startswith("_")))


def described(package: ModuleType, role: type[Role]) -> dict[str, str]:
    """Every kind that a package offers, with the first line of its class's docstring."""
    found: dict[str, str] = {}
    for name in names(package):
        kind, _ = _find(package, role, name, ())
        found[name] = (inspect.getdoc(kind) or "").partition("\n")[0]
    return found


def make(
    package: ModuleType,
    role: type[Role],
    kind: str,
    settings: Mapping[str, Any],
    place: Place,
    **given: Any,
) -> tuple[Role | None, list[Problem]]:
    """Makes the object that a recipe asks for.

    Args:
        package: where the kinds of this role live, one file each.
        role: the class that they derive from; a kind is a frozen dataclass.
        kind: its name in the recipe.
        settings: the fields that the recipe sets.
        place: where the recipe says so.
        **given: fields that the program sets and the recipe must not.

    Returns:
        The object, or None with the problems that kept it from being made.
    """
    found, problem = _find(package, role, kind, place)
    if found is None:
        return None, [problem] if problem else []
    known = {f.name: f for f in fields(found) if f.init and f.name not in given}  # type: ignore[arg-type]
    problems = [
        Problem((*place, name), f"{kind} has no setting {name!r}", near(name, known))
        for name in settings
        if name not in known
    ]
    hints = get_type_hints(found)
    for name in known.keys() & settings.keys():
        if what := _mismatch(settings[name], hints[name]):
            problems.append(Problem((*place, name), what))
    problems += [
        Problem(place, f"{kind} needs the setting {name!r}")
        for name, f in known.items()
        if name not in settings and _required(f)
    ]
    if problems:
        return None, problems
    values = {k: float(v) if hints[k] is float else v for k, v in settings.items()}
    try:
        return found(**values, **given), []
    except ValueError as error:
        return None, [Problem(place, f"{kind}: {error}")]


def _find(
    package: ModuleType, role: type[Role], kind: str, place: Place
) -> tuple[type[Role] | None, Problem | None]:
    """The class of a kind, or what kept it from being found."""
    if ":" in kind:
        module_name, _, class_name = kind.partition(":")
        try:
            found = getattr(importlib.import_module(module_name), class_name)
        except (ImportError, AttributeError, ValueError) as error:
            return None, Problem(place, f"cannot load {kind!r}: {error}")
        if not (inspect.isclass(found) and issubclass(found, role)):
            return None, Problem(place, f"{kind!r} is no {role.__name__}")
        return found, None
    known = names(package)
    if kind not in known:
        what = f"no {role.__name__.lower()} is called {kind!r}"
        return None, Problem(place, what, near(kind, known))
    module = importlib.import_module(f"{package.__name__}.{kind.replace('-', '_')}")
    (found,) = (
        value
        for value in vars(module).values()
        if inspect.isclass(value)
        and issubclass(value, role)
        and value.__module__ == module.__name__
        and not value.__name__.startswith("_")
    )
    return found, None


def _required(f: Field[Any]) -> bool:
    return f.default is MISSING and f.default_factory is MISSING


def _mismatch(value: Any, hint: Any) -> str:
    """What is wrong with a setting's type, for the scalar types that settings use."""
    options = getattr(hint, "__args__", (hint,)) if hint is not Any else ()
    scalars = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
    if not options or not all(o in scalars or o is type(None) for o in options):
        return ""
    for option in options:
        if option is float and isinstance(value, int | float) and not isinstance(value, bool):
            return ""
        if type(value) is option:
            return ""
    wanted = " or ".join(scalars[o] for o in options if o in scalars)
    return f"expected {wanted}, got {value!r}"
