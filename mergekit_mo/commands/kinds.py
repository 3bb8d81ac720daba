"""`mergekit-mo kinds`: what a recipe can name."""

from __future__ import annotations

import click

from mergekit_mo.commands._shared import AS_JSON, examples, reports_errors, tell, tell_json

_SORTS = ("optimizers", "objectives", "executors", "methods")
_ROLES = {"optimizers": "Optimizer", "objectives": "Objective", "executors": "Executor"}


@click.command(
    "kinds",
    epilog=examples(
        "mergekit-mo kinds",
        "mergekit-mo kinds optimizers",
        "mergekit-mo kinds methods --json",
    ),
)
@click.argument("sorts", nargs=-1, type=click.Choice(_SORTS), metavar="[optimizers|objectives|…]")
@AS_JSON
@reports_errors
def command(sorts: tuple[str, ...], as_json: bool) -> None:
    """List the optimizers, objectives and merge methods that a recipe can name, and executors.

    Other installed packages' kinds are listed with the package. Your own class needs no list: name
    it as package.module:Class.
    """
    found = {sort: _listed(sort) for sort in sorts or _SORTS}
    if as_json:
        tell_json(found)
        return
    blocks = []
    for sort, kinds in found.items():
        width = max(map(len, kinds))
        rows = (f"  {name:{width}}  {line}".rstrip() for name, line in kinds.items())
        head = f"{sort} (* must be given):" if sort == "methods" else f"{sort}:"
        blocks.append("\n".join((head, *rows)))
    tell("\n\n".join(blocks))


def _listed(sort: str) -> dict[str, str]:
    """The names of a sort, each with a line about it."""
    if sort != "methods":
        from importlib import import_module

        from mergekit_mo.kinds import described

        package = import_module(f"mergekit_mo.{sort}")
        return described(package, getattr(package, _ROLES[sort]))
    from mergekit_mo.methods import methods

    found = {}
    for name, method in sorted(methods().items()):
        takes = ", ".join(p.name + "*" * p.required for p in method.parameters.values())
        base = "; needs base_model" if method.needs_base else ""
        found[name] = (f"takes {takes}" if takes else "takes no parameters") + base
    return found
