"""The one tree of errors, ordered by whose turn it is to act.

::

    MiniVMError
    ├── UserError              the user's input
    │   ├── UsageError         a wrong option or argument                       exit status 2
    │   ├── ConfigError        a wrong configuration or manifest file           exit status 2
    │   └── ImageNotFoundError  no image or appliance has this name
    ├── ImageError             the image's data
    │   ├── DamagedImageError  truncated, wrong digest, or not what it claims to be
    │   ├── ArchitectureError  made for another kind of CPU
    │   └── DiskTooSmallError  the image does not fit the disk's size
    ├── HostError              this machine
    │   ├── EngineError        the Docker engine is unreachable, or refuses
    │   ├── RegistryError      a registry is unreachable, or refuses
    │   ├── BuildError         an appliance's Dockerfile fails
    │   ├── PackageError       a kernel package is unavailable or unreadable
    │   ├── ToolError          a program is missing or fails
    │   ├── DiskFullError      no space left, or no permission to write
    │   └── GuestError         a guest does not start or answer
    ├── ServerError            a GNS3 server
    │   ├── ConnectError       nothing answers, or TLS fails
    │   ├── NotGNS3Error       something answers, but it is not a GNS3 server
    │   ├── UnsupportedServerError  too old, or lacks what is needed
    │   ├── LoginError         wrong or missing credentials (401)
    │   ├── ForbiddenError     the user lacks a right (403)
    │   ├── NotFoundError      404
    │   ├── ConflictError      409, or a foreign object of the same name
    │   ├── RejectedError      any other refusal of a request (400, 413, 422 ...)
    │   ├── ServerFaultError   5xx, or a reply that makes no sense
    │   ├── UploadError        the server received something other than what was sent
    │   └── NodeError          a node does not start, or exits at once
    └── BugError               a defect of gns3-minivm itself

Every error has a stable ``code`` (for scripts, and the key of docs/reference/errors.md), a message that names the
object, the value seen and the value allowed, and a hint that says what to run or to change.  Foreign exceptions are
wrapped where they enter.  Nothing below ``cli`` ends the process.
"""

from __future__ import annotations


class MiniVMError(Exception):
    """Base of all errors; ``exit_status`` is what the command line ends with."""

    code = "error"
    exit_status = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def as_dict(self) -> dict[str, str]:
        """The error as ``--json`` shows it: keys ``code``, ``message``, ``hint``."""
        return {"code": self.code, "message": self.message, "hint": self.hint}


class UserError(MiniVMError):
    code = "user"


class UsageError(UserError):
    code = "usage"
    exit_status = 2


class ConfigError(UserError):
    code = "config"
    exit_status = 2


class ImageNotFoundError(UserError):
    code = "image-not-found"


class ImageError(MiniVMError):
    code = "image"


class DamagedImageError(ImageError):
    code = "image-damaged"


class ArchitectureError(ImageError):
    code = "image-architecture"


class DiskTooSmallError(ImageError):
    code = "disk-too-small"


class HostError(MiniVMError):
    code = "host"


class EngineError(HostError):
    code = "engine"


class RegistryError(HostError):
    code = "registry"


class BuildError(HostError):
    code = "build"


class PackageError(HostError):
    code = "package"


class ToolError(HostError):
    code = "tool"


class DiskFullError(HostError):
    code = "disk-full"


class GuestError(HostError):
    code = "guest"


class ServerError(MiniVMError):
    code = "server"


class ConnectError(ServerError):
    code = "server-unreachable"


class NotGNS3Error(ServerError):
    code = "server-not-gns3"


class UnsupportedServerError(ServerError):
    code = "server-unsupported"


class LoginError(ServerError):
    code = "server-login"


class ForbiddenError(ServerError):
    code = "server-forbidden"


class NotFoundError(ServerError):
    code = "server-not-found"


class ConflictError(ServerError):
    code = "server-conflict"


class RejectedError(ServerError):
    code = "server-rejected"


class ServerFaultError(ServerError):
    code = "server-fault"


class UploadError(ServerError):
    code = "server-upload"


class NodeError(ServerError):
    code = "server-node"


class BugError(MiniVMError):
    code = "bug"
