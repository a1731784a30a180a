"""The provenance of a run besides its configuration: content of its input files, and code of other packages."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, is_dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from partinr.base.digests import Digests, of_text
from partinr.base.errors import PartinrError
from partinr.base.later import Later
from partinr.base.notes import print_note
from partinr.base.spec import READS, marked
from partinr.experiment import names, plugins
from partinr.runs.layout import config_hash
from partinr.runs.origin import CODE_KEYS, computing, is_foreign, targets

if TYPE_CHECKING:
    from partinr.experiment.config import Settings
    from partinr.runs.directory import RunDirectory
    from partinr.signals import SignalSet
    from partinr.signals import identity as signal_identity
else:
    signal_identity = Later("partinr.signals.identity")

_GROUPS = ("data", "observe", "sampler", "partition", "backbone", "start", "regime", "optimizer", "schedule", "trainer")
"""The groups whose objects affect the computation and may read files."""


@dataclass(frozen=True)
class Change:
    """A difference from the time when a run was made.

    Attributes:
        what: the key and its file, or the module.
        gone: whether the file cannot be read now.
    """

    what: str
    gone: bool = False


@dataclass
class Inputs:
    """Digests of the inputs of runs.

    Attributes:
        once: check each file and folder once, for many runs that are queued together; otherwise at every call.
    """

    once: bool = False
    _digests: dict[str | None, Digests] = field(default_factory=dict)
    _known: dict[tuple[str, ...], str | None] = field(default_factory=dict)

    def of(self, settings: Settings, verify: bool = False) -> dict[str, str | None]:
        """SHA-256 of each file or folder that the settings name, by key; None for one that cannot be read.

        Args:
            settings: settings of a run.
            verify: read every file, even if the cache knows it.
        """
        digests = self._cache(settings)
        found = {}
        for each in _named(settings):
            known = () if not is_dataclass(each.owner) else (each.key, repr(each.owner), repr(settings.data))
            found[each.key] = self._remembered(known, partial(each.digest, settings, digests, verify))
        return found

    def code_of(self, settings: Settings, verify: bool = False) -> dict[str, dict[str, str | None]]:
        """For every class of another package in the config: its plug-in, version and source.

        Args:
            settings: settings of a run.
            verify: as for :meth:`of`.

        Returns:
            by module: ``distribution`` and ``version`` of the plug-in, None outside a plug-in; as ``source`` the
            SHA-256 of the module's file, and as ``package`` that of all Python files of its package, or of the file of
            a module without one; None if it has none. The module must have been imported.
        """
        modules = sorted(filter(is_foreign, {target.rpartition(".")[0] for target in targets(settings.plain)}))
        owners = {plugin.package.partition(".")[0]: plugin for plugin in plugins.installed()} if modules else {}
        digests = self._cache(settings)
        code: dict[str, dict[str, str | None]] = {}
        for module in modules:
            owner = owners.get(module.partition(".")[0])
            code[module] = {
                "distribution": None if owner is None else owner.distribution,
                "version": None if owner is None else owner.version,
            }
            for key, folder in zip(CODE_KEYS, (None, _package(module)), strict=True):
                code[module][key] = self._remembered((module, key), partial(_code, module, folder, digests, verify))
        return code

    def changes(self, manifest: Mapping[str, Any], settings: Settings) -> list[Change]:
        """The changes since a run was made from the same settings. Entries missing in ``run.json`` do not count.

        Args:
            manifest: content of its ``run.json``.
            settings: current settings.
        """
        recorded, present = manifest.get("inputs"), self.of(settings)
        values = {each.key: each.value for each in _named(settings)}
        found = []
        for key, digest in recorded.items() if isinstance(recorded, dict) else ():
            if present.get(key) != digest and not (key.startswith("data.") and self._same_signal(manifest, settings)):
                what = f"{key} {values[key]}" if isinstance(values.get(key), str) else key
                found.append(Change(what, gone=key in present and present[key] is None))
        code, now = manifest.get("code"), self.code_of(settings)
        for module in computing(settings.plain):
            before = code.get(module) if isinstance(code, dict) else None
            known = before if isinstance(before, dict) else {}
            if any(known.get(key) not in (None, now[module][key]) for key in CODE_KEYS):
                found.append(Change(f"the code of {module}"))
        return found

    def _same_signal(self, manifest: Mapping[str, Any], settings: Settings) -> bool:
        """Whether changed files have the samples that a run fitted, such as a PNG that was saved again."""
        signal = manifest.get("signal")
        before = signal.get("pixels_sha256") if isinstance(signal, Mapping) else None
        return before is not None and before == self._remembered(
            ("pixels", repr(settings.data)), partial(_pixels, settings.data)
        )

    def save(self) -> None:
        """Keep the digests for later commands. A refused run leaves nothing behind, so it does not call this."""
        for digests in self._digests.values():
            digests.save()

    def _cache(self, settings: Settings) -> Digests:
        folder = settings.root.cache_dir
        if folder not in self._digests:
            self._digests[folder] = Digests(None if folder is None else Path(folder))
        return self._digests[folder]

    def _remembered(self, key: tuple[str, ...], make: Callable[[], str | None]) -> str | None:
        if not self.once or not key:
            return make()
        if key not in self._known:
            self._known[key] = make()
        return self._known[key]


def recorded(inputs: Mapping[str, str | None]) -> dict[str, str]:
    """The entries of readable files in ``run.json``."""
    return {key: digest for key, digest in inputs.items() if digest is not None}


@dataclass(frozen=True)
class _Named:
    """A field that names files or folders (:data:`~partinr.base.spec.READS`)."""

    key: str
    owner: Any
    field: str

    @property
    def value(self) -> Any:
        return getattr(self.owner, self.field)

    def digest(self, settings: Settings, digests: Digests, verify: bool) -> str | None:
        """The digest of the named files; None if unreadable."""
        parts = []
        try:
            for each in [self.value] if isinstance(self.value, (str, os.PathLike)) else list(self.value):
                path = Path(os.path.expanduser(each))
                files = self._members(path, settings) if path.is_dir() else [path]
                parts.append(digests.of_files(path, files, verify))
        except (OSError, PartinrError):  # reported by the file's reader
            return None
        return parts[0] if len(parts) == 1 else of_text(" ".join(parts))

    def _members(self, folder: Path, settings: Settings) -> Iterable[Path]:
        members = getattr(self.owner, "members", None)
        found = None if members is None else members(self.field, folder, settings.data)
        if found is not None:
            return found
        below = (path for path in folder.rglob("*") if path.is_file())
        return [path for path in below if not any(part[:1] == "." for part in path.relative_to(folder).parts)]


def readable(settings: Settings) -> dict[str, Any]:
    """The keys that may name files or folders, with their values."""
    return {each.key: each.value for each in _fields(settings)}


def _named(settings: Settings) -> Iterator[_Named]:
    """The fields of all objects that name files."""
    return (each for each in _fields(settings) if each.value is not None)


def _fields(settings: Settings) -> Iterator[_Named]:
    for group, owner in (("", settings.root), *((group, getattr(settings, group)) for group in _GROUPS)):
        for name in marked(type(owner), READS):
            yield _Named(f"{group}.{name}" if group else name, owner, name)


def _pixels(data: SignalSet) -> str | None:
    """The digest of the samples of all fitted signals; None if unreadable."""
    with suppress(PartinrError):
        return signal_identity.joined([item.read().identity.pixels_sha256 for item in data.train()])
    return None


def _package(module: str) -> Path | None:
    """The folder of a module's outermost package, or None."""
    parts = module.split(".")
    for depth in range(1, len(parts) + 1):
        file = getattr(sys.modules.get(".".join(parts[:depth])), "__file__", None)
        if file is not None and Path(file).name == "__init__.py":
            return Path(file).parent
    return None


