"""Templates and symbols, by the same routes below /v2 and /v3."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any
from urllib.parse import quote

from gns3_minivm.base.errors import BugError, ConflictError, NotFoundError, ServerFaultError
from gns3_minivm.gns3 import messages, replies
from gns3_minivm.gns3.messages import checked
from gns3_minivm.gns3.model import CREATE_ONLY_FIELDS, QemuTemplate, ServerTemplate
from gns3_minivm.gns3.routes import Routes
from gns3_minivm.template_settings.table import gns3_names

"""Our names of template fields where GNS3 has others."""


class TemplateRoutes(Routes):
    """A server's templates, and the symbols that they show."""

    template_model: type[messages.TemplateCreate]
    """What the API takes for a new template."""
    have_template_versions: bool
    """Whether templates have a ``version``."""

    # Templates

    async def templates(self) -> list[ServerTemplate]:
        """All templates, also the built-in ones and those of other emulators."""
        return [replies.template(item) for item in await self._list("/templates", "list the templates")]

    async def template(self, template_id: str) -> ServerTemplate | None:
        """One template, or None."""
        try:
            answer = await self._object("GET", f"/templates/{quote(template_id)}", f"read the template {template_id}")
        except NotFoundError:
            return None
        return replies.template(answer)

    async def template_settings(self, template_id: str) -> Mapping[str, Any]:
        """A template of any kind as the server has it, by GNS3's names."""
        return await self._object("GET", f"/templates/{quote(template_id)}", f"read the template {template_id}")

    def check_template(self, template: QemuTemplate) -> None:
        """Raise UsageError if the server's API would refuse this template, before anything is sent."""
        self._template_body(template)

    async def create_template(self, template: QemuTemplate) -> ServerTemplate:
        """Create a template with our own id.

        If one of this id exists meanwhile (another agent was faster), that one is returned as it is.
        """
        body = self._template_body(template)
        try:
            answer = await self._object("POST", "/templates", f"create the template {template.name!r}", body)
        except (ConflictError, ServerFaultError):
            # v2 answers 409 and v3 500 to an id that exists; a 500 may also hide a success.
            existing = await self.template(template.template_id)
            if existing is None:
                raise
            return existing
        return replies.template(answer)

    async def update_template(self, template_id: str, changes: Mapping[str, Any]) -> ServerTemplate:
        """Change some fields (QemuTemplate's names) of a template; ids and the compute cannot be changed."""
        if forbidden := CREATE_ONLY_FIELDS & changes.keys():
            raise BugError(f"a template's {', '.join(sorted(forbidden))} cannot be changed")
        values = {gns3_names().get(name, name): value for name, value in changes.items()}
        body = checked(messages.TemplateFields, values, f"template {template_id}")
        action = f"update the template {template_id}"
        return replies.template(await self._object("PUT", f"/templates/{quote(template_id)}", action, body))

    async def delete_template(self, template_id: str) -> None:
        """Remove a template; images and nodes stay as they are."""
        await self._command("DELETE", f"/templates/{quote(template_id)}", f"delete the template {template_id}")

    def _template_body(self, template: QemuTemplate) -> dict[str, Any]:
        values = {gns3_names().get(name, name): value for name, value in asdict(template).items()}
        values |= {"template_type": "qemu", "custom_adapters": []}
        if not (self.have_template_versions and template.version):
            del values["version"]
        return checked(self.template_model, values, f"template {template.name!r}")

    # Symbols

    async def symbol(self, name: str) -> bytes:
        """The picture that the server shows under this name; for a name that it does not have, a picture of its own."""
        route = f"{self._prefix}/symbols/{quote(name)}/raw"
        return await self._transport.send("GET", route, f"read the symbol {name}")

    async def upload_symbol(self, name: str, content: bytes) -> None:
        """Give the server a picture; one of the same name is replaced.  It cannot be deleted."""
        route = f"{self._prefix}/symbols/{quote(name)}/raw"
        # The same bytes twice are the same file, so this POST may be repeated.
        headers = {"Content-Type": "application/octet-stream"}
        await self._transport.send("POST", route, f"upload the symbol {name}", content, headers=headers, repeat=True)
