"""Everything that can be told before the first merge: a recipe becomes a search that is ready.

Rule: all problems of a recipe are found and reported together, and nothing is written before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from mergekit_mo.answers import is_mean
from mergekit_mo.asking import Asked
from mergekit_mo.backends import Backend
from mergekit_mo.backends.choice import LIVE, Chosen, choose
from mergekit_mo.binding import Allowed, Bound, bind_objectives, steering
from mergekit_mo.budget import Budget
from mergekit_mo.contents import Content, Watch
from mergekit_mo.differences import differences
from mergekit_mo.evaluate import Evaluator, goal_names
from mergekit_mo.foretelling import foretold, too_little
from mergekit_mo.harness import Harness
from mergekit_mo.machine import free_memory, set_threads
from mergekit_mo.memory import Forecast
from mergekit_mo.merging import Merger
from mergekit_mo.objectives import Objective
from mergekit_mo.optimizers import Optimizer, chosen
from mergekit_mo.options import MergeFlags
from mergekit_mo.orders import orders_bytes
from mergekit_mo.planning import merge_options
from mergekit_mo.pool import bind_layers
from mergekit_mo.problems import Place, Problem, RecipeError
from mergekit_mo.quantised import obstacle, quantised
from mergekit_mo.recipe import Recipe, read_recipe
from mergekit_mo.sizes import Size
from mergekit_mo.sources import check_sources, has_chat_template
from mergekit_mo.space import Space
from mergekit_mo.trial import Goal
from mergekit_mo.vllm_options import vllm_problems
from mergekit_mo.workers import Workers, settle, unusable

_INLINE = Workers()


@dataclass(frozen=True)
class Ready:
    """A search that is ready to start.

    Attributes:
        recipe: what is searched.
        space: its holes and paths.
        optimizer: who proposes.
        objectives: by the name of their goal, in the recipe's order.
        goals: what the archive knows of them.
        auxiliary: objectives that only steer the optimizer; they are in `objectives` too.
        tasks: with the items to ask.
        flags: mergekit's.
        device: where merging and scoring happen.
        threads: how many.
        size: of a merge, where it can be told.
        forecast: what it takes of this machine, where it can be told.
        workers: who runs the trials.
        contents: what the sources' folders held when the run began.
        task_code: whether the Python functions that task files name may run.
        backend: what answers.
    """

    recipe: Recipe
    space: Space
    optimizer: Optimizer
    objectives: Mapping[str, Objective]
    goals: tuple[Goal, ...]
    auxiliary: tuple[Goal, ...]
    tasks: tuple[Asked, ...]
    flags: MergeFlags
    device: str
    threads: int
    size: Size | None
    forecast: Forecast | None = None
    workers: Workers = _INLINE
    task_code: bool = False
    backend: Chosen = LIVE
    contents: Mapping[str, Content] = field(default_factory=dict)

    def evaluator(self) -> Evaluator:
        """What runs the trials."""
        set_threads(self.threads)
        evaluation = self.recipe.evaluation
        load_in = evaluation.load_in
        return Evaluator(
            # The whole merge waits beside the device for which it is quantised.
            Merger(
                self.flags,
                self.device,
                "cpu" if load_in else None,
                spread=self._spread,
                orders=self.kept_orders(),
            ),
            Harness(self.tasks, evaluation, self._answering(), gold=self._gold_tasks()),
            self.objectives,
            self.recipe.configuration.base,
            partial(quantised, how=load_in, device=self.device) if load_in else None,
            Watch(self.contents),
        )

    @property
    def _spread(self) -> bool:
        """Whether a model's layers are divided among a worker's GPUs."""
        return self.workers.gpus > 1 and not self.recipe.evaluation.load_in

    def kept_orders(self) -> int:
        """Bytes of sorted orders that are kept between merges.

        None are where they would take more than a quarter of the free memory, or the merge is not
        on this one processor.
        """
        if self.size is None or self.device != "cpu" or (self.workers.count or 1) > 1:
            return 0
        configuration = self.recipe.configuration
        deltas = len(set(configuration.sources) - {configuration.base})
        needed = max(
            orders_bytes(method.name, self.size.parameters, deltas)
            for method in configuration.methods
        )
        return needed if needed <= free_memory() // 4 else 0

    def _answering(self) -> Backend | None:
        trust = self.flags.trust_remote_code
        return self.backend.made(self.recipe.evaluation, self.threads, trust_remote_code=trust)

    def _gold_tasks(self) -> frozenset[str]:
        """The tasks whose right answers some objective wants the probability of."""
        wanting = (o for o in self.objectives.values() if o.reads_gold)
        return frozenset(str(getattr(o, "task")) for o in wanting)  # noqa: B009

    def differences(self) -> dict[str, dict[str, float]]:
        """How far the sources lie from the base; nothing where there is no base."""
        configuration = self.recipe.configuration
        if configuration.base is None:
            return {}
        others = [source for source in configuration.sources if source != configuration.base]
        # The workers' machines may have GPUs that this one has not.
        here = self.device if unusable(self.device, self.flags) is None else "cpu"
        return differences(configuration.base, others, merge_options(self.flags, here))


def prepare(
    path: Path,
    flags: MergeFlags,
    *,
    budget: Budget | int | str | None = None,
    seed: int | None = None,
    allow_test_sets: bool = False,
    run_task_code: bool = False,
    lora_cache: Path | None = None,
    workers: Workers = _INLINE,
    text: str | None = None,
) -> Ready:
    """Reads and checks a recipe.

    Args:
        path: the recipe.
        flags: mergekit's options.
        budget: takes the place of the recipe's: merges, or a time such as `8h`.
        seed: likewise.
        allow_test_sets: lets well-known benchmark test sets be objectives.
        run_task_code: lets the Python functions that task files name run.
        lora_cache: where sources with a LoRA are kept merged, if the flags name no place.
        workers: who is to run the trials.
        text: of the recipe, in the place of its file.

    Raises:
        RecipeError: it has problems, all of them inside.
        UserError: it cannot be read, or there cannot be such workers.
    """
    recipe, source, problems = read_recipe(path, budget=budget, seed=seed, text=text)
    if recipe is None:
        raise RecipeError(source, problems)
    wrong = tuple(problems)
    optimizer, found = chosen(recipe)
    problems += found
    space = Space(recipe.configuration)
    bound, found = bind_objectives(recipe, Allowed(allow_test_sets, run_task_code))
    problems += found
    steered, found = steering(recipe, optimizer, bound)
    problems += found
    settled = settle(workers, flags, recipe.evaluation.device)
    device = settled.device
    if not workers.ray_address and (problem := unusable(device, flags)):
        problems.append(problem)
        device = "cpu"
    if not workers.ray_address:  # else it is other machines that quantise
        problems += _unquantisable(recipe, device)
    flags = _with_lora_cache(flags, recipe, lora_cache)
    size, found = check_sources(
        space, merge_options(flags, device), wrong, allow_pickle=flags.allow_pickle
    )
    if recipe.configuration.layers and not (wrong or found):
        layers, found = bind_layers(space, merge_options(flags, device))
        space = Space(recipe.configuration, layers)
    problems += [*found, *_random_on_many(recipe, flags), *_no_chat_template(recipe)]
    problems += _no_hole(recipe, optimizer, space)
    names = goal_names([b.objective for b in bound], [b.choice.name for b in bound])
    named = dict(zip(names, bound, strict=True))
    goals = {name: b for name, b in named.items() if b.choice not in recipe.auxiliary}
    problems += [*_preference(recipe, optimizer, list(goals)), *_unheeded(recipe, optimizer)]
    problems += [*vllm_problems(recipe.evaluation), *_rungs(recipe, bound)]
    tasks = tuple({b.asked.name: b.asked for b in bound if b.asked}.values())
    forecast = foretold(recipe, space, size, tasks, settled)
    problems += too_little(forecast, device, lora_cache or recipe.folder)
    if problems or optimizer is None:
        raise RecipeError(source, problems)
    return Ready(
        recipe,
        space,
        optimizer,
        {**{n: b.objective for n, b in named.items()}, **steered},
        tuple(Goal(n, b.objective.maximize, b.choice.threshold) for n, b in goals.items()),
        (
            *(Goal(n, b.objective.maximize) for n, b in named.items() if n not in goals),
            *(Goal(name, objective.maximize) for name, objective in steered.items()),
        ),
        tasks,
        flags,
        device,
        settled.threads,
        size,
        forecast,
        settled.workers,
        run_task_code,
        choose(recipe.evaluation, device, generates=any(asked.writes for asked in tasks)),
    )


def _with_lora_cache(flags: MergeFlags, recipe: Recipe, folder: Path | None) -> MergeFlags:
    """The flags with a place for sources merged with their LoRA, where there are some."""
    some = any("+" in source for source in recipe.configuration.sources)
    if not (some and folder) or flags.lora_merge_cache:
        return flags
    return replace(flags, lora_merge_cache=str(folder))


def _no_hole(recipe: Recipe, optimizer: Optimizer | None, space: Space) -> list[Problem]:
    """An optimizer of holes, where only layers are searched."""
    layers = recipe.configuration.layers
    if optimizer is None or layers is None or optimizer.searches_layers or space.dim:
        return []
    kind = recipe.optimizer.kind
    what = f"{kind} needs holes: it leaves layers on the straight path, and here is nothing else"
    hint = "name an optimizer that searches layers, or mark a number as a hole"
    return [Problem(recipe.optimizer.place, what, hint)]


def _unquantisable(recipe: Recipe, device: str) -> list[Problem]:
    """Why merges cannot be scored in fewer bits here, if it is asked for and they cannot."""
    load_in = recipe.evaluation.load_in
    what, hint = obstacle(load_in, device) if load_in else ("", "")
    return [Problem(("search", "evaluation", "load_in"), what, hint)] if what else []


def _preference(recipe: Recipe, optimizer: Optimizer | None, names: Sequence[str]) -> list[Problem]:
    """A preference for goals that are not there, or for an optimizer that does not heed it."""
    if recipe.preference is None:
        return []
    if optimizer is not None and not optimizer.heeds_preference:
        what = f"{recipe.optimizer.kind} spends the budget alike, whatever is preferred"
        hint = "choose another optimizer, such as mm-mo, or leave the preference to `pick`"
        return [Problem(("search", "preference"), what, hint)]
    # Where an objective is wrong its goal has no name, and all of that is told already.
    return recipe.preference.unknown(names) if len(names) == len(recipe.objectives) else []


def _unheeded(recipe: Recipe, optimizer: Optimizer | None) -> list[Problem]:
    """Auxiliary objectives for an optimizer that would not look at them."""
    if optimizer is None or optimizer.heeds_auxiliary or not recipe.auxiliary:
        return []
    what = f"{recipe.optimizer.kind} is not steered by auxiliary objectives"
    hint = "choose another optimizer, such as mm-mo, or take them out"
    return [Problem(("search", "auxiliary"), what, hint)]


def _rungs(recipe: Recipe, bound: Sequence[Bound]) -> list[Problem]:
    """Goals that cannot be raced for, since some of the items do not tell the score of all."""
    rungs = recipe.evaluation.rungs
    if not rungs:
        return []
    place: Place = ("search", "evaluation", "rungs")
    sizes = [len(b.asked.items["search"]) for b in bound if b.asked]
    if len(bound) >= len(recipe.objectives) and not sizes:
        what = "no objective has items, so that there is nothing to race over"
        return [Problem(place, what, "leave the rungs out")]
    if sizes and rungs[0] >= max(sizes):
        what = f"the search has {max(sizes)} items of a task, and the first rung is {rungs[0]}"
        return [Problem((*place, 0), what, "a rung stops candidates before all items are asked")]
    return [
        Problem(
            b.choice.place,
            f"{b.objective.title} cannot be raced for: its score is no mean over items",
            "leave out evaluation: {rungs: …}, or this objective",
        )
        for b in bound
        if b.asked and not _is_mean(b.objective, b.asked)
    ]


def _is_mean(objective: Objective, asked: Asked) -> bool:
    own = type(objective).items is not Objective.items  # whose mean the score is
    return own or is_mean(asked.task, str(getattr(objective, "metric", "")))


def _no_chat_template(recipe: Recipe) -> list[Problem]:
    """A chat template that is to be applied, but that the merges' tokenizer will not have."""
    configuration = recipe.configuration
    named = [
        configuration.tree.get(key) for key in ("chat_template", "tokenizer_source", "tokenizer")
    ]
    if not recipe.evaluation.apply_chat_template or any(named) or not configuration.sources:
        return []
    donor = configuration.base or configuration.sources[0]
    if has_chat_template(donor):
        return []
    what = f"the merges get the tokenizer of {donor}, which has no chat template"
    hint = "say chat_template: at the top level (auto takes the sources' own), or leave this out"
    return [Problem(("search", "evaluation", "apply_chat_template"), what, hint)]


def _random_on_many(recipe: Recipe, flags: MergeFlags) -> list[Problem]:
    """Random masks drawn by several threads come in no fixed order."""
    if not (recipe.configuration.is_random and (flags.multi_gpu or flags.gpu_rich)):
        return []
    what = "the masks of a random method cannot be repeated with --multi-gpu"
    return [Problem(("merge_method",), what, "leave out --multi-gpu and --gpu-rich")]