def _code(module: str, folder: Path | None, digests: Digests, verify: bool) -> str | None:
    """The digest of the file of a module, or of all Python files of its package."""
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None:
        return None
    with suppress(OSError):
        if folder is None:
            return digests.of(Path(file), verify)
        return digests.of_files(folder, folder.rglob("*.py"), verify)
    return None


def check_code(manifest: Mapping[str, Any], folder: Path | str) -> None:
    """Refuse a run whose plug-ins are not installed in any version.

    Args:
        manifest: content of its ``run.json``.
        folder: run directory, for the message.

    Raises:
        PartinrError: a plug-in is not installed.
    """
    code = manifest.get("code")
    for module, owner in code.items() if isinstance(code, dict) else ():
        name = owner.get("distribution") if isinstance(owner, dict) else None
        if name is not None and importlib.util.find_spec(module.partition(".")[0]) is None:
            version = owner.get("version")
            raise PartinrError(
                f"{folder} was made with the plug-in {name} {version}, which is not installed here; "
                f"pip install {name}=={version}"
            )


def identity(settings: Settings) -> dict[str, str]:
    """The identity of a run: a readable name and a hash."""
    return {"name": settings.name, "config_hash": config_hash(names.identity(settings.plain))}


def origin(settings: Settings, inputs: Inputs) -> dict[str, Any]:
    """Identity and inputs of a new run; reads all files."""
    return {
        **identity(settings),
        "inputs": recorded(inputs.of(settings, verify=True)),
        "code": inputs.code_of(settings, verify=True),
    }


def begun(run: RunDirectory, manifest: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """Identity and original inputs of a resumed run, without its own checkpoint.

    A run without a checkpoint reads all inputs again, so its original inputs are left out.

    Args:
        run: run directory.
        manifest: content of its ``run.json``.
        settings: settings of the continuation.
    """
    own = {**settings.plain, "ckpt_path": run.config().get("ckpt_path")}
    known: dict[str, Any] = {"name": settings.name, "config_hash": config_hash(names.identity(own))}
    if "name" in manifest:  # keeps the name that an older version gave
        known["config_hash"] = manifest["config_hash"]
    if settings.root.ckpt_path == own["ckpt_path"] or not isinstance(manifest.get("inputs"), Mapping):
        return known
    for change in Inputs().changes({"code": manifest.get("code")}, settings):
        print_note(f"{change.what} has changed since {run.path} began")
    return {**known, **{key: manifest.get(key, {}) for key in ("inputs", "code")}}
