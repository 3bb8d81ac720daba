"""The tasks that ship ask no test split, say what they should, and can be asked."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from tests.conftest import Make
from tests.task_documents import DOCUMENTS, TASKS, localise

PATHS = sorted(TASKS.glob("*.yaml"))


class _Loader(yaml.SafeLoader):
    """Reads `!function` as its text."""


_Loader.add_constructor("!function", lambda _, node: str(node.value))


def read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    return content


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return localise(tmp_path_factory.mktemp("tasks") / "tasks", 20)


@pytest.mark.parametrize("path", PATHS, ids=lambda p: p.name)
def test_a_task_asks_no_benchmarks_test_split(path: Path) -> None:
    task = read(path)
    assert task["task"] == path.stem
    assert task.keys() >= {"dataset_path", "output_type", "doc_to_text", "doc_to_target"}
    assert task["metric_list"][0].keys() >= {"metric", "aggregation", "higher_is_better"}
    asked = task.get("test_split", task.get("validation_split"))
    assert asked in ("train", "auxiliary_train", "validation")
    assert task.get("fewshot_split", asked) == asked


@pytest.mark.parametrize("name", sorted(DOCUMENTS))
def test_every_task_of_a_benchmark_has_documents_here(name: str) -> None:
    assert (TASKS / f"{name}.yaml").is_file()
    assert DOCUMENTS[name][0] in (TASKS / f"{name}.yaml").read_text(encoding="utf-8")


SAID: Mapping[str, tuple[str, Any, list[str] | None]] = {
    "gsm8k_train": (
        "Question: Ann has 1 pens and buys 2 more. How many has she?\nAnswer:",
        "She has 1 + 2 = <<1+2=3>>3 pens.\n#### 3",
        None,
    ),
    "arc_challenge_train": (
        "Question: Which of these is number 1?\nAnswer:",
        1,
        ["a stone", "a star", "a tree", "a fish"],
    ),
    "hellaswag_train": (
        "Removing ice from car: Then, man 1 writes over the snow on the window. Then the man",
        1,
        ["sits down.", ",. goes home.", "sings loudly.", "waits."],
    ),
    "mmlu_auxiliary_train": (
        "Which word is number 1?\nA. one\nB. two\nC. three\nD. four\nAnswer:",
        1,
        ["A", "B", "C", "D"],
    ),
    "mbpp_train": (
        "",
        '"""Write a function to add 1 to a number.\nassert add(0) == 1\nassert add(1) == 2\n'
        'assert add(2) == 3\n"""\ndef add(x):\n  return x + 1\n',
        None,
    ),
    "wmt16_de_en_validation": (
        "German phrase: Das Haus ist 1 Jahre alt.\nEnglish phrase:",
        " The house is 1.",
        None,
    ),
    "instruction_checks": (
        "Write about a walk in the rain. Write in CAPITAL LETTERS only.\n\nAnswer:",
        "uppercase",
        None,
    ),
}


@pytest.mark.parametrize("name", sorted(SAID))
def test_a_task_says_what_it_should(local: Path, name: str) -> None:
    from mergekit_mo.tasks import contaminates, load_task

    task = load_task(local / f"{name}.yaml", run_code=True)
    document = task.eval_docs[1]
    text, target, choices = SAID[name]
    assert task.doc_to_text(document) == text
    assert task.doc_to_target(document) == target
    if choices is not None:
        assert task.doc_to_choice(document) == choices
    assert contaminates(task) == ""


@pytest.mark.parametrize("name", sorted(SAID))
def test_a_task_can_be_asked(local: Path, model: Make, name: str) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from mergekit_mo.asking import prepare_task, task_metrics
    from mergekit_mo.evaluation import Evaluation
    from mergekit_mo.harness import Harness
    from mergekit_mo.tasks import load_task

    evaluation = Evaluation(limit=3, holdout=0, batch_size=4, gen_kwargs={"max_gen_toks": 4})
    path = local / f"{name}.yaml"
    asked = prepare_task(load_task(path, run_code=True), path, evaluation, 0)
    folder = model("qwen2", seed=0)
    untrained = AutoModelForCausalLM.from_pretrained(folder).eval()
    found = Harness([asked], evaluation).ask(
        untrained, AutoTokenizer.from_pretrained(folder), "search"
    )
    assert found[name].measured.keys() == task_metrics(asked.task).keys()
    assert all(m.n == 3 for m in found[name].measured.values())


def test_hellaswag_is_cleaned_as_lm_eval_cleans_it(local: Path) -> None:
    from lm_eval.tasks.hellaswag.utils import preprocess

    from mergekit_mo.tasks import load_task

    task = load_task(local / "hellaswag_train.yaml")
    document = task.eval_docs[0]
    said = f"{document['activity_label']}: {document['ctx_a']} {document['ctx_b'].capitalize()}"
    assert task.doc_to_text(document) == preprocess(said)
    assert task.doc_to_choice(document) == [preprocess(e) for e in document["endings"]]


@pytest.fixture(scope="module")
def checks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("checks", TASKS / "instruction_checks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_items_of_the_checks_are_what_their_program_writes(checks: ModuleType) -> None:
    lines = (TASKS / "instruction_checks.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == checks.items()


KEPT = {
    "lowercase": ("all in small letters.", "Not all of it."),
    "uppercase": ("RAIN, AGAIN.", "Rain"),
    "no_comma": ("Rain and wind.", "Rain, wind."),
    "one_sentence": ("It rained at 3.5 degrees.", "It rained. It stopped."),
    "three_sentences": ("It rained. Why? It did!", "It rained. It did."),
    "under_20_words": ("Rain fell.", "rain " * 20),
    "over_40_words": ("rain " * 41, "rain " * 40),
    "three_bullets": ("- a\n- b\n\n- c", "Here:\n- a\n- b\n- c"),
    "json": ('```json\n{"a": 1}\n```', "[1, 2]"),
    "in_quotes": ('"Rain."', 'He said "rain".'),
    "ends_with": ("Rain fell. That is all.", "That is all. Or is it?"),
    "title": ("<<Rain>>\nIt fell.", "Rain <<fell>>"),
}


def test_every_rule_is_tried_here(checks: ModuleType) -> None:
    assert KEPT.keys() == checks.RULES.keys()


@pytest.mark.parametrize("rule", sorted(KEPT))
def test_a_rule_is_kept_or_broken_and_nothing_keeps_none(checks: ModuleType, rule: str) -> None:
    kept, broken = KEPT[rule]
    assert checks.judged({"rule": rule}, [f"\n {kept} \n"]) == {"followed": 1.0}
    assert checks.judged({"rule": rule}, [broken]) == {"followed": 0.0}
    assert checks.judged({"rule": rule}, ["  "]) == {"followed": 0.0}
