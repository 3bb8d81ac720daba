"""Model cards: true, harmless whatever the names, and silent about this machine."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard, constants
from huggingface_hub.utils._http import close_session
from markdown_it import MarkdownIt

from mergekit_mo.archive import Archive
from mergekit_mo.card import card_text
from mergekit_mo.layers import Layers
from mergekit_mo.licences import Licence, choose_licence, known_licences
from mergekit_mo.markdown import code_block, escaped, hub_link, table
from mergekit_mo.problems import UserError
from mergekit_mo.provenance import provenance
from mergekit_mo.publishing import subject_of
from mergekit_mo.writing import done_trial
from tests.finished import archive_of, finished, only_loopback
from tests.hub_server import serving
from tests.hub_state import TOKEN
from tests.toy import Toy

STRANGE = "[x](http://evil.example)|<b>`$a$`@you &amp; # \n- *y*\\|"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
HUB_CONFIG: dict[str, Any] = {
    "merge_method": "ties",
    "base_model": "org/base",
    "models": [
        {"model": f"org/one@{COMMIT}", "parameters": {"weight": 0.5}},
        {"model": "/home/secret/work/two", "parameters": {"weight": [0.25, 0.5]}},
    ],
    "tokenizer": {"source": "/home/secret/work/two"},
}
SOURCES = ["org/base", f"org/one@{COMMIT}", "/home/secret/work/two"]


@pytest.fixture(scope="module")
def run(toy: Toy) -> Path:
    return finished(toy)


@pytest.fixture(autouse=True)
def offline(run: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    tried = only_loopback(monkeypatch)
    yield
    assert tried == []


def card_of(archive: Archive, name: str = "a-merge", **more: Any) -> str:
    trial = archive.candidates[-1]
    return card_text(subject_of(archive, trial, name, "mit", ask_hub=False, **more))


def front_matter(text: str) -> dict[str, Any]:
    found = yaml.safe_load(text.split("---\n")[1])
    assert isinstance(found, dict)
    return found


def html(text: str) -> str:
    body = text.split("---\n", 2)[2] if text.startswith("---\n") else text
    return str(MarkdownIt("commonmark").enable("table").render(body))


def test_the_front_matter_keeps_mergekits_conventions() -> None:
    found = front_matter(card_of(archive_of(HUB_CONFIG, SOURCES)))
    assert found["base_model"] == ["org/base", "org/one"]
    assert found["base_model_relation"] == "merge"
    assert found["tags"] == ["mergekit", "merge", "mergekit-mo"]
    assert (found["library_name"], found["pipeline_tag"]) == ("transformers", "text-generation")
    assert found["license"] == "mit"


def test_search_and_hold_out_are_results_apart() -> None:
    (model,) = front_matter(card_of(archive_of(HUB_CONFIG, SOURCES)))["model-index"]
    found = [
        (r["dataset"]["name"], r["metrics"][0]["type"], r["metrics"][0]["value"])
        for r in model["results"]
    ]
    assert found == [
        ("quiz (3 search items)", "acc", 0.625),
        ("quiz (2 held-out items)", "acc", 0.5),
    ]


def test_the_hub_clients_own_reader_takes_the_card(run: Path) -> None:
    with Archive.open(run / "archive.db", read_only=True) as archive:
        data = ModelCard(card_of(archive)).data
        trial = archive.candidates[-1]
    results = {(r.dataset_name, r.metric_type): r.metric_value for r in data["eval_results"]}
    for task, metric in (("toy_choice", "acc"), ("toy_bits", "bits_per_byte")):
        found = trial.scores[task]
        assert results[f"{task} ({found.n} search items)", metric] == found.value


def test_the_body_has_scores_with_errors_beside_the_parents() -> None:
    text = card_of(archive_of(HUB_CONFIG, SOURCES))
    shown = html(text)
    assert "| goal | items | **this model** | base | one\\&#64;" not in text
    for cell in ("0.6250 [0.09, 1.16]", "0.2500 [-0.29, 0.79]", "3 search items"):
        assert cell in shown
    assert shown.count("<tr>") == 3
    assert "1 time)" in shown


def test_the_body_says_how_to_make_the_model_again() -> None:
    text = card_of(archive_of(HUB_CONFIG, SOURCES))
    assert "mergekit-yaml mergekit_config.yml model --random-seed 7 -j 2\n" in text
    assert "0" * 64 in text
    assert "seed 3" in text
    assert "sobol" in text
    assert f"revision {COMMIT}" in text
    assert "front.png" in text


def test_the_configuration_in_the_card_is_the_trials() -> None:
    text = card_of(archive_of(HUB_CONFIG, SOURCES))
    found = yaml.safe_load(text.split("```yaml\n")[1].split("\n```")[0])
    expected = yaml.safe_load(yaml.safe_dump(HUB_CONFIG).replace("/home/secret/work/two", "two"))
    assert found == expected


def test_no_folder_of_this_machine_is_told(toy: Toy, run: Path) -> None:
    assert "/home" not in card_of(archive_of(HUB_CONFIG, SOURCES))
    with Archive.open(run / "archive.db", read_only=True) as archive:
        text = card_of(archive)
    assert str(toy.folder) not in text
    assert "/tmp" not in text
    assert "base_model: base\n" in text


def test_folders_of_one_name_are_told_apart() -> None:
    found = provenance({"models": [{"model": "/a/x"}, {"model": "/b/x"}, {"model": "/a/x+/c/y"}]})
    assert [origin.name for origin in found.origins] == ["x", "x-2", "y"]
    assert found.name("/b/x+/c/y") == "x-2+y"
    assert found.adapters


def test_the_commit_of_a_cached_model_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "models--org--base"
    (folder / "snapshots" / COMMIT).mkdir(parents=True)
    (folder / "snapshots" / COMMIT / "config.json").write_text("{}")
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(COMMIT)
    archive = archive_of({"merge_method": "linear", "models": [{"model": "org/base"}]}, [])
    assert f"commit `{COMMIT}`" in card_of(archive, cache=tmp_path)


def test_strange_names_are_harmless() -> None:
    source = f"/home/me/{STRANGE}"
    config = {"merge_method": "linear", "models": [{"model": source}]}
    archive = archive_of(config, [source], versions={"mergekit": STRANGE}, device=STRANGE)
    text = card_of(archive, name=STRANGE)
    shown = html(text)
    assert "<b>" not in shown
    assert "evil.example" in shown
    assert 'href="http://evil' not in shown
    assert len(re.findall("<td[ >]", shown)) == 2 * len(re.findall("<th[ >]", shown))
    (model,) = front_matter(text)["model-index"]
    assert model["name"] == " ".join(STRANGE.split())


@pytest.mark.parametrize(
    "name", [STRANGE, "# x", "- x", "1. x", "www.evil.example", "---", "![a](b)", "<!-- x", "a\tb"]
)
def test_escaped_text_is_shown_as_it_is(name: str) -> None:
    from html import unescape

    shown = html(f"x {escaped(name)}\n\n- {escaped(name)}\n")
    assert unescape(shown.split("<p>x ")[1].split("</p>")[0]) == " ".join(name.split())
    assert shown.count("<li>") == 1
    assert "<a" not in shown


def test_code_cannot_end_its_block() -> None:
    shown = html(code_block("a\n```\n# b\n````\n", "yaml"))
    assert "<h1>" not in shown


def test_a_table_has_the_cells_it_was_given() -> None:
    shown = html(table(["a", "b"], [[escaped("x|y"), "z"]], left=1))
    assert "<td>x|y</td>" in shown


def test_only_ids_of_the_hub_become_links() -> None:
    assert "](https://huggingface.co/org/name)" in hub_link("org/name")
    assert "](" not in hub_link("org/name)x")


def local(folder: Path, name: str, card: str | None) -> str:
    (folder / name).mkdir()
    if card is not None:
        (folder / name / "README.md").write_text(f"---\n{card}\n---\n")
    return str(folder / name)


@pytest.mark.parametrize(
    ("cards", "expected"),
    [
        (["license: mit", "license: mit"], "mit"),
        (["license: mit", "license: apache-2.0"], "apache-2.0"),
        (["license: llama3.1", "license: llama3.1"], "llama3.1"),
        (["license: [MIT]", "license: bsd-3-clause"], "bsd-3-clause"),
    ],
)
def test_a_licence_is_taken_where_the_sources_agree(
    tmp_path: Path, cards: list[str], expected: str
) -> None:
    paths = [local(tmp_path, f"m{i}", card) for i, card in enumerate(cards)]
    found = provenance({"models": [{"model": path} for path in paths]})
    known = known_licences(found.origins, ask_hub=False)
    assert choose_licence(known, None).id == expected


@pytest.mark.parametrize(
    ("cards", "words"),
    [
        (["license: mit", None], "unknown"),
        (["license: mit", "license: [a, b]"], "unknown"),
        (["license: mit", "license: {x: y}"], "unknown"),
        (["license: mit", "x: ["], "unknown"),
        (["license: mit", "license: llama3.1"], "differ"),
        (["license: gemma", "license: llama3.1"], "differ"),
        (["license: other", "license: other"], "differ"),
    ],
)
def test_a_licence_is_never_guessed(tmp_path: Path, cards: list[str | None], words: str) -> None:
    paths = [local(tmp_path, f"m{i}", card) for i, card in enumerate(cards)]
    found = provenance({"models": [{"model": path} for path in paths]})
    known = known_licences(found.origins, ask_hub=False)
    with pytest.raises(UserError, match=words) as caught:
        choose_licence(known, None)
    assert "--license" in str(caught.value)
    assert "m0: " in str(caught.value)


def test_the_hub_is_asked_for_the_licences_that_it_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    found = provenance(
        {"models": [{"model": name} for name in ("me/known", "me/silent", "me/gone")]}
    )
    with serving() as hub:
        for name, value in (("ENDPOINT", hub.address), ("HF_HUB_DISABLE_TELEMETRY", True)):
            monkeypatch.setattr(constants, name, value)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        for name, line in (("known", "license: gemma"), ("silent", "tags: [x]")):
            repo = hub.add(f"me/{name}", private=True)
            hub.commit(repo, "main", {"README.md": f"---\n{line}\n---\n".encode()})
        known = known_licences(found.origins, ask_hub=True)
        close_session()
    assert known == {"me/known": Licence("gemma"), "me/silent": None, "me/gone": None}


def test_the_users_word_fills_gaps_but_frees_nothing() -> None:
    assert choose_licence({"a": None}, "Apache-2.0").id == "apache-2.0"
    assert choose_licence({"a": Licence("mit"), "b": None}, "llama3").id == "llama3"
    assert choose_licence({"a": Licence("gemma"), "b": Licence("llama3")}, "other").id == "other"
    for stated, known in (("mit", "cc-by-nc-4.0"), ("mit", "apache-2.0")):
        with pytest.raises(UserError, match="a is under"):
            choose_licence({"a": Licence(known)}, stated)
    with pytest.raises(UserError, match="no licence"):
        choose_licence({}, "my own: words")


def test_a_named_licence_keeps_its_name() -> None:
    named = Licence("other", "acme", "https://example.org")
    assert choose_licence({"a": named, "b": named}, None) == named


def test_a_trial_without_held_out_scores_says_so() -> None:
    from dataclasses import replace

    archive = archive_of(HUB_CONFIG, SOURCES)
    trial = done_trial(archive, 3)
    archive._take([replace(trial, holdout={})])
    text = card_of(archive)
    assert "not scored on held-out items" in text
    assert len(front_matter(text)["model-index"][0]["results"]) == 1


@pytest.mark.parametrize(
    ("method", "kinds", "command"),
    [
        ("ties", False, "mergekit-yaml mergekit_config.yml model --random-seed"),
        ("dare_ties", False, "mergekit-multi mergekit_config.yml --out-path model -I"),
        ("ties", True, "mergekit-mo merge RUN 3 model"),
    ],
)
def test_a_walk_over_layers_is_told_with_the_command_that_makes_it(
    method: str, kinds: bool, command: str
) -> None:
    full = ("full",)
    layers = Layers(
        ("merge", "/home/secret/work/two"), (3, 3), 2, 3, 1, 0, True, 3,
        kinds=(full * 3, full * 3) if kinds else (),
        merge_kinds=full * 3 if kinds else (),
        written=full * 3 if kinds else (),
    )  # fmt: skip
    archive = archive_of(HUB_CONFIG | {"merge_method": method}, SOURCES, layers=layers.facts())
    archive._take([replace(archive.trials[3], path=((0, 0), (1, 2)))])
    text = card_of(archive)
    assert "Layers: merge 0, two 2; embeddings, final norm and head are the merge's." in text
    assert command in text
    assert "secret" not in text
    assert ("name: merge" in text) == (method == "dare_ties")
