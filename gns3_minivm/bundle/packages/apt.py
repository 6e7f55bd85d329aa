"""Packages from apt, with the user's own sources and keys, without root rights and without touching the system.

apt gets a state and a cache folder of our own (apt.conf(5)), and no hooks of the system's configuration run.  Its
lists are always brought up to date first: a kernel that the mirror has replaced could not be loaded any more.
apt verifies the lists' signatures and the packages' digests; the digests are verified again here.
"""

from __future__ import annotations

import re
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from gns3_minivm.base.architecture import X86_64
from gns3_minivm.base.cache import Cache
from gns3_minivm.base.command import run
from gns3_minivm.base.errors import PackageError
from gns3_minivm.base.events import Events, Step
from gns3_minivm.bundle.model import PackageRecord
from gns3_minivm.bundle.packages.deb import parse_control, sha256_of
from gns3_minivm.bundle.packages.package_set import (
    BUSYBOX,
    DEB_HINT,
    E2FSCK,
    DebPackage,
    KernelPart,
    Package,
    PackageSet,
    PackageSource,
    ResolvedPackages,
    deb_hint,
    make_record,
)

KERNELS: Mapping[KernelPart, tuple[str, ...]] = {
    KernelPart.IMAGE: X86_64.kernel_packages,
    KernelPart.SOURCE: ("linux-source",),
    KernelPart.NONE: (),
}
"""The packages that stand for the newest kernel for virtual machines (Debian's, Ubuntu's), or for its source."""
_WHAT = {KernelPart.IMAGE: "kernel for virtual machines", KernelPart.SOURCE: "source of a kernel"}

_CONFIGURATION = """\
// apt for gns3-minivm: the system's sources and keys, but lists and downloads here.
Dir::State "{folder}/state";
Dir::State::lists "lists/";
Dir::State::status "/dev/null";
Dir::State::extended_states "extended_states";
Dir::Cache "{folder}/cache";
Dir::Cache::archives "archives/";
Dir::Cache::pkgcache "pkgcache.bin";
Dir::Cache::srcpkgcache "srcpkgcache.bin";
Dir::Log "{folder}/log";
#clear APT::Architectures;
APT::Architecture "{architecture}";
APT::Architectures {{ "{architecture}"; }};
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear APT::Update::Post-Invoke-Stats;
#clear Acquire::IndexTargets;
Acquire::IndexTargets::deb::Packages {{
  MetaKey "$(COMPONENT)/binary-$(ARCHITECTURE)/Packages";
  flatMetaKey "Packages";
  ShortDescription "Packages";
  Description "$(RELEASE)/$(COMPONENT) $(ARCHITECTURE) Packages";
  flatDescription "$(RELEASE) Packages";
  Optional "false";
}};
Acquire::Languages "none";
Acquire::Retries "2";
"""
_DEPENDENCY = re.compile(r"(?P<name>[a-z0-9][a-z0-9+.-]+)(?::\w+)?(?:\s*\(\s*=\s*(?P<version>[^)\s]+)\s*\))?")
_STATUS = re.compile(r"dlstatus:\d+:(?P<percent>[0-9.]+):")


class AptSource(PackageSource):
    """The newest kernel (or its source), busybox and e2fsck that the user's apt sources offer."""

    def __init__(self, cache: Cache, *, kernel: KernelPart = KernelPart.IMAGE) -> None:
        self._cache = cache
        self._kernel = kernel

    @contextmanager
    def resolve(self, events: Events) -> Iterator[ResolvedPackages]:
        if not has_apt():
            raise PackageError(
                "this machine has no apt to get the kernel packages with",
                hint=f"{deb_hint(self._kernel)} Or install a ready kernel: `pip install gns3-minivm-kernel`.",
            )
        with self._cache.hold("apt") as folder:
            apt = HostApt(folder)
            with events.step("Asking apt for the kernel packages", total=100) as step:
                complaint = apt.update(step)
                packages = choose_from(apt, complaint, kernel=self._kernel)
                shown = packages.kernel or (packages.busybox, packages.e2fsck)
                step.detail = ", ".join(f"{record.name} {record.version}" for record in shown)
            yield AptPackages(apt, packages)


