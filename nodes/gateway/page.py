"""The resident's page: its files, as they are shipped, under a policy that lets nothing else in."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final

from aiohttp import web

from ledger.types.genesis import Genesis

TYPES: Final = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
}
"""By suffix; a file of another kind is not served."""
_ORIGIN: Final = re.compile(
    r"(https?://(?:[A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?)(?:/|\Z)"
)
"""Of an address, in letters that can be nothing else in a policy."""


def hospital_origins(genesis: Genesis) -> tuple[str, ...]:
    """Where the hospitals' gateways are: the page may ask them what they say of the chain."""
    addresses = [m.endpoints.gateway for m in genesis.members if m.kind == "hospital"]
    found = (_ORIGIN.match(address) for address in addresses)
    return tuple(match[1] for match in found if match)


def page_headers(origins: Sequence[str]) -> Mapping[str, str]:
    """What guards the page, which may read from this gateway and from ``origins``."""
    policy = (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob:",
        " ".join(("connect-src 'self'", *origins)),
        "manifest-src 'self'",
        "worker-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types worker",
    )
    return {
        "Content-Security-Policy": "; ".join(policy),
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        # The camera reads QR codes, which are decoded in the page.
        "Permissions-Policy": "camera=(self), geolocation=(), microphone=()",
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
    headers: Mapping[str, str]

    @property
    def etag(self) -> str:
        """Changes with the content."""
        return sha256(self.body).hexdigest()[:32]

    async def answer(self, request: web.Request) -> web.Response:
        """The file, or 304 where the browser has it."""
        if self.etag in [tag.value for tag in request.if_none_match or ()]:
            response = web.Response(status=304, headers=self.headers)
        else:
            response = web.Response(
                body=self.body,
                content_type=self.content_type,
                charset="utf-8",
                headers=self.headers,
            )
        response.etag = self.etag
        return response


def page_files(headers: Mapping[str, str]) -> Mapping[str, PageFile]:
    """Every shipped file by its path below the page's root."""
    found: dict[str, PageFile] = {}
    _collect(files("nodes.resident") / "web", "", headers, found)
    return found


def _collect(
    folder: Traversable, prefix: str, headers: Mapping[str, str], found: dict[str, PageFile]
) -> None:
    for entry in folder.iterdir():
        content_type = TYPES.get("." + entry.name.rpartition(".")[2])
        if entry.is_dir():
            _collect(entry, f"{prefix}{entry.name}/", headers, found)
        elif content_type is not None:
            found[prefix + entry.name] = PageFile(entry.read_bytes(), content_type, headers)


def page_routes(origins: Sequence[str]) -> list[web.RouteDef]:
    """One route for each file, ``/`` for its start, and ``/files.json`` for the service worker."""
    headers = page_headers(origins)
    shipped = page_files(headers)
    listed = PageFile(json.dumps(sorted(shipped)).encode(), TYPES[".json"], headers)
    routes = [web.get(f"/{name}", file.answer) for name, file in sorted(shipped.items())]
    return [
        web.get("/", shipped["index.html"].answer),
        web.get("/files.json", listed.answer),
        *routes,
    ]
