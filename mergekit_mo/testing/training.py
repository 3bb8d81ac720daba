"""Make the tiny tokenizer and Llama model, and train the model on a mixture of domains.

All chance comes from seeds given here; the global generators are left as they were.
"""

import copy
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

END, PAD = "<|end|>", "<|pad|>"


@dataclass(frozen=True)
class Course:
    """One run of training: how many steps, at what peak rate, on what mixture of domains."""

    steps: int
    rate: float
    mixture: Mapping[str, float]
    batch: int = 12
    context: int = 160


def tokenizer_of(texts: Iterable[str], *, vocab: int, context: int) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer in which every digit is a token of its own."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=[END, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token=END,
        pad_token=PAD,
        model_max_length=context,
        clean_up_tokenization_spaces=False,
    )


def fresh_model(tokenizer: PreTrainedTokenizerFast, *, context: int, seed: int) -> LlamaForCausalLM:
    """Return an untrained Llama of some 640,000 parameters."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=96,
        intermediate_size=256,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=context,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    model.set_attn_implementation("eager")  # its backward pass is the fastest on a CPU
    return model


def stream(documents: Iterable[str], tokenizer: PreTrainedTokenizerFast) -> torch.Tensor:
    """Return the documents' tokens end to end, each document behind an end token."""
    ends = (f"{END}{document}" for document in documents)
    ids = tokenizer(list(ends), verbose=False)["input_ids"]
    return torch.tensor([token for document in ids for token in document])


def trained(
    model: LlamaForCausalLM,
    streams: Mapping[str, torch.Tensor],
    course: Course,
    *,
    seed: int,
    report: Callable[[], None] = lambda: None,
) -> LlamaForCausalLM:
    """Return a trained copy of `model`; `report` is called after each step."""
    model = copy.deepcopy(model)
    model.train()
    chance = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=course.rate, betas=(0.9, 0.95), weight_decay=0.05, fused=True
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _slope(step, course.steps))
    for _ in range(course.steps):
        windows = _windows(streams, course, chance)
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(windows[:, :-1], use_cache=False).logits
        loss = functional.cross_entropy(logits.flatten(0, 1).float(), windows[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        report()
    model.eval()
    return model


def _slope(step: int, steps: int) -> float:
    """Return the share of the peak rate: a short rise, then half a cosine to nearly nothing."""
    rise = min(1.0, (step + 1) / min(40, steps))
    return rise * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))


def _windows(
    streams: Mapping[str, torch.Tensor], course: Course, chance: torch.Generator
) -> torch.Tensor:
    """Draw a batch of windows: shape (batch, context + 1), each from one domain's stream."""
    names = list(course.mixture)
    shares = torch.tensor([course.mixture[name] for name in names])
    drawn = torch.multinomial(shares, course.batch, replacement=True, generator=chance)
    rows = []
    for index in drawn.tolist():
        tokens = streams[names[index]]
        start = int(torch.randint(len(tokens) - course.context, (), generator=chance))
        rows.append(tokens[start : start + course.context + 1])
    return torch.stack(rows)
