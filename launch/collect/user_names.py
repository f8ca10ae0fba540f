"""File names for users: a user_hash is input and may be anything; it never leaves its directory."""

import hashlib
import re

_PLAIN = re.compile(r"[A-Za-z0-9_-]{1,64}")
_OURS = re.compile(r"user-[0-9a-f]{32}")
_NUMBERED = {f"{device}{digit}" for device in ("com", "lpt") for digit in range(10)}
_RESERVED = {"con", "prn", "aux", "nul"} | _NUMBERED  # on Windows


class UserNames:
    """Gives every user of a run a file name of its own, on file systems that fold case too."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def name(self, user_hash: str) -> str:
        """`<user_hash>.json` where that is a safe and free name, else `user-<digest of it>.json`.

        The same users in the same order get the same names.
        """
        folded = user_hash.lower()
        is_plain = _PLAIN.fullmatch(user_hash) and not _OURS.fullmatch(folded) and folded not in _RESERVED
        if is_plain and folded not in self._taken:
            self._taken.add(folded)
            return f"{user_hash}.json"
        digest = hashlib.blake2b(user_hash.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        return f"user-{digest}.json"
