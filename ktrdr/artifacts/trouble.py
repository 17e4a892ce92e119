"""When files cannot be written or read: what that means, and what to do."""

import errno

from ktrdr.errors import WorkspaceUnusable

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_FORBIDDEN = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


def storage_trouble(error: OSError) -> WorkspaceUnusable | None:
    """Return what a failed read or write means for the workspace, None where it means something else.

    The reason is `disk_full`, `workspace_read_only` or `disk_broken`.
    """
    place = f" {error.filename!r}" if error.filename else ""
    words = f"cannot use{place}: {error.strerror}"
    if error.errno in _FULL:
        return WorkspaceUnusable(
            f"{words}. The disk, or what this user may use of it, is full: make room, for instance with `ktrdr "
            "operations prune`, and try again; nothing was half-written",
            reason="disk_full",
        )
    if error.errno in _FORBIDDEN:
        return WorkspaceUnusable(
            f"{words}. Check who owns the workspace and how it is mounted, or choose another with --workspace or "
            "KTRDR_WORKSPACE",
            reason="workspace_read_only",
        )
    if error.errno == errno.EIO:
        return WorkspaceUnusable(f"{words}. Check the disk; `dmesg` may say more", reason="disk_broken")
    return None
