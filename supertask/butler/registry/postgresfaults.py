"""What errors of PostgreSQL mean, and the way out of each."""

from __future__ import annotations

import sqlalchemy as sa

from supertask.butler.registry.postgresurl import PostgresUrl

__all__ = ["explain"]

_CROWDED = "the server has no connection left: close some, or raise its max_connections"
_BY_STATE = {
    "25006": "the server takes no changes from this user now: it is read-only, or a standby",
    "40P01": "two writers stood in each other's way and this one gave up; nothing of it was kept: try again",
    "40001": "another writer was there first and this one gave up; nothing of it was kept: do it again",
    "55P03": "another client has held what this one needs for 180 s: end it, or try again",
    "42P01": "it lacks a table: it is no registry, or was removed",
    "3F000": "it lacks its schema: it was removed, or the URL names another database",
    "42501": "this user has no right to that: have its owner GRANT it",
    "53100": "the server's disk is full: make room there",
    "53200": "the server is out of memory",
    "22021": "the text holds a character that PostgreSQL cannot keep",
}
_BY_WORDS = {
    "password authentication failed": "the server refused the password",
    "no password supplied": "the server wants a password",
    "no pg_hba.conf entry": "the server lets this user or computer in to no such database",
    "authentication failed": "the server refused this user",
    "permission denied for database": "this user may not use the database",
    "does not exist": "there is no such database or user on the server",
    "connection refused": "no server answers there: is it started, and are host and port right",
    "no such file or directory": "no server answers there: is it started, and is the socket's folder right",
    "could not translate host name": "there is no such host",
    "failed to resolve host": "there is no such host",
    "name or service not known": "there is no such host",
    "timeout expired": "the server does not answer in time: is there a firewall",
    "starting up": "the server is just starting: try again in a moment",
    "shutting down": "the server is being shut down",
    "too many clients": _CROWDED,
    "remaining connection slots": _CROWDED,
    "invalid connection option": "the URL has a parameter that libpq does not know",
    "invalid uri query parameter": "the URL has a parameter that libpq does not know",
    "definition of service": "the service is in no service file",
}
_CONNECTING = ("08", "28", "3D", "53", "57")
"""Classes of errors that come before a connection is there; from some servers they come without a number."""
_LOST = (
    "the connection was lost half-way; what had not been confirmed by then is not in the registry: once "
    "the server is there again, do it again"
)
_WAY_OUT = "; put it into ~/.pgpass (host:port:database:user:password, mode 600) or $PGPASSWORD"


def explain(error: sa.exc.DBAPIError, url: PostgresUrl) -> str:
    """Return what an error means, for people, with the way out where there is one."""
    said = " ".join(str(error.orig).split())
    state = getattr(error.orig, "sqlstate", None) or ""
    lowered = said.lower()
    if state in _BY_STATE:
        meaning = _BY_STATE[state]
    elif error.connection_invalidated or state.startswith("57P"):
        meaning = _LOST
    elif not state or state.startswith(_CONNECTING):
        meaning = next((m for words, m in _BY_WORDS.items() if words in lowered), "")
        if "password" in meaning and not url.has_password:
            meaning += _WAY_OUT
    else:
        meaning = ""
    if url.url.password:
        said = said.replace(str(url.url.password), "***")
    return f"{meaning} ({said})" if meaning else said
