"""The resident's page: its files, as they are shipped, under a policy that lets nothing else in."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final

from aiohttp import web

TYPES: Final = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
}
"""By suffix; a file of another kind is not served."""
HEADERS: Final = {
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self' blob:",
            "connect-src 'self'",
            "manifest-src 'self'",
            "worker-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types worker",
        )
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    # Asked for again at each visit, and answered in a few bytes where nothing changed.
    "Cache-Control": "no-cache",
}


@dataclass(frozen=True, slots=True)
class PageFile:
    """One file, read when the gateway starts."""

    body: bytes
    content_type: str

    @property
    def etag(self) -> str:
        """Changes with the content."""
        return sha256(self.body).hexdigest()[:32]

    async def answer(self, request: web.Request) -> web.Response:
        """The file, or 304 where the browser has it."""
        if self.etag in [tag.value for tag in request.if_none_match or ()]:
            response = web.Response(status=304, headers=HEADERS)
        else:
            response = web.Response(
                body=self.body, content_type=self.content_type, charset="utf-8", headers=HEADERS
            )
        response.etag = self.etag
        return response


def page_files() -> Mapping[str, PageFile]:
    """Every shipped file by its path below the page's root."""
    found: dict[str, PageFile] = {}
    _collect(files("nodes.resident") / "web", "", found)
    return found


def _collect(folder: Traversable, prefix: str, found: dict[str, PageFile]) -> None:
    for entry in folder.iterdir():
        content_type = TYPES.get("." + entry.name.rpartition(".")[2])
        if entry.is_dir():
            _collect(entry, f"{prefix}{entry.name}/", found)
        elif content_type is not None:
            found[prefix + entry.name] = PageFile(entry.read_bytes(), content_type)


def page_routes() -> list[web.RouteDef]:
    """One route for each file, ``/`` for its start, and ``/files.json`` for the service worker."""
    shipped = page_files()
    listed = PageFile(json.dumps(sorted(shipped)).encode(), TYPES[".json"])
    routes = [web.get(f"/{name}", file.answer) for name, file in sorted(shipped.items())]
    return [
        web.get("/", shipped["index.html"].answer),
        web.get("/files.json", listed.answer),
        *routes,
    ]
