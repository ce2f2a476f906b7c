"""The page: live pictures and figures for browsers, over HTTP. What `--sink web:8080` and `edgezoo serve` show.

hub        the newest frame of every source, and who waits for one          figures    what is told beside them
app        the routes: the page, what it asks for, /metrics                 doors      who may come in
server     a port, a thread, an end                                         patience   an end to slow clients
"""

from __future__ import annotations

from edgezoo.optional import require


def check_installed() -> None:
    """Raises MissingDependency, which says what brings a web server."""
    for package in ("starlette", "uvicorn", "prometheus_client"):
        require(package)
