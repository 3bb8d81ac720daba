"""What the answers to a pair of a preferred and a rejected text amount to.

Rule: it imports nothing; a copy of this file stands beside the task in a run's folder, so that
lm-eval alone gives the same figures.
"""


def margins(doc: dict[str, str], results: list[tuple[float, bool]]) -> dict[str, float]:
    """The margins of a pair, in nats: as they are, per byte, and whether they favour the chosen.

    Args:
        doc: with the texts `chosen` and `rejected`.
        results: of both, in this order, the log-probability and whether it is the greedy answer.
    """
    (chosen, _), (rejected, _) = results
    lengths = [len(doc[name].encode("utf-8")) for name in ("chosen", "rejected")]
    return {
        "margin": chosen - rejected,
        "margin_per_byte": chosen / lengths[0] - rejected / lengths[1],
        "preferred": float(chosen > rejected),
    }
