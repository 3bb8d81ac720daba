from __future__ import annotations

import gc
import json
import math
import weakref
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import lm_eval
import numpy as np
import pytest
import torch
import yaml
from lm_eval.api.metrics import bits_per_byte, mean
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from transformers import AutoModelForCausalLM, AutoTokenizer

from mergekit_mo.answers import Answers, measure
from mergekit_mo.asking import prepare_task, split_items, task_metrics
from mergekit_mo.evaluation import Evaluation
from mergekit_mo.harness import Harness
from mergekit_mo.tasks import TaskError, load_task

Make = Callable[..., Path]

ITEMS = 18
BATCH = 4
TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
MEAN = {"aggregation": "mean", "higher_is_better": True}
SUM = {"doc_to_text": "{{question}}", "fewshot_split": "train", "fewshot_delimiter": "\n"}
BODIES: dict[str, dict[str, Any]] = {
    "choice": {
        **SUM,
        "output_type": "multiple_choice",
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "label",
        "metric_list": [
            {"metric": "acc", **MEAN},
            {"metric": "acc_norm", **MEAN},
            {"metric": "acc_mutual_info", **MEAN},
            {"metric": "brier_score", "higher_is_better": False},
        ],
    },
    "likelihood": {
        **SUM,
        "output_type": "loglikelihood",
        "doc_to_target": "{{answer}}",
        "metric_list": [
            {"metric": "perplexity", "aggregation": "perplexity", "higher_is_better": False},
            {"metric": "acc", **MEAN},
        ],
    },
    "rolling": {
        "output_type": "loglikelihood_rolling",
        "doc_to_text": "",
        "doc_to_target": "{{question}} {{answer}}",
        "metric_list": [
            {"metric": m, "higher_is_better": False} for m in ("bits_per_byte", "word_perplexity")
        ],
    },
    "generate": {
        **SUM,
        "output_type": "generate_until",
        "doc_to_target": "{{answer}}",
        "generation_kwargs": {"until": ["\n"], "max_gen_toks": 5},
        "metric_list": [{"metric": "exact_match", **MEAN}, {"metric": "bleu"}],
        "filter_list": [
            {"name": "digits", "filter": [{"function": "regex", "regex_pattern": r"(\d+)"}]},
            {"name": "whole", "filter": [{"function": "take_first"}]},
        ],
    },
}
BODIES["generate"]["filter_list"][0]["filter"].append({"function": "take_first"})


