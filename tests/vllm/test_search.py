"""A search whose answers vLLM writes."""

import json
from copy import deepcopy
from pathlib import Path

import pytest
import yaml
from mergekit.config import MergeConfiguration
from mergekit.merge import run_merge
from transformers import AutoModelForCausalLM, AutoTokenizer

from mergekit_mo import loop
from mergekit_mo.archive import Archive
from mergekit_mo.backends.vllm import Vllm
from mergekit_mo.executors.inline import Inline
from mergekit_mo.harness import Harness
from mergekit_mo.options import MergeFlags
from mergekit_mo.planning import merge_options
from mergekit_mo.preflight import Ready, prepare
from mergekit_mo.testing import family
from mergekit_mo.testing.continuations import write_continuations
from mergekit_mo.testing.widened import widened

FAMILY = Path(__file__).parents[2] / ".cache" / "tiny"
FLAGS = MergeFlags(device="cpu", num_threads=1)
TRIALS = 20


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny family with heads that vLLM knows, and goals that it writes answers to."""
    root = tmp_path_factory.mktemp("wide")
    tiny = family(FAMILY)
    models = {m.name: widened(m, root / m.name) for m in (tiny.base, tiny.code, tiny.arithmetic)}
    written = write_continuations(tiny.tasks, root, tokens=24)
    tree = {
        "merge_method": "task_arithmetic",
        "base_model": str(models.pop("base")),
        "dtype": "float32",
        "models": [
            {"model": str(m), "parameters": {"weight": {"value": 0.5, "low": 0, "high": 1.2}}}
            for m in models.values()
        ],
        "search": {
            "objectives": [
                {"task": str(tiny.tasks / "tiny_sums_generate.yaml")},
                {"generated-tokens": {"task": str(written)}},
            ],
            "evaluation": {
                "backend": "vllm",
                "limit": 24,
                "holdout": 8,
                "vllm": {"max_model_len": 256},
            },
            "optimizer": "sobol",
            "budget": TRIALS,
        },
    }
    path = root / "recipe.yaml"
    path.write_text(yaml.safe_dump(tree), "utf-8")
    return path


@pytest.mark.timeout(1500)
def test_one_engine_serves_a_search_and_answers_as_fresh_ones_on_the_merges_on_disk(
    recipe: Path, tmp_path: Path
) -> None:
    ready = prepare(recipe, FLAGS)
    evaluator = ready.evaluator()
    backend = evaluator.harness.backend
    assert isinstance(backend, Vllm)
    for _ in loop.search(ready, tmp_path / "run", hire=lambda _: Inline(evaluator)):
        pass
    assert backend.started == 1
    assert backend._engine is None, "the run is over, and so is the engine"
    with Archive.open(tmp_path / "run", read_only=True) as archive:
        done = [t for t in archive.candidates if t.status == "done"]
        assert len(done) == TRIALS
        for trial in (done[0], done[7], done[-1]):
            plain = {
                asked.name: archive.answers(trial.number, "search", asked.name)
                for asked in ready.tasks
            }
            written = tmp_path / str(trial.number)
            config = MergeConfiguration.model_validate(deepcopy(dict(trial.config)))
            run_merge(config, str(written), merge_options(FLAGS, "cpu"))
            for name, found in from_scratch(ready, written).items():
                assert plain[name]["responses"] == found["responses"], (trial.number, name)


def from_scratch(ready: Ready, folder: Path) -> dict[str, dict[str, object]]:
    """What an engine of its own answers, started on a merge as mergekit wrote it."""
    backend = Vllm(ready.recipe.evaluation, ready.threads)
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    try:
        answers = Harness(ready.tasks, ready.recipe.evaluation, backend).ask(
            model, tokenizer, "search"
        )
    finally:
        backend.close()
    assert backend.started == 1
    return {name: json.loads(json.dumps(found.plain())) for name, found in answers.items()}
