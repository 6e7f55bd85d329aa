"""The user's settings: environment variables, and the GNS3 server's own configuration on this machine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from gns3_minivm.base.cache import Cache
from gns3_minivm.base.errors import ConfigError
from gns3_minivm.base.sizes import parse_bytes

CACHE_SIZE_DEFAULT = "20G"
_NO_LIMIT = "unlimited"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Where things are on this machine."""

    cache_root: Path
    """Finished disks and kernel bundles; may be deleted at any time."""
    cache_size: str = CACHE_SIZE_DEFAULT
    """How much of them is kept, as in "20G"; "unlimited" for all."""
    appliances: tuple[Path, ...] = ()
    """Folders with the user's own appliances that were named; they come before all others."""
    user_appliances: Path = Path("~/.local/share/gns3-minivm/appliances")
    """The folder with the user's own appliances where none was named; it need not be there."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """GNS3_MINIVM_CACHE, else XDG_CACHE_HOME/gns3-minivm, else ~/.cache/gns3-minivm; GNS3_MINIVM_CACHE_SIZE.

        Appliances: the folders of GNS3_MINIVM_APPLIANCES, and XDG_DATA_HOME/gns3-minivm/appliances.
        """
        values = os.environ if environment is None else environment
        cache_size = values.get("GNS3_MINIVM_CACHE_SIZE") or CACHE_SIZE_DEFAULT
        caches = Path(values.get("XDG_CACHE_HOME") or "~/.cache")
        root = Path(values.get("GNS3_MINIVM_CACHE") or caches / "gns3-minivm").expanduser()
        named = filter(None, (values.get("GNS3_MINIVM_APPLIANCES") or "").split(os.pathsep))
        data = Path(values.get("XDG_DATA_HOME") or "~/.local/share")
        return cls(
            cache_root=root,
            cache_size=cache_size,
            appliances=tuple(Path(folder).expanduser() for folder in named),
            user_appliances=(data / "gns3-minivm" / "appliances").expanduser(),
        )

    @property
    def appliance_folders(self) -> tuple[Path, ...]:
        """Where the user's own appliances are, the most important folder first."""
        own = self.user_appliances.expanduser()
        return (*self.appliances, own) if own.is_dir() else self.appliances

    @property
    def cache_limit_bytes(self) -> int | None:
        """None for no limit.  Raises ConfigError for a malformed size."""
        return parse_cache_size(self.cache_size)

    def open_cache(self) -> Cache:
        """The cache, with its limit.  Raises ConfigError as ``cache_limit_bytes`` does."""
        return Cache(self.cache_root, self.cache_limit_bytes)


def parse_cache_size(text: str) -> int | None:
    """Bytes of a size such as ``20G``, None for ``unlimited``.  Raises ConfigError for anything else."""
    if text == _NO_LIMIT:
        return None
    size_bytes = parse_bytes(text)
    if size_bytes is None:
        raise ConfigError(
            f"the cache size {text!r} is not a size",
            hint=f"Write a number and a unit, as in {CACHE_SIZE_DEFAULT}, or {_NO_LIMIT} (GNS3_MINIVM_CACHE_SIZE).",
        )
    return size_bytes


def local_server_urls(home: Path | None = None) -> list[str]:
    """URLs, with credentials, of the GNS3 servers that this user's GNS3 configuration names, newest version first.

    Read from ``~/.config/GNS3/VERSION/gns3_server.conf`` (sections Server and Controller), as GNS3's own programs do.
    """
    import configparser

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