def has_apt() -> bool:
    """Whether this machine has apt."""
    return bool(shutil.which("apt-get") and shutil.which("apt-cache"))


class Apt(ABC):
    """The questions that apt is asked; the same for the apt of this machine and for any other one."""

    @abstractmethod
    def _run(
        self, program: str, *words: str, folder: Path | None = None, on_line: Callable[[str], bool] | None = None
    ) -> str:
        """Run a program of apt's and return what it wrote.  Raises PackageError if it fails."""

    @abstractmethod
    def download(self, records: list[PackageRecord], folder: Path, step: Step) -> None:
        """Bring packages to ``folder`` of this machine, by their file names."""

    def update(self, step: Step) -> str:
        """Bring the lists up to date; returns what apt complains of.

        A source that fails is no reason to give up: it need not be the one with the packages.
        """
        try:
            said = self._run("apt-get", "-q", "-o", "APT::Status-Fd=1", "update", on_line=download_progress(step, 100))
        except PackageError as error:
            return error.message
        return "\n".join(dict.fromkeys(line for line in said.splitlines() if line.startswith(("E:", "W:", "Err:"))))

    def show(self, name: str, version: str = "") -> Mapping[str, str] | None:
        """The fields of a package's candidate version, or None if apt does not know it."""
        words = ("--no-all-versions", "show", f"{name}={version}" if version else name)
        try:
            said = self._run("apt-cache", "-q", *words)
        except PackageError:
            return None
        paragraphs = [parse_control(part) for part in said.split("\n\n")]
        return next((fields for fields in paragraphs if "SHA256" in fields and "Package" in fields), None)


class HostApt(Apt):
    """This machine's apt with lists and downloads in ``folder``, which this process holds."""

    def __init__(self, folder: Path) -> None:
        self._configuration = folder / "apt.conf"
        self._words = ("-c", str(self._configuration))
        for path in ("state/lists/partial", "cache/archives/partial", "log"):
            (folder / path).mkdir(parents=True, exist_ok=True)
        self._configuration.write_text(_CONFIGURATION.format(folder=folder.resolve(), architecture=X86_64.debian))

    def download(self, records: list[PackageRecord], folder: Path, step: Step) -> None:
        wanted = [f"{record.name}={record.version}" for record in records]
        total = sum(record.size_bytes for record in records)
        self._run(
            "apt-get", "-q", "-o", "APT::Status-Fd=1", "download", *wanted,
            folder=folder, on_line=download_progress(step, total),
        )  # fmt: skip

    def _run(
        self, program: str, *words: str, folder: Path | None = None, on_line: Callable[[str], bool] | None = None
    ) -> str:
        return run(
            (program, *self._words, *words),
            error=PackageError,
            hint="Check this machine's network and apt sources (/etc/apt), or name package files with --deb.",
            folder=folder,
            environment={"LC_ALL": "C.UTF-8"},
            on_line=on_line,
        )


class AptPackages(ResolvedPackages):
    """Packages that apt offers, and brings when they are needed."""

    def __init__(self, apt: Apt, packages: PackageSet) -> None:
        self._apt = apt
        self.packages = packages

    def fetch(self, folder: Path, events: Events) -> Mapping[str, Package]:
        records = list(self.packages.all)
        # apt, when it is root, loads as a user of its own.
        folder.chmod(0o755)
        total = sum(record.size_bytes for record in records)
        with events.step("Loading the kernel packages", total=total, unit="bytes") as step:
            self._apt.download(records, folder, step)
        paths = {record.name: folder / record.filename for record in records}
        for record in records:
            path = paths[record.name]
            digest = sha256_of(path)
            if digest != record.sha256:
                raise PackageError(
                    f"{record.filename} has the sha256 {digest}, but apt's list says {record.sha256}",
                    hint="Try again later: the mirror is being updated, or something on the way changes files.",
                )
        return {name: DebPackage(path) for name, path in paths.items()}


