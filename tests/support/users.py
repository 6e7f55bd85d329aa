"""Users of API v3 with few rights, made through the API as an administrator would."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from gns3_minivm.gns3.address import parse_address
from gns3_minivm.gns3.detect import connect
from tests.support.gns3 import GNS3Process


async def poor_user(process: GNS3Process, roles: Sequence[str] = ()) -> str:
    """Make a user with these roles on everything; the server's URL with his name and password."""
    name, password = f"poor-{uuid.uuid4().hex[:8]}", uuid.uuid4().hex
    async with await connect(parse_address(process.url)) as server:
        user = await server._object("POST", "/access/users", "make a user", {"username": name, "password": password})
        known = {role["name"]: role["role_id"] for role in await server._list("/access/roles", "list the roles")}
        for role in roles:
            entry = {"ace_type": "user", "user_id": user["user_id"], "role_id": known[role], "path": "/"}
            await server._object("POST", "/access/acl", "give a role", entry)
    return process.bare_url.replace("://", f"://{name}:{password}@")