def documents(count: int, start: int) -> list[dict[str, Any]]:
    made = []
    for i in range(start, start + count):
        answer = 2 * i + 3
        choices = [str(answer + step) for step in (0, 1, -2, 30)]
        shift = i % 4
        question = f"{i} and {i + 3} " + "make " * (i % 3 + 1)
        record = {"question": question, "choices": choices[-shift:] + choices[:-shift]}
        made.append({**record, "label": shift, "answer": str(answer)})
    return made


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of tasks over a few sums."""
    folder = tmp_path_factory.mktemp("tasks")
    for name, count, start in (("test", ITEMS, 0), ("train", 9, 40)):
        lines = (json.dumps(d) + "\n" for d in documents(count, start))
        (folder / f"{name}.json").write_text("".join(lines))
    for name, body in BODIES.items():
        write(folder, name, body)
    return folder


def write(folder: Path, name: str, body: Mapping[str, Any]) -> Path:
    files = {split: str(folder / f"{split}.json") for split in ("train", "test")}
    head = {"task": name, "dataset_path": "json", "dataset_kwargs": {"data_files": files}}
    head |= {"training_split": "train", "test_split": "test", "metadata": {"version": 1}}
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({**head, **body}))
    return path


@pytest.fixture(scope="module")
def subject(model: Make) -> tuple[Any, Any]:
    """A model whose answers are not all alike, and its tokenizer, which knows a chat template."""
    found = AutoModelForCausalLM.from_pretrained(model(seed=4))
    with torch.no_grad():
        for parameter in found.parameters():
            parameter.mul_(4)
    return found.eval(), tokenizer_of(model(seed=4))


def tokenizer_of(folder: Path) -> Any:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = TEMPLATE
    return tokenizer


MODES = {
    "zero-shot": Evaluation(num_fewshot=0),
    "few-shot": Evaluation(num_fewshot=2),
    "chat": Evaluation(num_fewshot=2, apply_chat_template=True, system_instruction="Count."),
    "one turn": Evaluation(num_fewshot=1, apply_chat_template=True, fewshot_as_multiturn=False),
}


def harness(folder: Path, evaluation: Evaluation, *names: str, seed: int = 3) -> Harness:
    paths = [folder / f"{name}.yaml" for name in names or BODIES]
    return Harness(
        [prepare_task(load_task(path), path, evaluation, seed) for path in paths], evaluation
    )


def full_run(subject: tuple[Any, Any], folder: Path, mode: Evaluation, **more: Any) -> Any:
    """What lm-eval itself finds."""
    lm = HFLM(pretrained=subject[0], tokenizer=subject[1], batch_size=BATCH)
    multiturn = mode.fewshot_as_multiturn
    return lm_eval.simple_evaluate(
        model=lm,
        tasks=[str(folder / f"{name}.yaml") for name in BODIES],
        task_manager=TaskManager(include_defaults=False),
        num_fewshot=mode.num_fewshot,
        apply_chat_template=mode.apply_chat_template,
        fewshot_as_multiturn=mode.apply_chat_template if multiturn is None else multiturn,
        system_instruction=mode.system_instruction,
        fewshot_random_seed=1234,  # that of lm-eval's own command line
        bootstrap_iters=10,
        log_samples=True,
        **more,
    )


def assert_same_items(found: Mapping[str, Answers], samples: Mapping[str, Any]) -> None:
    for name, answers in found.items():
        for key, values in answers.values.items():
            metric, _, chosen = key.rpartition(",")
            theirs = {s["doc_id"]: s for s in samples[name] if s["filter"] == chosen}
            expected = [theirs[i] for i in answers.ids]
            assert_close(values, [s[metric] for s in expected])
            assert_close(answers.responses[chosen], [s["filtered_resps"] for s in expected])


def assert_close(found: Any, expected: Any) -> None:
    """Equal, numbers to rounding: another batch pads otherwise."""
    if isinstance(expected, Mapping):
        assert found.keys() == expected.keys()
        assert_close([*found.values()], [expected[key] for key in found])
    elif isinstance(expected, list | tuple | np.ndarray):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_close(one, other)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-5, abs=1e-6)
    else:
        assert found == expected


@pytest.mark.parametrize("mode", MODES)
def test_every_answer_is_that_of_the_full_run_of_lm_eval(
    mode: str, tasks: Path, subject: tuple[Any, Any]
) -> None:
    evaluation = replace(MODES[mode], limit=7, holdout=5, batch_size=BATCH)
    ours = harness(tasks, evaluation)
    samples = full_run(subject, tasks, evaluation)["samples"]
    found, held_out = ours.ask(*subject, "search"), ours.ask(*subject, "holdout")
    assert {len(a.ids) for a in found.values()} == {7}
    assert {len(a.ids) for a in held_out.values()} == {5}
    assert found.keys() == held_out.keys() == BODIES.keys()
    assert_same_items(found, samples)
    assert_same_items(held_out, samples)
    prompts = {s["arguments"][0][0] for s in samples["choice"]}
    asked = {i.args[0] for r in ours.tasks["choice"]._requests.values() for i in r}
    assert asked - prompts == {""}  # what mutual information asks without a question
    assert found["choice"].values["acc,none"].count(1.0) not in (0, 7)


def test_zero_shot_answers_are_those_of_lm_eval_on_our_items(
    tasks: Path, subject: tuple[Any, Any]
) -> None:
    evaluation = Evaluation(num_fewshot=0, limit=7, holdout=5, batch_size=BATCH)
    ours = harness(tasks, evaluation)
    ids = {name: list(asked.items["search"]) for name, asked in ours.tasks.items()}
    run = full_run(subject, tasks, evaluation, samples=ids)
    found = ours.ask(*subject, "search")
    assert_same_items(found, run["samples"])
    for name, answers in found.items():
        for key, measured in answers.measured.items():
            assert measured.value == pytest.approx(run["results"][name][key], rel=1e-6)
            assert measured.n == 7


def test_over_all_items_scores_and_errors_are_those_of_lm_eval(
    tasks: Path, subject: tuple[Any, Any]
) -> None:
    evaluation = Evaluation(num_fewshot=0, holdout=0, batch_size=BATCH)
    found = harness(tasks, evaluation).ask(*subject, "search")
    results = full_run(subject, tasks, evaluation)["results"]
    for name, answers in found.items():
        listed = {k for k in results[name] if "," in k and "_stderr" not in k}
        assert answers.measured.keys() == listed
        assert answers.ids == tuple(range(ITEMS))
        for key, measured in answers.measured.items():
            assert measured.value == pytest.approx(results[name][key], rel=1e-6)
            assert measured.stderr is not None
            assert measured.stderr >= 0
    for key in ("acc,none", "acc_norm,none"):
        expected = results["choice"][key.replace(",", "_stderr,")]
        assert found["choice"].measured[key].stderr == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("size", [1, 5, 64])
def test_every_answer_is_the_same_whatever_the_batch_size(
    size: int, tasks: Path, subject: tuple[Any, Any]
) -> None:
    """In float32: likelihoods and scores to 1e-6, and texts to the letter."""
    evaluation = replace(MODES["few-shot"], limit=9, holdout=0, batch_size=BATCH)
    expected = harness(tasks, evaluation).ask(*subject, "search")
    found = harness(tasks, replace(evaluation, batch_size=size)).ask(*subject, "search")
    assert found["generate"].texts == expected["generate"].texts
    assert len({text for texts in found["generate"].texts for text in texts}) > 2
    for name, answers in found.items():
        assert_close(answers.responses, expected[name].responses)
        for key, measured in answers.measured.items():
            truth = expected[name].measured[key].value
            assert measured.value == pytest.approx(truth, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("mode", ["few-shot", "chat"])
def test_asking_again_gives_the_same_whoever_was_asked_between(
    mode: str, tasks: Path, subject: tuple[Any, Any], model: Make
) -> None:
    ours = harness(tasks, replace(MODES[mode], limit=6, holdout=3, batch_size=BATCH))
    other = AutoModelForCausalLM.from_pretrained(model(seed=5)), tokenizer_of(model(seed=5))
    other[1].chat_template = TEMPLATE.replace("<assistant>", "Answer:")
    first = plain(ours, subject)
    assert plain(ours, subject) == first
    between = plain(ours, other)
    assert between != first
    ours.ask(*other, "holdout")
    assert plain(ours, subject) == first
    assert plain(harness(tasks, ours.evaluation), other) == between


def plain(ours: Harness, subject: tuple[Any, Any]) -> dict[str, Any]:
    return {name: answers.plain() for name, answers in ours.ask(*subject, "search").items()}


def test_weights_that_change_in_place_change_the_answers(tasks: Path, model: Make) -> None:
    found = AutoModelForCausalLM.from_pretrained(model(seed=4)).eval()
    tokenizer = tokenizer_of(model(seed=4))
    ours = harness(tasks, Evaluation(limit=5, holdout=0), "rolling")
    before = ours.ask(found, tokenizer, "search")
    with torch.no_grad():
        found.model.norm.weight.mul_(3)
    assert ours.ask(found, tokenizer, "search") != before


def test_a_model_that_was_asked_is_not_kept(tasks: Path, model: Make) -> None:
    found = AutoModelForCausalLM.from_pretrained(model(seed=4)).eval()
    ours = harness(tasks, Evaluation(limit=5, holdout=0), "rolling")
    ours.ask(found, tokenizer_of(model(seed=4)), "search")
    alive = weakref.ref(found)
    del found
    gc.collect()
    assert alive() is None


def test_asking_leaves_the_global_generators_alone(tasks: Path, subject: tuple[Any, Any]) -> None:
    before = torch.get_rng_state(), str(np.random.get_state())
    harness(tasks, Evaluation(num_fewshot=2, limit=3, holdout=0)).ask(*subject, "search")
    assert torch.equal(torch.get_rng_state(), before[0])
    assert str(np.random.get_state()) == before[1]


def test_plain_answers_survive_json(tasks: Path, subject: tuple[Any, Any]) -> None:
    found = harness(tasks, Evaluation(limit=5, holdout=0)).ask(*subject, "search")
    for answers in found.values():
        plain = answers.plain()
        assert json.loads(json.dumps(plain, allow_nan=False)) == plain
        assert plain["ids"] == list(answers.ids)
        assert plain["values"].keys() == answers.values.keys()


def test_nothing_is_asked_where_nothing_is_held_out(tasks: Path, subject: tuple[Any, Any]) -> None:
    assert harness(tasks, Evaluation(limit=5, holdout=0)).ask(*subject, "holdout") == {}


def test_some_items_of_a_split_are_asked_by_their_numbers(
    tasks: Path, subject: tuple[Any, Any]
) -> None:
    ours = harness(tasks, Evaluation(limit=8, holdout=3, batch_size=BATCH), "choice", "rolling")
    ids = {name: asked.items["search"] for name, asked in ours.tasks.items()}
    whole = ours.ask(*subject, "search")["choice"]
    some = ours.ask(*subject, "search", {"choice": [ids["choice"][5], ids["choice"][1]]})
    assert some.keys() == {"choice"}
    assert some["choice"].ids == (ids["choice"][1], ids["choice"][5])
    for key, values in some["choice"].values.items():
        assert_close(values, [whole.values[key][1], whole.values[key][5]])
    held = ours.tasks["choice"].items["holdout"][0]
    with pytest.raises(KeyError, match=f"{held} is none of the search items of choice"):
        ours.ask(*subject, "search", {"choice": [held]})


def test_metrics_are_listed_with_their_filters_and_directions(tasks: Path) -> None:
    metrics = {name: task_metrics(load_task(tasks / f"{name}.yaml")) for name in BODIES}
    assert metrics["choice"] == {
        "acc,none": True,
        "acc_norm,none": True,
        "acc_mutual_info,none": True,
        "brier_score,none": False,
    }
    assert metrics["rolling"] == {"bits_per_byte,none": False, "word_perplexity,none": False}
    assert list(metrics["generate"]) == [
        "exact_match,digits",
        "exact_match,whole",
        "bleu,digits",
        "bleu,whole",
    ]


class TestStandardErrors:
    def test_of_a_mean_is_the_closed_form(self) -> None:
        items = [0.0, 1.0, 1.0, 0.0, 1.0]
        found = measure(items, mean)
        assert (found.value, found.n) == (0.6, 5)
        assert found.stderr == pytest.approx(math.sqrt(0.3 / 5))

    def test_of_one_item_is_not_known(self) -> None:
        assert measure([1.0], mean).stderr is None
        assert measure([(-3.0, 2)], bits_per_byte).stderr is None

    def test_of_equal_items_is_nothing(self) -> None:
        assert measure([1.0] * 9, mean).stderr == 0
        assert measure([(-3.0, 2)] * 9, bits_per_byte).stderr == pytest.approx(0, abs=1e-12)

    @pytest.mark.parametrize("count", [60, 730])
    def test_of_a_ratio_is_close_to_the_bootstrap(self, count: int) -> None:
        draw = np.random.default_rng(1)
        sizes = draw.integers(20, 200, count)
        items = [
            (-float(n * r), int(n)) for n, r in zip(sizes, draw.gamma(4, 0.3, count), strict=True)
        ]
        resampled = [
            bits_per_byte([items[i] for i in draw.integers(0, count, count)]) for _ in range(600)
        ]
        assert measure(items, bits_per_byte).stderr == pytest.approx(np.std(resampled), rel=0.15)

    def test_of_a_jackknifed_mean_is_nearly_the_closed_form(self) -> None:
        items = list(np.random.default_rng(2).normal(size=450))
        exact = measure(items, mean)
        jackknifed = measure(items, lambda chosen: mean(chosen))  # noqa: PLW0108 (not `mean`)
        assert jackknifed.value == exact.value
        assert jackknifed.stderr == pytest.approx(exact.stderr, rel=0.2)


class TestSplit:
    split = staticmethod(partial(split_items, seed=0, name="sums"))

    @pytest.mark.parametrize(
        ("limit", "holdout", "search", "held"),
        [
            (None, 0.25, 75, 25),
            (None, 0, 100, 0),
            (None, 30, 70, 30),
            (30, 0.25, 30, 10),
            (30, 40, 30, 40),
            (30, 0.0, 30, 0),
            (90, 0.25, 75, 25),  # a fraction gives way to what there is
            (100, 0, 100, 0),
            (1, 99, 1, 99),
        ],
    )
    def test_gives_as_many_items_as_asked_for(
        self, limit: int | None, holdout: float, search: int, held: int
    ) -> None:
        first, second = self.split(100, Evaluation(limit=limit, holdout=holdout))
        assert (len(first), len(second)) == (search, held)
        assert not set(first) & set(second)
        assert set(first) | set(second) <= set(range(100))
        assert list(first) == sorted(first)
        assert list(second) == sorted(second)

    def test_is_a_sample_and_not_the_first_items(self) -> None:
        first, _ = self.split(1000, Evaluation(limit=50))
        assert max(first) > 500

    def test_depends_on_seed_and_task_alone(self) -> None:
        evaluation = Evaluation(limit=20)
        first = split_items(100, evaluation, 0, "sums")
        assert split_items(100, evaluation, 0, "sums") == first
        assert split_items(100, evaluation, 1, "sums") != first
        assert split_items(100, evaluation, 0, "sums2") != first

    def test_a_larger_limit_keeps_the_items_of_a_smaller_one(self) -> None:
        small, _ = self.split(100, Evaluation(limit=20, holdout=0))
        large, _ = self.split(100, Evaluation(limit=50, holdout=0))
        assert set(small) < set(large)

    @pytest.mark.parametrize(
        ("total", "limit", "holdout"),
        [(10, 8, 5), (10, None, 10), (10, 11, 0), (10, None, 11), (0, None, 0.25), (1, None, 1)],
    )
    def test_of_too_few_items_is_refused(
        self, total: int, limit: int | None, holdout: float
    ) -> None:
        with pytest.raises(TaskError, match=f"sums has {total} items") as caught:
            self.split(total, Evaluation(limit=limit, holdout=holdout))
        assert "limit" in caught.value.hint


class TestGreedy:
    def test_a_task_that_samples_answers_the_same_twice(
        self, tasks: Path, subject: tuple[Any, Any]
    ) -> None:
        hot = {"do_sample": True, "temperature": 0.8, "top_p": 0.9, "top_k": 40}
        kwargs = {**BODIES["generate"]["generation_kwargs"], **hot}
        path = write(tasks, "hot", {**BODIES["generate"], "generation_kwargs": kwargs})
        asked = prepare_task(load_task(path), path, Evaluation(limit=6, holdout=0), 0)
        used = asked.task.config.generation_kwargs
        assert used == {"until": ["\n"], "max_gen_toks": 5, "do_sample": False}
        ours = Harness([asked], Evaluation(limit=6, holdout=0))
        first = ours.ask(*subject, "search")
        torch.manual_seed(99)
        assert ours.ask(*subject, "search") == first

    def test_the_recipes_settings_come_before_the_tasks(self, tasks: Path) -> None:
        path = tasks / "generate.yaml"
        wanted = {"max_gen_toks": 2, "temperature": 0.5, "do_sample": True}
        asked = prepare_task(load_task(path), path, Evaluation(gen_kwargs=wanted), 0)
        used = asked.task.config.generation_kwargs
        assert used == {"until": ["\n"], "max_gen_toks": 2, "do_sample": False}

    def test_several_answers_to_an_item_are_refused(self, tasks: Path) -> None:
        path = write(tasks, "many", {**BODIES["generate"], "repeats": 4})
        with pytest.raises(TaskError, match="many draws 4 answers to each item") as caught:
            prepare_task(load_task(path), path, Evaluation(), 0)
        assert "repeats: 1" in caught.value.hint

    def test_tasks_that_run_what_models_write_are_refused(self, tasks: Path) -> None:
        path = write(tasks, "unsafe", {**BODIES["generate"], "unsafe_code": True})
        with pytest.raises(TaskError, match="unsafe runs code"):
            prepare_task(load_task(path), path, Evaluation(), 0)


class TestShots:
    @pytest.mark.parametrize(
        ("own", "wanted", "used"), [(None, None, 0), (None, 3, 3), (2, None, 2), (2, 0, 0)]
    )
    def test_the_recipe_comes_before_the_task(
        self, own: int | None, wanted: int | None, used: int, tasks: Path
    ) -> None:
        body = BODIES["choice"] if own is None else {**BODIES["choice"], "num_fewshot": own}
        path = write(tasks, f"shots-{own}", body)
        asked = prepare_task(load_task(path), path, Evaluation(num_fewshot=wanted), 0)
        assert asked.task.config.num_fewshot == used

    def test_a_task_that_wants_none_gets_none_as_in_lm_eval(self, tasks: Path) -> None:
        path = write(tasks, "none", {**BODIES["choice"], "num_fewshot": 0})
        asked = prepare_task(load_task(path), path, Evaluation(num_fewshot=3), 0)
        assert asked.task.config.num_fewshot == 0

    @pytest.mark.parametrize(("split", "enough"), [("train", 9), ("test", ITEMS - 1), (None, 9)])
    def test_more_examples_than_there_are_are_refused(
        self, split: str | None, enough: int, tasks: Path, subject: tuple[Any, Any]
    ) -> None:
        path = write(tasks, f"pool-{split}", {**BODIES["choice"], "fewshot_split": split})
        evaluation = Evaluation(num_fewshot=enough, limit=2, holdout=0)
        ours = Harness([prepare_task(load_task(path), path, evaluation, 0)], evaluation)
        assert ours.ask(*subject, "search")
        with pytest.raises(TaskError, match=f"too few for {enough + 1} in a prompt") as caught:
            prepare_task(load_task(path), path, replace(evaluation, num_fewshot=enough + 1), 0)
        assert "num_fewshot" in caught.value.hint