def choose_from(apt: Apt, complaint: str, *, kernel: KernelPart) -> PackageSet:
    """The packages that apt offers now; ``complaint`` is what it said when it was asked for newer lists."""
    records = choose_kernel(apt, complaint, kernel) if kernel is not KernelPart.NONE else ()
    others = []
    for name in (BUSYBOX, E2FSCK):
        found = apt.show(name)
        if found is None:
            raise PackageError(
                _with_complaint(f"apt offers no package {name}", complaint), hint=_sources_hint(complaint)
            )
        others.append(_record(found))
    return PackageSet(records, *others)


def choose_kernel(apt: Apt, complaint: str, kernel: KernelPart) -> tuple[PackageRecord, ...]:
    """The packages of the newest kernel, or of its source.  Raises PackageError if apt has none."""
    names = KERNELS[kernel]
    for name in names:
        if fields := apt.show(name):
            return tuple(record for record in _closure(apt, fields, kernel) if record.name not in names)
    raise PackageError(
        _with_complaint(f"apt offers no {_WHAT[kernel]} ({' or '.join(names)})", complaint),
        hint=_sources_hint(complaint),
    )


def _closure(apt: Apt, fields: Mapping[str, str], kernel: KernelPart) -> list[PackageRecord]:
    """The package with these fields and the kernel packages that it depends on."""
    records = [_record(fields)]
    pending = [fields]
    while pending:
        depends = pending.pop().get("Depends", "")
        for name, version in _kernel_dependencies(depends, kernel):
            if name in {record.name for record in records}:
                continue
            found = apt.show(name, version)
            if found is None:
                wanted = f"{name} {version}".strip()
                raise PackageError(f"apt offers no {wanted}, which {fields['Package']} needs", hint=deb_hint(kernel))
            records.append(_record(found))
            pending.append(found)
    return records


def _kernel_dependencies(depends: str, kernel: KernelPart) -> list[tuple[str, str]]:
    """(name, exact version or "") of the kernel packages in a Depends field; of alternatives the first."""
    found = []
    for clause in depends.replace("\n", " ").split(","):
        match = _DEPENDENCY.match(clause.partition("|")[0].strip())
        if match and match["name"].startswith(kernel.prefixes):
            found.append((match["name"], match["version"] or ""))
    return found


def _record(fields: Mapping[str, str]) -> PackageRecord:
    version, architecture = fields.get("Version", ""), fields.get("Architecture", "")
    return make_record(
        fields,
        # As apt-get download names it; the mirror's own name may differ.
        filename=f"{fields['Package']}_{version.replace(':', '%3a')}_{architecture}.deb",
        sha256=fields["SHA256"].lower(),
        size_bytes=int(fields.get("Size", "0")),
    )


def download_progress(step: Step, total: int) -> Callable[[str], bool]:
    """Count what apt tells on its status lines (APT::Status-Fd) as a part of ``total``."""
    done = 0

    def see(line: str) -> bool:
        nonlocal done
        match = _STATUS.match(line)
        if match:
            now = int(float(match["percent"]) / 100 * total)
            if now > done:
                step.advance(now - done)
                done = now
        return match is not None

    return see


def _with_complaint(message: str, complaint: str) -> str:
    return f"{message}; apt says:\n{complaint}" if complaint else message


def _sources_hint(complaint: str) -> str:
    if complaint:
        return "Check this machine's network and apt sources (/etc/apt), or name package files with --deb."
    return (
        f"Check that these are the sources of Debian, or of Ubuntu with universe, for {X86_64.debian}. "
        f"If not: {DEB_HINT}"
    )
