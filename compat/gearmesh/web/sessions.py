"""Signs sessions: a session is a cookie that names the user until it expires, with a CSRF token."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
from typing import Final, NamedTuple

__all__ = ["SESSION_TTL_S", "Session", "Sessions"]

#: Seconds after which a session expires, so that the user must sign in again.
SESSION_TTL_S: Final = 12 * 3600
#: Longest value of a cookie, in characters, that is checked.
MAX_COOKIE_CHARS: Final = 2000


class Session(NamedTuple):
    """Holds the session of one browser: the user and the time of expiry.

    Attributes:
        user: the name of the user, for the audit log.
        nonce: random digits, from which the CSRF token is made.
        expires: the time of expiry, in unix seconds.
    """

    user: str
    nonce: str
    expires: int


class Sessions:
    """Signs sessions and reads them again.

    Args:
        secret: the text from which the key is made. Sessions survive a restart with the same text, and end with another
            one, such as a new token. ``""``: the key is random, so sessions end with the process.
        way: the way of signing in; a session is valid for one way only.
    """

    def __init__(self, secret: str = "", way: str = "token") -> None:
        base = secret.encode() or os.urandom(32)
        self._key = hmac.digest(base, f"gearmesh dashboard session 1 {way}".encode(), hashlib.sha256)

    def issue(self, user: str, now: float) -> str:
        """Make the cookie of a new session."""
        session = Session(user, os.urandom(16).hex(), int(now) + SESSION_TTL_S)
        name = base64.urlsafe_b64encode(session.user.encode()).decode()
        body = f"{session.expires}.{session.nonce}.{name}"
        return f"{body}.{self._sign('session', body)}"

    def read(self, cookie: str, now: float) -> Session | None:
        """Read the session in a cookie; None if it is not signed with this key, or has expired."""
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
        """The CSRF token for the forms of this session."""
        return self._sign("csrf", session.nonce)

    def csrf_fits(self, session: Session, given: str) -> bool:
        """True if ``given`` is the CSRF token of this session."""
        return self._same(given, self.csrf(session))

    def _sign(self, purpose: str, text: str) -> str:
        return hmac.digest(self._key, f"{purpose}:{text}".encode(), hashlib.sha256).hex()

    @staticmethod
    def _same(one: str, two: str) -> bool:
        return hmac.compare_digest(one.encode(errors="replace"), two.encode(errors="replace"))
