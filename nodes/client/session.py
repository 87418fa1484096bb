"""A light-client session: answers of a server, verified from the genesis document on.

Each answer is verified against what was trusted before it was asked for, so that answers which
cross on their way do not look like a step back. What is trusted only grows.
"""

import contextlib
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from ledger.errors import PeerFault, WorldFault
from ledger.light import consent, records, verify
from ledger.light.bundles import (
    LogBundle,
    LogEntriesBundle,
    MembershipChange,
    StateBundle,
    decode_bundle,
)
from ledger.light.permissions import (
    DisclosureNotCovered,
    PermissionCertificate,
    certificate_of,
    grant_key,
)
from ledger.light.trust import (
    MembershipUnknown,
    TrustedChain,
    WrongChain,
    advance,
    check_age,
    follow,
    trust_genesis,
)
from ledger.primitives import Hash32, Height, PatientKey
from ledger.types.block import Header
from ledger.types.entries import Disclosed, access_log, patient_log, view_key
from ledger.types.genesis import Genesis
from ledger.types.residents import directives_key, share_key, shares_log
from nodes.client.chain import ChainClient
from nodes.client.clock import wall_ms
from nodes.client.http import AnswerUnreadable
from nodes.view_rules.files import known_rules

AGE_SLACK_MS = 30_000
"""An idle chain's newest block is up to one interval old, and clocks differ."""

B = TypeVar("B", StateBundle, LogBundle, LogEntriesBundle)
R = TypeVar("R")


@dataclass(eq=False)
class TrustFileUnusable(WorldFault):
    """The file with the trusted header cannot be read or written."""

    path: str
    reason: str
    template = "{path}: {reason}; delete it to begin again from the genesis document"


def default_max_age_ms(genesis: Genesis) -> int:
    """How old an answer may be: two intervals of empty blocks and some slack (LIGHT-3)."""
    return 2 * genesis.parameters.empty_block_interval_ms + AGE_SLACK_MS


