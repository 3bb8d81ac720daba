"""Names in a recipe become classes: the file name is the kind, `optimizers/sobol.py` is `sobol`.

Rule: a kind's module is imported only when it is chosen. Outsiders write `package.module:Class`, or
give their class a name by an entry point of the group `mergekit_mo.optimizers` (`.objectives`,
`.executors`); a name that two things have belongs to neither.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any, TypeVar, get_type_hints

from mergekit_mo.optional import pip_line
from mergekit_mo.problems import Place, Problem, UserError, near

Role = TypeVar("Role")


def names(package: ModuleType) -> tuple[str, ...]:
    """The kinds that a package offers, without importing them."""
    found = (module.name for module in pkgutil.iter_modules(package.__path__))
    return tuple(sorted(name.replace("_", "-") for name in found if not name.startswith("_")))


def outside(package: ModuleType) -> dict[str, list[EntryPoint]]:
    """The kinds that other installed packages offer for a role, without importing them.

    The group of their entry points is called as the package is: `mergekit_mo.optimizers`.
    """
    found: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=package.__name__):
        offered = found.setdefault(point.name, [])
        if point.value not in [other.value for other in offered]:
            offered.append(point)
    return dict(sorted(found.items()))


def described(package: ModuleType, role: type[Role]) -> dict[str, str]:
    """Every kind that a recipe can name, with the first line of its class's docstring.

    Of another package's kind it says whose it is; of one that cannot be named, why.
    """
    own, others = names(package), outside(package)
    found: dict[str, str] = {}
    for name in (*own, *(name for name in others if name not in own)):
        kind, problem = _find(package, role, name, ())
        line = (inspect.getdoc(kind) or "").partition("\n")[0] if kind else ""
        if problem is not None:
            line = f"{problem.what}; {problem.hint}" if problem.hint else problem.what
        elif name in others:
            line = f"{line} [{_owner(others[name][0])}]".strip()
        found[name] = line
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
    if not is_dataclass(found):
        return None, [Problem(place, f"{kind} is no dataclass, so it has no settings to read")]
    if missing := sorted(getattr(found, "__abstractmethods__", ())):
        return None, [Problem(place, f"{kind} lacks what a search calls: {', '.join(missing)}")]
    known = {f.name: f for f in fields(found) if f.init and f.name not in given}
    problems = [
        Problem((*place, name), f"{kind} has no setting {name!r}", near(name, known))
        for name in settings
        if name not in known
    ]
    hints = _hints(found)
    for name in known.keys() & settings.keys():
        if what := _mismatch(settings[name], hints.get(name, Any)):
            problems.append(Problem((*place, name), what))
    problems += [
        Problem(place, f"{kind} needs the setting {name!r}")
        for name, f in known.items()
        if name not in settings and _required(f)
    ]
    if problems:
        return None, problems
    values = {k: float(v) if hints.get(k) is float else v for k, v in settings.items()}
    try:
        return found(**values, **given), []
    except ValueError as error:
        return None, [Problem(place, f"{kind}: {error}")]
    except UserError:
        raise
    except Exception as error:
        if found.__module__.startswith(f"{package.__name__}."):
            raise
        return None, [Problem(place, f"{kind}: {type(error).__name__}: {error}")]


def class_of(package: ModuleType, role: type[Role], kind: str) -> type[Role]:
    """The class of a kind that is named outside of a recipe.

    Raises:
        UserError: there is none, or several.
    """
    found, problem = _find(package, role, kind, ())
    if found is None:
        words = (problem.what, problem.hint) if problem else (kind,)
        raise UserError(": ".join(word for word in words if word), status=2)
    return found


def _find(
    package: ModuleType, role: type[Role], kind: str, place: Place
) -> tuple[type[Role] | None, Problem | None]:
    """The class of a kind, or what kept it from being found."""
    if ":" in kind:
        return _loaded(EntryPoint(kind, kind, ""), role, kind, place)
    own, others = names(package), outside(package)
    offered = others.get(kind, [])
    if len(offered) + (kind in own) > 1:
        whose = [f"{point.value} of {_owner(point)}" for point in offered]
        whose = ["this program's own", *whose] if kind in own else whose
        what = f"several things are called {kind!r}: {', '.join(whose)}"
        values = [point.value for point in offered]
        if kind in own:
            mine = _built_in(package, role, kind)
            values.insert(0, f"{mine.__module__}:{mine.__qualname__}")
        return None, Problem(place, what, f"say which: {' or '.join(values)}")
    if offered:
        return _loaded(offered[0], role, f"{kind} of {_owner(offered[0])}", place)
    if kind not in own:
        what = f"no {role.__name__.lower()} is called {kind!r}"
        return None, Problem(place, what, near(kind, (*own, *others)))
    return _built_in(package, role, kind), None


def _loaded(
    point: EntryPoint, role: type[Role], name: str, place: Place
) -> tuple[type[Role] | None, Problem | None]:
    """An outsider's class, whatever its module does when it is imported."""
    if not (point.pattern.match(point.value) and all(point.value.partition(":")[::2])):
        return None, Problem(place, f"cannot load {name!r}", "package.module:Class")
    try:
        found = point.load()
    except Exception as error:  # it runs somebody's module
        reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        hint = ""
        if isinstance(error, ModuleNotFoundError) and error.name:
            hint = f"if it is a package: {pip_line(error.name.partition('.')[0])}"
        return None, Problem(place, f"cannot load {name!r}: {reason.partition(chr(10))[0]}", hint)
    if not (inspect.isclass(found) and issubclass(found, role)):
        return None, Problem(place, f"{name!r} is no {role.__name__}")
    return found, None


def _built_in(package: ModuleType, role: type[Role], kind: str) -> type[Role]:
    """The class of one of this program's own kinds."""
    module = importlib.import_module(f"{package.__name__}.{kind.replace('-', '_')}")
    (found,) = (
        value
        for value in vars(module).values()
        if inspect.isclass(value)
        and issubclass(value, role)
        and value.__module__ == module.__name__
        and not value.__name__.startswith("_")
    )
    return found


def _owner(point: EntryPoint) -> str:
    """The distribution that an entry point comes with."""
    return point.dist.name if point.dist else "an unknown package"


def _hints(kind: type) -> dict[str, Any]:
    """The types of a kind's fields; none where its annotations cannot be read."""
    try:
        return get_type_hints(kind)
    except (NameError, TypeError, AttributeError):
        return {}


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
