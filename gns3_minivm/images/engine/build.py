"""Builds an appliance's Docker context with the engine, once for each state of the context.

The result is tagged ``gns3-minivm/<name>:<12 hex of the context's content hash>``, so whether it exists is one
question to the engine.
"""

from __future__ import annotations

import re
import tempfile
from collections import deque
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gns3_minivm.base.errors import BuildError, ImageNotFoundError
from gns3_minivm.base.events import Events
from gns3_minivm.images.engine.client import BuildOptions, Engine
from gns3_minivm.images.engine.context import Entry, content_hash, scan, write_context

REPOSITORY = "gns3-minivm"
OUTSIDE = frozenset({"appliance.yaml", "symbol.svg"})
"""These describe the template, not what is in the image: a change to them causes no build."""

_LAST_LINES = 12
_STEP = re.compile(r"Step (\d+)/(\d+) : (.*)", re.DOTALL)
_COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_NO_WAY_OUT = "temporary failure (in name resolution|resolving)|could not resolve|network is unreachable|bad address"
_NO_BASE = (
    "pull access denied|toomanyrequests|manifest( for .*)? (unknown|not found)|i/o timeout|no such host"
    "|connection refused|client.timeout exceeded"
)
_HINTS = {
    _NO_WAY_OUT: "Containers of this engine cannot reach the network: let the build use this machine's network, "
    "`--build-network host`.",
    _NO_BASE: "The base image is unavailable: run `docker pull` by hand to see why (network, proxy, `docker login`).",
    "no space left": "`docker system prune` frees space on the engine's disk.",
}


@dataclass(frozen=True)
class Build:
    """An appliance to build: its name and the folder that holds its Dockerfile."""

    name: str
    folder: Path


def build_image(engine: Engine, build: Build, options: BuildOptions, events: Events) -> str:
    """Build an appliance unless the engine has the result; returns the image's tag (blocking).

    Raises BuildError with the failed step and the last lines, EngineError, ConfigError.
    """
    entries = scan(build.folder, without=OUTSIDE)
    tag = _tag(build, entries)
    if not (options.rebuild or options.pull) and _exists(engine, tag):
        return tag
    with events.step(f"Building {build.name}") as step, tempfile.TemporaryFile() as context:
        write_context(entries, context)
        context.seek(0)
        steps = 0
        with closing(engine.build(context, tag, options)) as messages:
            for number, total in _follow(build.name, messages):
                if not steps:
                    step.expect(total)
                step.advance(number - steps)
                steps = number
        step.detail = tag
    return tag


def find_built(engine: Engine, build: Build) -> str | None:
    """The tag of the finished image if the engine has it, else None."""
    tag = _tag(build, scan(build.folder, without=OUTSIDE))
    return tag if _exists(engine, tag) else None


def _tag(build: Build, entries: list[Entry]) -> str:
    return f"{REPOSITORY}/{build.name.lower()}:{content_hash(entries)[:12]}"


def _exists(engine: Engine, tag: str) -> bool:
    try:
        engine.inspect(tag)
    except ImageNotFoundError:
        return False
    return True


def _follow(name: str, messages: Iterable[Any]) -> Iterable[tuple[int, int]]:
    """Read the engine's messages; yields (step, steps) at every step of the Dockerfile."""
    current = "before its first step"
    lines: deque[str] = deque(maxlen=_LAST_LINES)
    for message in messages:
        if "error" in message:
            raise _failure(name, current, lines, str(message["error"]))
        text = str(message.get("stream") or "")
        started = _STEP.match(text)
        if started:
            current = f'in step {started[1]} of {started[2]}, "{" ".join(started[3].split())}"'
            yield int(started[1]), int(started[2])
        else:
            lines.extend(line for line in text.splitlines() if line.strip())


def _failure(name: str, current: str, lines: Iterable[str], error: str) -> BuildError:
    said = [_COLOURS.sub("", line) for line in lines]
    everything = "\n".join([*said, error]).lower()
    found = [hint for pattern, hint in _HINTS.items() if re.search(pattern, everything)]
    output = "".join(f"\n  | {line}" for line in said)
    return BuildError(
        f"building the appliance {name} failed {current}: {error}{output}",
        hint=found[0] if found else "The lines above are the end of the step's output.",
    )
