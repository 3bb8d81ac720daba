"""`mergekit-mo convert`: a genome of mergekit-evolve becomes a recipe."""

from __future__ import annotations

from pathlib import Path

import click

from mergekit_mo.commands._shared import AS_JSON, deliver, examples, quoted, reports_errors, say
from mergekit_mo.problems import RecipeError, UserError


@click.command(
    "convert",
    epilog=examples(
        "mergekit-mo convert genome.yaml --out recipe.yaml",
        "mergekit-mo convert genome.yaml --layers 32",
    ),
)
@click.argument("genome", type=click.Path(path_type=Path))
@click.option(
    "--layers",
    type=click.IntRange(min=1),
    help="Layers of the models, where layer_granularity asks for them and they are not at hand.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Write the recipe to this file.")
@click.option("--force", is_flag=True, help="Let --out replace a file.")
@AS_JSON
@reports_errors
def command(genome: Path, layers: int | None, out: Path | None, force: bool, as_json: bool) -> None:
    """Make a recipe of GENOME, the YAML file of a mergekit-evolve search.

    Each task becomes a goal of its own. What cannot be carried over is said, once.
    """
    from mergekit_mo.convert import convert
    from mergekit_mo.problems import read_source

    again = ["mergekit-mo", "convert", str(genome), *(["--layers", str(layers)] if layers else [])]
    source = read_source(genome)
    folder = out.parent if out else Path.cwd()
    try:
        made = convert(source, folder, layers=layers, elsewhere=[Path.cwd(), genome.parent])
    except RecipeError:
        raise
    except UserError as error:
        way = quoted(*again, "--layers", 32)
        raise UserError(f"{error}; say it:\n  {way}", status=error.status) from error
    deliver(made, out, again, force=force, as_json=as_json)
    name = "recipe.yaml" if out is None else str(out)
    if out is None:
        say(f"keep it with:  {quoted(*again, '--out', name)}")
    say(f"then:  {quoted('mergekit-mo', 'validate', name)}")
