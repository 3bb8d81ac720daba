"""Whether processes have ended."""

import time
from pathlib import Path


def gone(pid: int) -> bool:
    """Whether a process ends within seconds; an orphan may stay unburied where nobody reaps."""
    for _ in range(100):
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
        except (FileNotFoundError, ProcessLookupError):
            return True
        if stat.rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.1)
    return False
