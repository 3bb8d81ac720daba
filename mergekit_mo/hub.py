"""A model folder becomes a repository on the Hugging Face Hub, whole and verified.

Rule: a run that was cut off is run again: what is there already is found by size and hash and left
alone. Nothing is deleted on the Hub, and nothing private becomes public by being uploaded.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mergekit_mo import __version__
from mergekit_mo.files import write_file
from mergekit_mo.hub_line import Line, Say, find_token
from mergekit_mo.problems import UserError

RECORD = "hub.json"
_MAIN = "main"
_MODEL_FILES = frozenset({".safetensors", ".json", ".model", ".txt", ".jinja", ".tiktoken"})
_WEIGHTS = (".safetensors", ".bin", ".gguf", ".pt", ".index.json")


@dataclass(frozen=True)
class Target:
    """Where to upload.

    Attributes:
        repo: `owner/name`.
        public: whether everybody may see it.
        revision: the branch; None for the main one.
        pull_request: leave the branch alone, and propose the upload.
        message: of the commit.
    """

    repo: str
    public: bool = False
    revision: str | None = None
    pull_request: bool = False
    message: str = "Upload a merge with mergekit-mo"


@dataclass(frozen=True)
class Item:
    """A file to upload, under a name of the repository."""

    path: str
    file: Path

    @property
    def size(self) -> int:
        """In bytes."""
        return self.file.stat().st_size

    @cached_property
    def sha256(self) -> str:
        """As the Hub names large files."""
        with self.file.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    @cached_property
    def blob(self) -> str:
        """As git names small files."""
        content = self.file.read_bytes()
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()

    def is_at(self, remote: Any) -> bool:
        """Whether a file of the Hub has the same content."""
        if remote is None or remote.size != self.size:
            return False
        return bool(remote.lfs.sha256 == self.sha256 if remote.lfs else remote.blob_id == self.blob)


@dataclass(frozen=True)
class Pushed:
    """What is on the Hub now.

    Attributes:
        url: to look at.
        revision: where it stands.
        commit: its head.
        pull_request: its number, if it is one.
        uploaded: the files that were not there before (of a pull request, not on the main branch).
    """

    url: str
    revision: str
    commit: str
    pull_request: int | None
    uploaded: tuple[str, ...]


def check_target(target: Target) -> None:
    """Sees what can be seen without the Hub.

    Raises:
        UserError: the repository has no possible name, or two places are named.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(target.repo)
    except HFValidationError as error:
        raise UserError(f"{target.repo!r} is no repository: {error}", status=2) from error
    if target.repo.count("/") != 1:
        what = f"{target.repo!r} names no owner"
        raise UserError(f"{what}; write YOUR-NAME/{target.repo.strip('/')}", status=2)
    if target.pull_request and target.revision:
        what = "--pull-request and --revision exclude each other"
        raise UserError(f"{what}: a pull request is against the main branch", status=2)


def gather(model: Path, beside: Mapping[str, Path]) -> tuple[tuple[Item, ...], tuple[str, ...]]:
    """The files to upload.

    Args:
        model: a folder that `writing.write_model` wrote.
        beside: other files by their names in the repository; they take precedence.

    Returns:
        The files, and the names of those that stay here as they belong to no model.
    """
    items = {name: Item(name, file) for name, file in beside.items()}
    left = []
    for file in sorted(model.iterdir()):
        if file.name in items:
            continue
        if file.is_file() and file.suffix in _MODEL_FILES and not file.name.startswith("."):
            items[file.name] = Item(file.name, file)
        else:
            left.append(file.name)
    return tuple(items[name] for name in sorted(items)), tuple(left)