class LightSession:
    """Verified reads over one server's chain interface."""

    def __init__(
        self,
        chain: ChainClient,
        genesis: Genesis,
        *,
        trusted_file: Path | None = None,
        max_age_ms: int | None = None,
        now_ms: Callable[[], int] = wall_ms,
    ) -> None:
        """``trusted_file`` keeps the newest verified header between runs, if it is given."""
        self.genesis = genesis
        self.chain = chain
        self._file = trusted_file
        self._now_ms = now_ms
        self._max_age_ms = default_max_age_ms(genesis) if max_age_ms is None else max_age_ms
        self._trusted = self._load(trust_genesis(genesis.encode(), genesis.chain_id))

    @property
    def trusted(self) -> TrustedChain:
        """The newest header that was verified."""
        return self._trusted

    async def changes(self, height: Height) -> tuple[MembershipChange, ...]:
        """The membership changes from genesis to a verified header; a saved proof holds them."""
        changes = await self.chain.membership_changes(0)
        known = [c for c in changes if c.certified.header.height <= height]
        follow(trust_genesis(self.genesis.encode(), self.genesis.chain_id), known)
        return tuple(known)

    async def refresh(self) -> TrustedChain:
        """Follows the memberships and verifies the newest header and its age."""
        trusted = self._trusted
        changes = await self.chain.membership_changes(trusted.height)
        newest = await self.chain.newest_header()
        advanced = advance(trusted, changes, newest)
        check_age(newest.header, self._now_ms(), self._max_age_ms)
        if advanced.height > self._trusted.height:
            self._trusted = advanced
            self._store()
        return self._trusted

    def age_ms(self, header: Header) -> int:
        """How old an answer under ``header`` is now; it is shown to people (LIGHT-3)."""
        return max(self._now_ms() - header.time_ms, 0)

    async def state(self, key: bytes) -> verify.VerifiedValue:
        """The value of a state key, or its proved absence."""
        return (await self.state_bundle(key))[1]

    async def state_bundle(self, key: bytes) -> tuple[StateBundle, verify.VerifiedValue]:
        """The same with the bundle that proves it."""

        def check(trusted: TrustedChain, bundle: StateBundle) -> verify.VerifiedValue:
            return verify.verify_state_bundle(
                trusted, bundle, key, self._now_ms(), self._max_age_ms
            )

        bundle, value = await self._ask(lambda: self.chain.state(key), StateBundle, check)
        self._keep(value.header)
        return bundle, value

    async def view_rules(self, view: str) -> records.RuleBook:
        """The rules of a view that are, and were, in force, as the chain proves."""
        found = await self.state(view_key(view))
        return records.rule_book(view, found.value, known_rules())

    async def patient_list(self, patient: PatientKey) -> tuple[LogBundle, records.PatientList]:
        """A patient's complete list, and the bundle that proves it."""
        key = patient_log(patient)

        def check(trusted: TrustedChain, bundle: LogBundle) -> records.PatientList:
            return self.check_list(trusted, bundle, patient)

        bundle, listed = await self._ask(lambda: self.chain.log(key), LogBundle, check)
        self._keep(listed.header)
        return bundle, listed

    async def access_log(self, patient: PatientKey) -> tuple[LogBundle, tuple[Disclosed, ...]]:
        """Everyone who was shown something of a patient, and the bundle that proves it."""
        key = access_log(patient)

        def check(trusted: TrustedChain, bundle: LogBundle) -> tuple[Disclosed, ...]:
            return records.verify_access_log(
                trusted, bundle, patient, self._now_ms(), self._max_age_ms
            )

        return await self._ask(lambda: self.chain.log(key), LogBundle, check)

    async def directives(self, patient: PatientKey) -> consent.VerifiedDirectives:
        """What a patient permits and forbids, as the chain proves."""
        return consent.directives_of(await self.state(directives_key(patient)))

    async def own_share(self, share_id: Hash32, patient: PatientKey) -> consent.VerifiedShare:
        """A share of a patient, open or closed, as the chain proves."""
        return consent.own_share_of(await self.state(share_key(share_id)), patient)

    async def certificates(
        self, patient: PatientKey, entries: Sequence[Disclosed]
    ) -> tuple[PermissionCertificate | DisclosureNotCovered, ...]:
        """What covered each entry of a patient's verified access log, or why nothing did.

        One question for each permission or share; what a server lies about it is raised.
        """
        values = {key: await self.state(key) for key in dict.fromkeys(map(grant_key, entries))}

        def judged(entry: Disclosed) -> PermissionCertificate | DisclosureNotCovered:
            try:
                return certificate_of(values[grant_key(entry)], entry, patient)
            except DisclosureNotCovered as error:
                return error

        return tuple(map(judged, entries))

    async def shares(self, patient: PatientKey) -> tuple[tuple[Hash32, consent.VerifiedShare], ...]:
        """All shares of a patient with their ids, open or closed, complete, oldest first."""
        _, log = await self.log(shares_log(patient))
        ids = [Hash32(entry) for entry in log.entries]
        return tuple([(each, await self.own_share(each, patient)) for each in ids])

    async def log(self, key: bytes) -> tuple[LogBundle, verify.VerifiedLog]:
        """All entries of any log, and the bundle that proves them complete."""

        def check(trusted: TrustedChain, bundle: LogBundle) -> verify.VerifiedLog:
            return verify.verify_log_bundle(trusted, bundle, key, self._now_ms(), self._max_age_ms)

        bundle, found = await self._ask(lambda: self.chain.log(key), LogBundle, check)
        self._keep(found.header)
        return bundle, found

    async def log_entries(
        self, log: bytes, indexes: Sequence[int]
    ) -> tuple[LogEntriesBundle, tuple[verify.VerifiedEntry, ...]]:
        """Entries of a log at rising indexes, and the bundle that proves them."""

        def check(
            trusted: TrustedChain, bundle: LogEntriesBundle
        ) -> tuple[verify.VerifiedEntry, ...]:
            entries = self.check_log_entries(trusted, bundle, log)
            if [entry.index for entry in entries] != list(indexes):
                raise verify.WrongKey("log entries")
            return entries

        return await self._ask(
            lambda: self.chain.log_entries(log, indexes), LogEntriesBundle, check
        )

    def check_list(
        self, trusted: TrustedChain, bundle: LogBundle, patient: PatientKey
    ) -> records.PatientList:
        """Verifies a list that came with another answer, against what was trusted before it."""
        return records.verify_patient_list(
            trusted, bundle, patient, self._now_ms(), self._max_age_ms
        )

    def check_log_entries(
        self, trusted: TrustedChain, bundle: LogEntriesBundle, log: bytes
    ) -> tuple[verify.VerifiedEntry, ...]:
        """Verifies entries of a release log that came with another answer."""
        return verify.verify_log_entries_bundle(
            trusted, bundle, log, self._now_ms(), self._max_age_ms
        )

    async def _ask(
        self,
        fetch: Callable[[], Awaitable[bytes]],
        kind: type[B],
        check: Callable[[TrustedChain, B], R],
    ) -> tuple[B, R]:
        """Fetches a bundle and verifies it; once more where the membership changed meanwhile."""
        if self._trusted.height == 0:
            await self.refresh()
        trusted = self._trusted
        bundle = self._decoded(await fetch(), kind)
        try:
            return bundle, check(trusted, bundle)
        except MembershipUnknown:
            trusted = await self.refresh()
        bundle = self._decoded(await fetch(), kind)
        return bundle, check(trusted, bundle)

    def _decoded(self, data: bytes, kind: type[B]) -> B:
        bundle = decode_bundle(data)
        if not isinstance(bundle, kind):
            raise AnswerUnreadable(self.chain.http.base_url, "another kind of proof was asked for")
        return bundle

    def _keep(self, header: Header) -> None:
        """Trusts a verified header that is newer, where the same membership goes on voting."""
        trusted = self._trusted
        same = trusted.membership.hash == header.membership == header.next_membership
        if header.height > trusted.height and same:
            self._trusted = replace(
                trusted,
                height=header.height,
                header_hash=header.hash,
                time_ms=header.time_ms,
                voters=trusted.membership,
            )

    def _load(self, genesis: TrustedChain) -> TrustedChain:
        if self._file is None or not self._file.exists():
            return genesis
        try:
            trusted = TrustedChain.decode(self._file.read_bytes())
        except OSError as error:
            raise TrustFileUnusable(str(self._file), error.strerror or "unreadable") from None
        except PeerFault:
            raise TrustFileUnusable(str(self._file), "it is damaged") from None
        if trusted.chain_id != genesis.chain_id:
            raise WrongChain("trusted header", trusted.chain_id, genesis.chain_id)
        return trusted

    def _store(self) -> None:
        if self._file is None:
            return
        beside = self._file.with_name(f"{self._file.name}.{os.getpid()}.new")
        try:
            beside.write_bytes(self._trusted.encode())
            beside.replace(self._file)
        except OSError as error:
            with contextlib.suppress(OSError):
                beside.unlink()
            raise TrustFileUnusable(str(self._file), error.strerror or "unwritable") from None
