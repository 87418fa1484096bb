"""How a client reaches a member's services: TLS that trusts that one member's authority only."""

from dataclasses import dataclass

from ledger.errors import WorldFault
from ledger.types.genesis import Genesis, Member
from nodes.client.http import HttpClient, RequestIdentity
from nodes.transport.pki import TlsFiles, client_context


@dataclass(eq=False)
class NoSuchService(WorldFault):
    """The genesis document names no such member, or no such service of it."""

    member: str
    service: str
    template = (
        "{member} has no {service} in the genesis document; "
        "see `yilian genesis show` for the members"
    )


def gateway_of(
    genesis: Genesis, member: str, identity: RequestIdentity | None, own: TlsFiles | None = None
) -> HttpClient:
    """A client of a member's gateway; ``own`` where the gateway must know who connects."""
    found = member_of(genesis, member)
    url = found.endpoints.gateway
    if not url:
        raise NoSuchService(member, "gateway")
    return HttpClient(url, client_context(own, [found]), identity)


def node_of(member: Member, own: TlsFiles, url: str = "") -> HttpClient:
    """A client of a member's validator; ``url`` where it is reached at another address."""
    url = url or member.endpoints.node_api
    if not url:
        raise NoSuchService(member.id, "validator")
    return HttpClient(url, client_context(own, [member]), None)


def member_of(genesis: Genesis, member: str) -> Member:
    """A member of the genesis document; raises NoSuchService."""
    found = genesis.member(member)
    if found is None:
        raise NoSuchService(member, "service")
    return found
