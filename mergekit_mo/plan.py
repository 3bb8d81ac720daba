"""What a search would do, told before it does anything: `--dry-run`.

Rule: it reads no weights and writes nothing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mergekit_mo.export import config_text
from mergekit_mo.memory import Forecast
from mergekit_mo.preflight import Ready
from mergekit_mo.space import Axis, Space


def plan_facts(ready: Ready) -> dict[str, Any]:
    """The plan as plain JSON."""
    references = len(ready.recipe.configuration.sources)
    items = {
        split: sum(len(asked.items[split]) for asked in ready.tasks)
        for split in ("search", "holdout")
    }
    limits = ready.recipe.limits
    merges = limits.trials + references if limits.counted else None
    return {
        "dimension": ready.space.dim,
        "axes": [_axis(axis) for axis in ready.space.axes],
        "layers": _layers(ready.space),
        "goals": [[g.name, "maximize" if g.maximize else "minimize"] for g in ready.goals],
        "optimizer": ready.recipe.optimizer.kind,
        "budget": limits.trials if limits.counted else None,
        "budget_seconds": limits.seconds,
        "references": list(ready.recipe.configuration.sources),
        "items": {asked.name: {s: len(i) for s, i in asked.items.items()} for asked in ready.tasks},
        "merges": merges,
        "answers": None if merges is None else merges * items["search"],
        "answers_each": items["search"],
        "answers_holdout_each": items["holdout"],
        "parameters": ready.size.parameters if ready.size else None,
        "checkpoint_bytes": ready.size.checkpoints if ready.size else None,
        "kept_bytes": ready.kept_orders(),
        "forecast": found.facts() if (found := _forecast(ready)) else None,
        "device": ready.device,
        "threads": ready.threads,
        "workers": ready.workers.count or 1,
        "backend": {"name": ready.backend.name, "reason": ready.backend.reason},
        "first": [ready.space.config(c.unit) for c in ready.space.starts()],
    }


def plan_text(ready: Ready) -> str:
    """The plan for people."""
    facts = plan_facts(ready)
    rows = [f"{facts['dimension']} dimensions:"]
    rows += [f"  {axis['name']}: {axis['range']}, from {axis['start']}" for axis in facts["axes"]]
    if facts["layers"]:
        rows.append(f"layers: {facts['layers']['text']}")
    rows += ["goals:"] + [f"  {name}: {direction}" for name, direction in facts["goals"]]
    rows.append("items:")
    for name, split in facts["items"].items():
        rows.append(f"  {name}: {split['search']} to search, {split['holdout']} held out")
    rows.append(
        f"cost: {ready.recipe.limits.text()} by {facts['optimizer']} and "
        f"{len(facts['references'])} reference trials, {_answers(facts)}; then "
        f"{facts['answers_holdout_each']:,} held-out items for each reference and front member"
    )
    if facts["parameters"]:
        rows.append(
            f"size: {facts['parameters']:,} parameters a merge, "
            f"{facts['checkpoint_bytes'] / 1e9:.2f} GB of sources; no merge goes to disk"
        )
    if found := _forecast(ready):
        rows.append(f"takes: about {found.text()}")
    if facts["kept_bytes"]:
        rows.append(
            f"of that, kept between merges: {facts['kept_bytes'] / 1e9:.2f} GB of sorted deltas"
        )
    many = f"{facts['workers']} workers, each on " if facts["workers"] > 1 else ""
    rows.append(f"on: {many}{facts['device']}, {facts['threads']} threads")
    rows.append(f"answers by: {ready.backend}")
    for name, config in zip(
        ("the recipe's own values", "the uniform mix"), facts["first"], strict=False
    ):
        rows += [f"\n# {name}", config_text(config).rstrip()]
    return "\n".join(rows)


def _forecast(ready: Ready) -> Forecast | None:
    """What the search takes, with what is kept between merges where there is room for it."""
    found = ready.forecast
    return found and replace(found, ram=found.ram + ready.kept_orders())


def _answers(facts: dict[str, Any]) -> str:
    """How many items will be answered, where it can be told."""
    if facts["answers"] is None:
        return f"{facts['answers_each']:,} items answered by each"
    most = " at most" if facts["budget_seconds"] else ""
    return f"{facts['answers']:,} items answered{most}"


def _layers(space: Space) -> dict[str, Any] | None:
    layers = space.layers
    if layers is None:
        return None
    span = f"{layers.low}" + (f" to {layers.high}" if layers.high > layers.low else "")
    count = f"{layers.count:,}" if layers.count < 1e9 else f"about {layers.count:.1e}"
    straight = layers.text(layers.straight)
    facts = {key: getattr(layers, key) for key in ("low", "high", "skip", "repeat", "swap")}
    return facts | {
        "pool": dict(zip(layers.pool, layers.depths, strict=True)),
        "paths": layers.count,
        "text": f"{count} paths of {span} layers, from {straight}",
    }


def _axis(axis: Axis) -> dict[str, Any]:
    span = f"{axis.low:g} to {axis.high:g}" + (" (log)" if axis.log else "")
    if axis.choices:
        span = " or ".join(str(choice) for choice in axis.choices)
    return {"name": axis.name, "range": span, "start": axis.start}
