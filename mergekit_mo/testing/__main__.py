"""Build the family of tiny models: `python -m mergekit_mo.testing FOLDER`.

What is built already is left as it is, and measured only with `--figures`.
"""

import argparse
import os
from dataclasses import fields
from pathlib import Path

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.utils import logging

from mergekit_mo.testing import Family, Figures, family, figures


def main() -> None:
    """Build a family where the command line says, and print how good its models are."""
    parser = argparse.ArgumentParser(prog="python -m mergekit_mo.testing", description=__doc__)
    parser.add_argument("folder", type=Path, help="where the family is, or is to be")
    parser.add_argument("--seed", type=int, default=0, help="settles text and weights")
    parser.add_argument("--figures", action="store_true", help="measure what is there already")
    options = parser.parse_args()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    torch.set_num_threads(min(2, _processors()))
    told: list[str] = []

    def progress(line: str) -> None:
        told.append(line)
        print(line, flush=True)

    built = family(options.folder, seed=options.seed, progress=progress)
    if told or options.figures:
        _print_table(built)
    else:
        print(f"the tiny models are in {built.root}")


def _processors() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _print_table(built: Family) -> None:
    """Print each model's figures on held-out text."""
    names = [field.name for field in fields(Figures)]
    print(f"{'':12}" + "".join(f"{name:>10}" for name in names))
    for folder in (built.base, built.code, built.prose, built.arithmetic):
        model = LlamaForCausalLM.from_pretrained(folder)
        found = figures(model, PreTrainedTokenizerFast.from_pretrained(folder), built.tasks)
        row = "".join(f"{getattr(found, name):10.3f}" for name in names)
        print(f"{folder.name:12}{row}")


if __name__ == "__main__":
    main()
