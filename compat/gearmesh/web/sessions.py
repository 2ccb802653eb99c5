"""Signed sessions: a cookie that names the user until it expires, and the CSRF token that belongs to it."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
from typing import Final, NamedTuple

__all__ = ["SESSION_TTL_S", "Session", "Sessions"]

#: Seconds after which a user signs in again.
SESSION_TTL_S: Final = 12 * 3600
#: Characters of a cookie's value that are read at all.
MAX_COOKIE_CHARS: Final = 2000


class Session(NamedTuple):
    """Holds the session of one browser: the user, and when it ends.

    Attributes:
        user: the name of the user, for the audit log.
        nonce: random digits; the CSRF token is made from them.
        expires: unix seconds.
    """

    user: str
    nonce: str
    expires: int


class Sessions:
    """Signs sessions and reads them again.

    Args:
        secret: the key is made from it. Sessions stay valid over a restart with the same one; another one, such as a
            new token, ends all. ``""``: a random key, so sessions end with the process.
        way: the way of signing in; a session of one way is none of another's.
    """

    def __init__(self, secret: str = "", way: str = "token") -> None:
        base = secret.encode() or os.urandom(32)
        self._key = hmac.digest(base, f"gearmesh dashboard session 1 {way}".encode(), hashlib.sha256)

    def issue(self, user: str, now: float) -> str:
        """The cookie of a new session."""
        session = Session(user, os.urandom(16).hex(), int(now) + SESSION_TTL_S)
        name = base64.urlsafe_b64encode(session.user.encode()).decode()
        body = f"{session.expires}.{session.nonce}.{name}"
        return f"{body}.{self._sign('session', body)}"

    def read(self, cookie: str, now: float) -> Session | None:
        """The session in a cookie; None if it is not signed with this key, or has expired."""
        body, _, signature = cookie.rpartition(".")
        if len(cookie) > MAX_COOKIE_CHARS or not self._same(signature, self._sign("session", body)):
            return None
        try:
            expires, nonce, name = body.split(".")
            user = base64.urlsafe_b64decode(name).decode()
        except (ValueError, binascii.Error):
            return None
        session = Session(user, nonce, int(expires))
        return session if session.expires > now else None

    def csrf(self, session: Session) -> str:
        """The token that a form of this session carries."""
        return self._sign("csrf", session.nonce)

    def csrf_fits(self, session: Session, given: str) -> bool:
        """True if a form carried the token of this session."""
        return self._same(given, self.csrf(session))

    def _sign(self, purpose: str, text: str) -> str:
        return hmac.digest(self._key, f"{purpose}:{text}".encode(), hashlib.sha256).hex()

    @staticmethod
    def _same(one: str, two: str) -> bool:
        return hmac.compare_digest(one.encode(errors="replace"), two.encode(errors="replace"))
