"""The user's settings: environment variables, and the GNS3 server's own configuration on this machine."""

from __future__ import annotations

import configparser
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote


@dataclass(frozen=True)
class Settings:
    """Where things are on this machine."""

    cache_root: Path
    """Finished disks and kernel bundles; may be deleted at any time."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """GNS3_MINIVM_CACHE, else XDG_CACHE_HOME/gns3-minivm, else ~/.cache/gns3-minivm."""
        values = os.environ if environment is None else environment
        if root := values.get("GNS3_MINIVM_CACHE"):
            return cls(Path(root).expanduser())
        base = values.get("XDG_CACHE_HOME") or "~/.cache"
        return cls(Path(base).expanduser() / "gns3-minivm")


def local_server_urls(home: Path | None = None) -> list[str]:
    """URLs, with credentials, of the GNS3 servers that this user's GNS3 configuration names, newest version first.

    Read from ``~/.config/GNS3/VERSION/gns3_server.conf`` (sections Server and Controller), as GNS3's own programs do.
    """
    urls: list[str] = []
    folders = (home or Path.home()) / ".config" / "GNS3"
    for path in sorted(folders.glob("*/gns3_server.conf"), reverse=True):
        parser = configparser.ConfigParser(interpolation=None)
        try:
            parser.read(path, encoding="utf-8")
        except (OSError, UnicodeDecodeError, configparser.Error):
            continue  # not ours to judge; the server itself will complain
        server = dict(parser["Server"]) if parser.has_section("Server") else {}
        controller = dict(parser["Controller"]) if parser.has_section("Controller") else {}
        user = server.get("user") or controller.get("default_admin_username") or ""
        password = server.get("password") or controller.get("default_admin_password") or ""
        host = server.get("host", "127.0.0.1")
        host = "127.0.0.1" if host in ("", "0.0.0.0", "::", "localhost") else host
        login = f"{quote(user, safe='')}:{quote(password, safe='')}@" if user else ""
        scheme = server.get("protocol", "http")
        url = f"{scheme}://{login}{f'[{host}]' if ':' in host else host}:{server.get('port', '3080')}"
        if url not in urls:
            urls.append(url)
    return urls
