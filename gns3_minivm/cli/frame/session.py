"""What every command gets: the settings, and where events and results go."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from gns3_minivm.base.errors import MiniVMError
from gns3_minivm.base.events import Events
from gns3_minivm.cli.frame.progress import JsonLines, Renderer, choose
from gns3_minivm.settings import Settings

if TYPE_CHECKING:
    from gns3_minivm.ops.context import RunContext

T = TypeVar("T")


class Session:
    """One run of the command line."""

    def __init__(self) -> None:
        self.as_json = False
        self.quiet = False
        self.verbose = False
        self.dry_run = False
        self.settings = Settings.from_environment()
        self.image: dict[str, Any] = {}
        """What the options say about images: the fields of ``ops.context.ImageSettings``."""
        self.kernel: dict[str, Any] = {}
        """What the options say about the kernel: the fields of ``ops.kernels.choice.KernelChoice``."""
        self._renderer: Renderer | None = None

    @property
    def renderer(self) -> Renderer:
        if self._renderer is None:
            self._renderer = choose(as_json=self.as_json, quiet=self.quiet)
        return self._renderer

    def context(self) -> RunContext:
        """What the options say about the circumstances, beside the request."""
        from gns3_minivm.ops.context import ImageSettings, RunContext
        from gns3_minivm.ops.kernels.choice import KernelChoice

        return RunContext(
            settings=self.settings,
            image=ImageSettings(**self.image),
            kernel=KernelChoice(**self.kernel),
            events=Events(self.renderer),
            dry_run=self.dry_run,
        )

    def perform(self, operation: Callable[[RunContext], Awaitable[T]]) -> T:
        """Run an operation of ``ops`` to its end; SIGTERM stops it as Ctrl-C does."""

        async def cancellable() -> T:
            task = asyncio.current_task()
            assert task is not None
            loop = asyncio.get_running_loop()
            loop.add_signal_handler(signal.SIGTERM, task.cancel)
            return await operation(self.context())

        try:
            return asyncio.run(cancellable())
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None
        finally:
            self.renderer.close()

    def show(self, document: dict[str, Any], text: str) -> None:
        """Print a result: the document with ``--json``, else the text."""
        self.announce({"event": "result", **document}, text)

    def announce(self, document: dict[str, Any], text: str) -> None:
        """Print what is going to be done, while the operation is under way."""
        if isinstance(self.renderer, JsonLines):
            self.renderer.write(document)
        elif text:
            with self.renderer.aside():
                click.echo(text)

    def complain(self, text: str) -> None:
        """Print the errors beside a result that was shown; with ``--json`` the result says it."""
        if text and not isinstance(self.renderer, JsonLines):
            with self.renderer.aside():
                click.echo(text, err=True)

    def show_error(self, error: MiniVMError) -> None:
        self.renderer.close()
        if isinstance(self.renderer, JsonLines):
            self.renderer.write({"event": "error", **error.as_dict()})
            return
        click.echo(f"error: {error.message}", err=True)
        if error.hint:
            click.echo(f"hint: {error.hint}", err=True)
