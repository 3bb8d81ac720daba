"""`mergekit-mo init`: any mergekit YAML becomes a recipe."""

from __future__ import annotations

from pathlib import Path

import click

from mergekit_mo.commands._shared import (
    AS_JSON,
    deliver,
    examples,
    quoted,
    reports_errors,
    say,
)

_HUB = "hf:"


@click.command(
    "init",
    epilog=examples(
        "mergekit-mo init merge.yml --out recipe.yaml",
        "mergekit-mo init merge.yml --objective tasks/gsm8k_train.yaml --objective sparsity",
        "mergekit-mo init hf:organisation/merged-model --out recipe.yaml",
    ),
)
@click.argument("config", metavar="CONFIG | hf:REPO")
@click.option(
    "--objective",
    "objectives",
    multiple=True,
    metavar="TASK[:METRIC]",
    help="A goal: a task's name or file, or sparsity, or parameters.  [repeatable]",
)
@click.option("--out", type=click.Path(path_type=Path), help="Write the recipe to this file.")
@click.option("--force", is_flag=True, help="Let --out replace a file.")
@AS_JSON
@reports_errors
def command(
    config: str, objectives: tuple[str, ...], out: Path | None, force: bool, as_json: bool
) -> None:
    """Make a recipe of CONFIG, a mergekit YAML, or of the one that a model on the Hub came with.

    Every number that is worth a search becomes a hole with sensible bounds, where it stands; the
    rest of the file stays as it is. Prints the recipe, or writes it to --out.
    """
    from mergekit_mo.mark import FILE, fetch_config, mark
    from mergekit_mo.problems import read_source

    if config.startswith(_HUB):
        repo = config.removeprefix(_HUB)
        text, name, own = fetch_config(repo), f"{repo}/{FILE}", Path.cwd()
    else:
        text, name, own = read_source(Path(config)).text, config, Path(config).parent
    marked = mark(
        text,
        name,
        out.parent if out else Path.cwd(),
        objectives=objectives,
        elsewhere=[Path.cwd(), own],
    )
    again = ["mergekit-mo", "init", config, *(w for o in objectives for w in ("--objective", o))]
    deliver(marked, out, again, force=force, as_json=as_json)
    name = "recipe.yaml" if out is None else str(out)
    if not objectives:
        some = ("--objective", "TASK", "--objective", "OTHER", "--out", name)
        way = quoted(*again, *some, *(["--force"] if out else []))
        say(f"name your goals in its search: block, or here:  {way}")
    elif out is None:
        say(f"keep it with:  {quoted(*again, '--out', name)}")
    say(f"then:  {quoted('mergekit-mo', 'validate', name)}")
