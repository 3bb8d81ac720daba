"""Merged models are asked and scored through lm-eval: tasks loaded once, prompts built once.

Rule: the prompts are those of lm-eval's full run. Few-shot examples are drawn from one stream over
all documents, so a task's prompts are built for all of them, in order, and ours are kept.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import jinja2
from lm_eval.api.instance import Instance

from mergekit_mo.answers import Answers, collect, joined
from mergekit_mo.asking import Asked
from mergekit_mo.backends import Backend
from mergekit_mo.backends.hf import Transformers, no_bars
from mergekit_mo.evaluation import Evaluation
from mergekit_mo.gold import best_by_item, gold_requests
from mergekit_mo.trial import Split

FEWSHOT_SEED = 1234
"""The seed of lm-eval's own command line."""


class Harness:
    """Asks models the items of several tasks.

    Args:
        tasks: the tasks, with the items to ask.
        evaluation: how to ask.
        backend: what lets a model answer; None for the live module.
        gold: tasks of which the probability of each item's right answer is wanted too.
    """

    def __init__(
        self,
        tasks: Sequence[Asked],
        evaluation: Evaluation,
        backend: Backend | None = None,
        gold: Collection[str] = (),
    ) -> None:
        self.gold = frozenset(gold)
        self.tasks = {asked.name: asked for asked in tasks}
        self.evaluation = evaluation
        self.backend = backend or Transformers(evaluation.batch_size, evaluation.max_length)
        self._prompts_key: str | None = None

    def ask(
        self,
        model: Any,
        tokenizer: Any,
        split: Split,
        items: Mapping[str, Collection[int]] | None = None,
    ) -> dict[str, Answers]:
        """Asks a model every task's items of a split, or some of them.

        Args:
            model: a causal language model on its device.
            tokenizer: its tokenizer.
            split: `search` or `holdout`.
            items: document numbers of the split by task, where not all are asked; a task that is
                not named is not asked.

        Returns:
            The answers by task.

        Raises:
            KeyError: an item is not one of the split's.
        """
        self._build_prompts(tokenizer)
        ids = {name: _chosen(asked, split, items) for name, asked in self.tasks.items()}
        requests = {
            name: [r for i in ids[name] for r in asked._requests[i]]
            for name, asked in self.tasks.items()
            if not asked.silent
        }
        gold = {n: self._gold(self.tasks[n], ids[n]) for n in sorted(self.gold)}
        every = (*requests.values(), *gold.values())
        self._run(model, tokenizer, [r for some in every for r in some])
        found = {
            name: collect(self.tasks[name].task, ids[name], some)
            for name, some in requests.items()
            if some
        }
        for name, asked in self.tasks.items():
            if asked.silent and ids[name]:
                rows = tuple(asked.task.eval_docs[i] for i in ids[name])
                found[name] = Answers(ids[name], {}, {}, {}, rows=rows)
        for name, some in gold.items():
            if some:
                found[name] = replace(found[name], gold=best_by_item(some))
        return found

    def _gold(self, asked: Asked, ids: Sequence[int]) -> list[Instance]:
        """Requests for the probabilities of the right answers to a task's items."""
        chat = self.evaluation.apply_chat_template
        return [r for i in ids for r in gold_requests(asked.task, asked._requests[i][0], chat)]

    def joined(self, parts: Sequence[Mapping[str, Answers]]) -> dict[str, Answers]:
        """The answers to several sets of items as those to all of them together.

        Args:
            parts: answers by task, no item twice.
        """
        tasks = dict.fromkeys(task for part in parts for task in part)
        return {
            task: joined(self.tasks[task].task, [part[task] for part in parts if task in part])
            for task in tasks
        }

    def _run(self, model: Any, tokenizer: Any, requests: Sequence[Instance]) -> None:
        """Puts the model's response into every request."""
        responses = self.backend.respond(model, tokenizer, requests)
        for request, response in zip(requests, responses, strict=True):
            request.resps, request.filtered_resps = [response], {}

    def _build_prompts(self, tokenizer: Any) -> None:
        """Builds every task's prompts; again only where a chat template is in play and changed."""
        chat = self.evaluation.apply_chat_template
        key = tokenizer.name_or_path + str(tokenizer.chat_template) if chat else ""
        if self._prompts_key == key:
            return
        for asked in self.tasks.values():
            asked._requests = {} if asked.silent else _build(asked, tokenizer, self.evaluation)
        self._prompts_key = key


def _chosen(
    asked: Asked, split: Split, items: Mapping[str, Collection[int]] | None
) -> tuple[int, ...]:
    """The documents of a task that are asked, ascending."""
    known = asked.items[split]
    if items is None:
        return known
    wanted = items.get(asked.name, ())
    if strange := set(wanted) - set(known):
        raise KeyError(f"{min(strange)} is none of the {split} items of {asked.name}")
    return tuple(sorted(set(wanted)))


def _build(asked: Asked, tokenizer: Any, evaluation: Evaluation) -> dict[int, list[Instance]]:
    """The requests of every item that is asked, by document number."""
    task = asked.task
    task.set_fewshot_seed(FEWSHOT_SEED)
    wanted = sorted(i for items in asked.items.values() for i in items)
    # Without examples a prompt depends on its own document alone: the others need not be built.
    everything = bool(task.get_config("num_fewshot"))
    chat, multiturn = evaluation.apply_chat_template, evaluation.fewshot_as_multiturn
    with no_bars():
        task.build_all_requests(
            samples=None if everything else wanted,
            system_instruction=evaluation.system_instruction,
            apply_chat_template=chat,
            fewshot_as_multiturn=chat if multiturn is None else multiturn,
            chat_template=_chat_template(tokenizer) if chat else None,
            tokenizer_name=tokenizer.name_or_path.replace("/", "__") if chat else "",
        )
    found: dict[int, list[Instance]] = defaultdict(list)
    for instance in task.instances:
        number = instance.doc_id if everything else wanted[instance.doc_id]
        found[number].append(instance)
    for instances in found.values():
        instances.sort(key=lambda i: i.idx)
    return {number: found[number] for number in wanted}


def _chat_template(tokenizer: Any) -> Callable[..., str]:
    """Puts the turns of a chat through a tokenizer's template, as lm-eval's `HFLM` does."""

    def apply(history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        def text(turns: list[dict[str, str]]) -> str:
            return str(
                tokenizer.apply_chat_template(
                    turns,
                    tokenize=False,
                    add_generation_prompt=add_generation_prompt,
                    continue_final_message=not add_generation_prompt,
                )
            )

        try:
            return text(history)
        except jinja2.exceptions.TemplateError:  # a template that knows no system prompt
            return text([turn for turn in history if turn["role"] != "system"])

    return apply
