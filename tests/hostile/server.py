"""The hostile server: answers the light client's calls, each lie under an address of its own."""

from collections.abc import Sequence

from aiohttp import web

from tests.hostile.visits import Visit

MSGPACK = "application/msgpack"


def add_lies(app: web.Application, tellers: Sequence[Visit]) -> None:
    """Serves the answers of each visit below ``/lies/<its number>``; more may be added later."""

    async def tell(request: web.Request) -> web.Response:
        number = int(request.match_info["number"])
        target = request.path_qs.removeprefix(address(number))
        answers = tellers[number].answers if number < len(tellers) else {}
        if target not in answers:
            raise web.HTTPNotFound(text=f"nobody was expected to ask for {target}")
        return web.Response(body=answers[target], content_type=MSGPACK)

    app.router.add_get("/lies/{number:[0-9]+}/{target:.+}", tell)


def address(number: int) -> str:
    """Where the visit of that number is answered."""
    return f"/lies/{number}"