def push(
    items: Sequence[Item],
    target: Target,
    run: Path,
    *,
    say: Say,
    endpoint: str | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Pushed:
    """Uploads files and sees that they have arrived.

    Args:
        items: from `gather`.
        target: from `check_target`.
        run: where the numbers of pull requests are kept.
        say: narrates.
        endpoint: of the Hub; None for the Hub client's own.
        sleep: waits between attempts.

    Raises:
        UserError: the Hub refuses, or cannot be reached.
    """
    from huggingface_hub import HfApi

    token = find_token()
    api = HfApi(endpoint, token, library_name="mergekit-mo", library_version=__version__)
    line = Line(target.repo, api.endpoint, token, say, sleep)
    return _Upload(api, line, target, tuple(items), run).run()


@dataclass(frozen=True)
class _Upload:
    """One upload, step by step."""

    api: Any
    line: Line
    target: Target
    items: tuple[Item, ...]
    folder: Path

    def run(self) -> Pushed:
        """All steps."""
        repo = self.target.repo
        self._create()
        number, revision = None, self.target.revision or _MAIN
        if revision != _MAIN and not revision.startswith("refs/"):
            self.line.call(lambda: self.api.create_branch(repo, branch=revision, exist_ok=True))
        _, before = self._listing(revision)
        self._refuse_mixture(before)
        uploaded = self._missing(before)
        if self.target.pull_request and uploaded:
            number = self._recorded() or self._propose(uploaded)
            revision = f"refs/pr/{number}"
        self.line.call(lambda: self._send_missing(revision))
        commit, after = self._listing(revision)
        if wrong := self._missing(after):
            what = f"{repo} does not have what was uploaded: {', '.join(i.path for i in wrong)}"
            raise UserError(f"{what}; run the same command again")
        names = tuple(item.path for item in uploaded)
        return Pushed(self._url(revision, number), revision, commit, number, names)

    def _url(self, revision: str, number: int | None) -> str:
        url = f"{self.api.endpoint}/{self.target.repo}"
        if number is not None:
            url += f"/discussions/{number}"
        elif revision != _MAIN:
            url += f"/tree/{revision}"
        return url

    def _missing(self, remote: Mapping[str, Any]) -> tuple[Item, ...]:
        """The files that are not on the Hub, or not as they are here."""
        return tuple(item for item in self.items if not item.is_at(remote.get(item.path)))

    def _create(self) -> None:
        """Makes the repository, or finds it as it should be."""
        repo, private = self.target.repo, not self.target.public
        self.line.call(lambda: self.api.create_repo(repo, private=private, exist_ok=True))
        info = self.line.call(lambda: self.api.repo_info(repo))
        if private and not info.private:
            what = f"{repo} exists and is public, so the whole world would see the upload"
            raise UserError(f"{what}; say --public if it may")
        if not private and info.private:
            self.line.say(f"{repo} exists and is private; it stays so (its settings change that)")

    def _listing(self, revision: str) -> tuple[str, dict[str, Any]]:
        """The head of a revision, and its files by their paths."""
        repo = self.target.repo

        def listing() -> tuple[str, dict[str, Any]]:
            head = str(self.api.repo_info(repo, revision=revision).sha)
            tree = self.api.list_repo_tree(repo, revision=head, recursive=True)
            return head, {entry.path: entry for entry in tree if hasattr(entry, "blob_id")}

        return self.line.call(listing)

    def _refuse_mixture(self, remote: Mapping[str, Any]) -> None:
        """Refuses to lay one model's files beside another's weights.

        Raises:
            UserError: there are others.
        """
        own = {item.path for item in self.items}
        others = [p for p in sorted(remote) if p.endswith(_WEIGHTS) and p not in own]
        if others:
            listing = ", ".join(others[:3]) + (", …" if len(others) > 3 else "")
            what = f"{self.target.repo} holds other weights, which would mix with these: {listing}"
            raise UserError(f"{what}; delete them there, or name another repository")

    def _send_missing(self, revision: str) -> None:
        """Uploads what is not there; bears repetition, as it looks afresh each time."""
        head, remote = self._listing(revision)
        missing = self._missing(remote)
        if not missing:
            return
        total = sum(item.size for item in missing)
        self.line.say(f"uploading {len(missing)} of {len(self.items)} files, {total:,} bytes")
        with _linked(missing) as folder:
            self.api.upload_folder(
                repo_id=self.target.repo,
                folder_path=folder,
                revision=revision,
                parent_commit=head,
                commit_message=self.target.message,
            )

    def _recorded(self) -> int | None:
        """The number of the pull request that an earlier run opened, if it is still open."""
        number = _read_record(self.folder).get(self._key)
        if not isinstance(number, int):
            return None
        repo = self.target.repo
        found = self.line.call(lambda: self.api.get_discussion_details(repo, number))
        if found.status not in ("open", "draft"):
            self.line.say(f"pull request {number} is {found.status}; opening another one")
            return None
        self.line.say(f"going on with pull request {number}")
        return number

    def _propose(self, items: Sequence[Item]) -> int:
        """Opens a pull request with the small files, and notes its number before the large ones."""
        from huggingface_hub import CommitOperationAdd

        small = [item for item in items if not item.path.endswith(_WEIGHTS)] or items[:1]

        def propose() -> Any:
            operations = [CommitOperationAdd(item.path, item.file) for item in small]
            message = self.target.message
            return self.api.create_commit(
                self.target.repo, operations, commit_message=message, create_pr=True
            )

        info = self.line.call(propose, repeat=False)
        number = int(info.pr_num)
        record = _read_record(self.folder) | {self._key: number}
        write_file(self.folder / RECORD, json.dumps(record, indent=2))
        self.line.say(f"opened pull request {number}")
        return number

    @property
    def _key(self) -> str:
        """What a pull request is of: the Hub, the repository, and the weights."""
        weights = "".join(i.sha256 for i in self.items if i.path.endswith(".safetensors"))
        digest = hashlib.sha256(weights.encode()).hexdigest()[:16]
        return f"{urlsplit(self.api.endpoint).netloc} {self.target.repo} {digest}"


def _read_record(run: Path) -> dict[str, Any]:
    """What earlier uploads noted; nothing where that is missing or damaged."""
    try:
        found = json.loads((run / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


@contextlib.contextmanager
def _linked(items: Sequence[Item]) -> Iterator[Path]:
    """A folder of links to files, as the client uploads folders."""
    with tempfile.TemporaryDirectory(prefix="mergekit-mo-") as name:
        folder = Path(name)
        for item in items:
            link = folder / item.path
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(item.file.resolve())
        yield folder
