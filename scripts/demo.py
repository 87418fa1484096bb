"""The main job, end to end: four hospitals, a vendor and a resident, as real processes on loopback.

Every check in here is made by the product's own clients; the story only starts processes, asks,
damages one file and kills one validator.
"""

import argparse
import asyncio
import json
import re
import shutil
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from demo_world import (
    NATIONAL_ID,
    Facts,
    Person,
    change_one_value,
    direct_identifiers,
    first,
    has_study,
    identifier_pattern,
    lay_out_records,
    number,
    rows,
    shared_people,
)
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ledger import codec
from ledger.errors import LedgerError, PeerFault
from ledger.light.bundles import LogBundle
from ledger.light.trust import TrustedChain
from ledger.light.verify import ListIncomplete
from ledger.limits import FRAME_BYTES_MAX
from ledger.primitives import PatientKey, TimestampMs
from ledger.types.block import Block, Receipt
from ledger.types.transaction import SignedTransaction
from nodes.client.chain import ChainClient
from nodes.client.connect import gateway_of
from nodes.client.hospital import HospitalClient
from nodes.client.http import RequestIdentity, RequestRefused
from nodes.config import load_config, user_key_name
from nodes.gateway.sources import verify_attachments
from nodes.local_network import LocalNetwork
from nodes.network_setup import NetworkPlan, create_network
from nodes.resident.client import ResidentClient
from nodes.signer.key_files import FileSigner, create_private_directory, create_private_key
from nodes.vendor.client import VendorClient

ROOT = Path(__file__).resolve().parent.parent
PLAN = ROOT / "network-configs" / "demo.toml"
SAMPLE = ROOT / "network-configs" / "sample"
VENDOR_PAGE = 500
DAY_MS = 86_400_000


@dataclass
class Story:
    """One run of the demonstration."""

    directory: Path
    console: Console
    added: Path | None
    facts: Facts = field(default_factory=Facts)
    problems: list[dict[str, object]] = field(default_factory=list)
    released: dict[str, int] = field(default_factory=dict)
    """De-identified roots that each hospital released."""

    def say(self, text: str) -> None:
        """One line for people."""
        self.console.print(text, highlight=False)

    # -- set-up -----------------------------------------------------------------------------

    def prepare(self, base_port: int) -> None:
        """Makes the network and lays out the records."""
        if self.directory.exists():
            shutil.rmtree(self.directory)
        create_private_directory(self.directory)
        plan = load_config(NetworkPlan, PLAN)
        hospitals = [hospital.id for hospital in plan.hospitals]
        self.records = self.directory / "records"
        lay_out_records(self.records, SAMPLE, list(hospitals), self.added)
        placed = tuple(
            h.model_copy(update={"records": self.records / h.id}) for h in plan.hospitals
        )
        plan = plan.model_copy(update={"hospitals": placed, "base_port": base_port})
        create_network(self.directory / "network", plan)
        self.network = LocalNetwork(self.directory / "network")
        self.hospitals = [member.id for member in self.network.hospitals]
        self.facts.validators = len(self.hospitals)
        self.people = shared_people(self.records, list(hospitals))
        self.person = next(p for p in self.people if has_study(self.records, p))
        self.say(
            f"[bold]Network[/bold] made: {len(self.hospitals)} hospitals, 1 vendor, keys and "
            f"certificates. Chain {self.network.genesis.chain_id.hex()[:16]}"
        )

    async def start(self) -> None:
        """Starts all processes and waits for the first block."""
        self.network.start_all()
        await self.network.wait_ready()
        self.say(
            f"{2 * len(self.hospitals)} processes run: a validator and a gateway for each "
            "hospital, over mutually authenticated TLS 1.3."
        )

    @asynccontextmanager
    async def staff(self, member: str, role: str) -> AsyncIterator[HospitalClient]:
        """A client of a hospital's member of staff."""
        genesis = self.network.genesis
        key = self.network.directory / member / "keys" / user_key_name(role)
        signer = FileSigner.load(key)
        identity = RequestIdentity(signer, genesis.chain_id)
        async with gateway_of(genesis, member, identity) as http:
            yield HospitalClient(http, genesis, signer)

    # -- 1 and 2: index, agree ----------------------------------------------------------------

    async def index(self) -> None:
        """Every gateway indexes its directory; four validators agree on the rows."""
        self.say("\n[bold]1. Index, 2. Agree[/bold]")
        with self._progress() as progress:
            reports = await asyncio.gather(*[self._index(m, progress) for m in self.hospitals])
        reasons: dict[str, int] = {}
        for member, report in zip(self.hospitals, reports, strict=True):
            self.facts.records_indexed += number(report, "indexed")
            self.released[member] = number(report, "released")
            for problem in rows(report, "problem_list"):
                self.problems.append({"hospital": member} | problem)
                code = str(problem["code"])
                reasons[code] = reasons.get(code, 0) + 1
        released = sum(self.released.values())
        waiting = sum(number(report, "release_waiting") for report in reports)
        self.facts.rows_committed = await self._countrows()
        self.say(
            f"{self.facts.records_indexed} records indexed, {self.facts.rows_committed} rows "
            f"committed; {released} de-identified roots released, {waiting} wait for more patients."
        )
        for code, count in sorted(reasons.items()):
            self.say(f"  not indexed: {count} x {code}")
        report_file = self.directory / "index-problems.json"
        report_file.write_text(json.dumps(self.problems, ensure_ascii=False, indent=1), "utf-8")
        if self.problems:
            self.say(f"  each of them with file and reason: {report_file}")

    def _progress(self) -> Progress:
        """One bar for each hospital."""
        return Progress(
            TextColumn("{task.description:<12}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[phase]}"),
            TimeElapsedColumn(),
            console=self.console,
        )

    async def _index(self, member: str, progress: Progress) -> Mapping[str, object]:
        bar = progress.add_task(member, total=None, phase="starting")
        async with self.staff(member, "administrator") as client:
            job = await client.start_index()
            while True:
                report = job.get("report")
                report = report if isinstance(report, dict) else {}
                done = number(report, "committed") or number(report, "indexed")
                phase = str(report.get("phase", "reading"))
                progress.update(bar, completed=done, total=report.get("records"), phase=phase)
                if job["state"] != "running":
                    break
                await asyncio.sleep(0.2)
                job = await client.index_job(str(job["id"]))
        if job["state"] != "done":
            raise RuntimeError(f"{member}: the index run failed: {report.get('error')}")
        return report

    async def _countrows(self) -> int:
        """Rows in all committed blocks whose registration succeeded, counted from the blocks."""
        committed = 0
        async with self.network.node_client(self.hospitals[0]) as http:
            chain = ChainClient(http)
            height = number(await chain.status(), "height")
            for at in range(1, height + 1):
                data = await chain.http.get(f"/v1/blocks/{at}")
                block, _, receipts = codec.decode(data, FRAME_BYTES_MAX, "block")
                for encoded, receipt in zip(
                    Block.decode(block).transactions, receipts, strict=True
                ):
                    body = SignedTransaction.decode(encoded).body
                    registers = (body.contract, body.action) == ("index", "register")
                    if registers and Receipt.decode(receipt).ok:
                        committed += len(body.args[1])
        return committed

    # -- 3: a doctor ------------------------------------------------------------------------

    async def doctor(self) -> None:
        """A doctor at hospital B finds a patient and reads records that another holds."""
        there, here = self.person.hospitals[0], self.person.hospitals[1]
        self.say(f"\n[bold]3. A doctor at {here}[/bold] reads what {there} holds")
        async with self.staff(here, "treating") as client:
            patient = await client.patient(NATIONAL_ID, self.person.identifier)
            permission = await client.request_permission(patient, "TREAT")
            found = await client.list(patient, permission)
            self.say(
                f"The patient's list has {len(found.records)} records, proved complete at "
                f"height {found.verified.header.height}."
            )
            for wanted in ("Observation/", "study/"):
                listed = first(found.records, there, wanted)
                shown = await client.read(patient, listed.listed.index, permission)
                if shown.attachments:
                    verify_attachments(shown.record, shown.attachments)
                self.say(
                    f"  read {shown.kind} #{listed.listed.index}: {len(shown.record.fields)} "
                    f"fields and {len(shown.attachments)} files, every byte verified"
                )
        self.facts.hospital_read_verified = True

    # -- 4: the vendor ----------------------------------------------------------------------

    async def vendor(self) -> None:
        """The vendor reads all released records of all hospitals and verifies each."""
        self.say("\n[bold]4. The vendor[/bold] queries de-identified records")
        pattern = identifier_pattern(direct_identifiers(self.records))
        with self._progress() as progress:
            results = await asyncio.gather(
                *[self._vendor_at(m, pattern, progress) for m in self.hospitals]
            )
        self.facts.vendor_records_verified = sum(count for count, _ in results)
        self.facts.vendor_identifiers_found = sum(hits for _, hits in results)
        self.say(
            f"{self.facts.vendor_records_verified} records verified against release roots; "
            f"{self.facts.vendor_identifiers_found} direct identifiers found in them."
        )

    async def _vendor_at(
        self, holder: str, pattern: re.Pattern[str], progress: Progress
    ) -> tuple[int, int]:
        bar = progress.add_task(holder, total=self.released[holder], phase="verified")
        genesis = self.network.genesis
        vendor = next(member.id for member in genesis.members if member.kind == "vendor")
        key = self.network.directory / vendor / "keys" / user_key_name("vendor-service")
        signer = FileSigner.load(key)
        identity = RequestIdentity(signer, genesis.chain_id)
        count = hits = 0
        async with gateway_of(genesis, holder, identity) as http:
            client = VendorClient(http, genesis, signer, genesis.member(holder).id)
            permission = await client.request_permission("HRESCH")
            async for record in client.query(permission, page=VENDOR_PAGE):
                text = b"\n".join(record.record.fields.values()).decode("utf-8")
                hits += len(pattern.findall(text))
                count += 1
                progress.update(bar, completed=count)
        return count, hits

    # -- 5: a resident ----------------------------------------------------------------------

    async def resident(self) -> None:
        """A resident starts from the genesis document alone."""
        self.say("\n[bold]5. A resident[/bold] starts from the genesis document alone")
        person = self.person
        home = self.directory / "resident"
        create_private_directory(home)
        create_private_key(home / "key.pem")
        signer = FileSigner.load(home / "key.pem")
        async with self.staff(person.hospitals[0], "registrar") as registrar:
            patient = await registrar.patient(NATIONAL_ID, person.identifier)
            until = TimestampMs(time.time_ns() // 1_000_000 + 365 * DAY_MS)
            code, _ = await registrar.new_enrolment(patient, "resident")
            await registrar.bind_resident(code, signer.public_key, code.prove(signer), until)
        async with self.resident_client(person, signer) as client:
            before = await client.session.refresh()
            found = await client.list()
            header = found.verified.header
            self.facts.resident_list_complete = len(found.records) > 0
            self.say(
                f"List of {len(found.records)} records, complete at height {header.height}, "
                f"{client.session.age_ms(header) / 1000:.1f} s old."
            )
            await self._read_medication(client, person, patient)
            _, accesses = await client.accesses()
            readers = sorted({entry.reader_member for entry in accesses})
            self.say(
                f"The access log has {len(accesses)} entries, by readers of {', '.join(readers)}."
            )
            self._omit(client, before, found.proof, patient)

    @asynccontextmanager
    async def resident_client(
        self, person: Person, signer: FileSigner
    ) -> AsyncIterator[ResidentClient]:
        """The light client over the gateway of the resident's second hospital."""
        genesis = self.network.genesis
        identity = RequestIdentity(signer, genesis.chain_id)
        async with gateway_of(genesis, person.hospitals[1], identity) as http:
            yield ResidentClient(http, genesis, signer)

    async def _read_medication(
        self, client: ResidentClient, person: Person, patient: PatientKey
    ) -> None:
        """Which rows are medication requests only hospitals can see; a doctor tells us one."""
        async with self.staff(person.hospitals[0], "treating") as doctor:
            permission = await doctor.request_permission(patient, "TREAT")
            records = (await doctor.list(patient, permission)).records
            listed = first(records, None, "MedicationRequest/")
            clinical = await doctor.read(patient, listed.listed.index, permission)
        shown = await client.show(listed.listed.index)
        hidden = set(clinical.record.fields) - set(shown.record.fields)
        drug = [path for path in hidden if path.startswith(b"/medicationCodeableConcept")]
        values = b"\n".join(shown.record.fields.values())
        leaked = [p for p in drug if clinical.record.fields[p] in values and b"text" in p]
        self.facts.resident_medication_hidden = bool(drug) and not leaked
        self.say(
            f"MedicationRequest #{listed.listed.index}: {len(shown.record.fields)} fields "
            f"verified, {shown.record.hidden_count} hidden, the drug among them."
        )

    def _omit(
        self,
        client: ResidentClient,
        trusted: TrustedChain,
        proof: LogBundle,
        patient: PatientKey,
    ) -> None:
        """The same answer of the server without one of its rows (part of step 6)."""
        less = LogBundle(proof.state, proof.entries[:-2] + proof.entries[-1:])
        try:
            client.session.check_list(trusted, less, patient)
        except ListIncomplete as error:
            self.facts.omission_detected = True
            self.say(f"A row removed from the server's answer is noticed: {error}")

    # -- 6: tamper --------------------------------------------------------------------------

    async def tamper(self) -> None:
        """One value of one stored record is changed on disk."""
        self.say("\n[bold]6. Tamper[/bold]: one value of one stored record is changed on disk")
        there, here = self.person.hospitals[0], self.person.hospitals[1]
        async with self.staff(here, "treating") as client:
            patient = await client.patient(NATIONAL_ID, self.person.identifier)
            permission = await client.request_permission(patient, "TREAT")
            found = await client.list(patient, permission)
            listed = first(found.records, there, "Observation/")
            assert listed.metadata is not None
            resource_id = listed.metadata.locator.strip().split("/")[-1]
            path, before = change_one_value(self.records / there, resource_id)
            try:
                await client.read(patient, listed.listed.index, permission)
                self.say("[red]The changed record was shown.[/red]")
            except (RequestRefused, PeerFault) as error:
                self.facts.tamper_detected = True
                self.say(f"Refused, and nothing of it shown: {error}")
            path.write_bytes(before)
            await client.read(patient, listed.listed.index, permission)
            self.say("With the value put back, the record verifies again.")

    # -- 7: fault ---------------------------------------------------------------------------

    async def fault(self) -> None:
        """The primary's process is killed; the chain goes on; the node comes back."""
        self.say("\n[bold]7. Fault[/bold]: the primary's process is killed (-9)")
        status = await self.network.status(self.hospitals[0])
        primary = str(status["primary"])
        others = [member for member in self.hospitals if member != primary]
        self.network.kill(primary, "node")
        began = time.monotonic()
        person = next(p for p in self.people if primary != p.hospitals[0])
        async with self.staff(person.hospitals[0], "treating") as client:
            patient = await client.patient(NATIONAL_ID, person.identifier)
            await client.request_permission(patient, "TREAT")
        status = await self.network.status(others[0])
        self.facts.view_changes = number(status, "view_changes")
        self.say(
            f"{primary} is gone; {time.monotonic() - began:.1f} s later the next transaction is "
            f"committed in view {status['view']}, with {status['primary']} as primary."
        )
        self.network.start(primary, "node")
        await self.network.wait_ready()
        self.facts.restarted_node_same_root = await self._same_root(primary, others[0])
        self.say(f"{primary} restarted, caught up, and has the same state root as the others.")

    async def _same_root(self, first: str, second: str) -> bool:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            a, b = await self.network.status(first), await self.network.status(second)
            if a["height"] == b["height"]:
                return a["state_root"] == b["state_root"] and a["header_hash"] == b["header_hash"]
            await asyncio.sleep(0.2)
        return False

    async def run(self) -> None:
        """The whole story; the network keeps running."""
        began = time.monotonic()
        await self.start()
        for step in (
            self.index,
            self.doctor,
            self.vendor,
            self.resident,
            self.tamper,
            self.fault,
        ):
            await step()
        self.facts.height = number(await self.network.status(self.hospitals[0]), "height")
        self.facts.seconds = round(time.monotonic() - began, 1)
        verdict = "all checks hold" if self.facts.all_true() else "[red]a check failed[/red]"
        self.say(f"\nDone in {self.facts.seconds} s at height {self.facts.height}: {verdict}.")

    def invite(self) -> None:
        """Addresses and three commands to try."""
        network, person = self.network.directory, self.person
        first = person.hospitals[0]
        self.say("\n[bold]The network is up.[/bold] Ctrl-C stops it. Gateways:")
        for member in self.network.hospitals:
            self.say(f"  {member.id:<12} {member.name}  {member.endpoints.gateway}")
        yilian = Path(sys.executable).with_name("yilian")
        self.say("Try, in another terminal:")
        for command in (
            f"{yilian} status {network}",
            f"{yilian} hospital find {network / first / 'gateway.toml'} --id {person.identifier}",
            f"{yilian} vendor query {network / 'vendor-y' / 'vendor.toml'} --holder {first} "
            "--kind Observation",
        ):
            self.console.print(f"  {command}", highlight=False, soft_wrap=True)


async def tell(story: Story, options: argparse.Namespace) -> bool:
    """Runs the story; whether every check held. Stops every process, whatever happens."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    work = asyncio.ensure_future(story.run())
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signal_number, lambda: (stopped.set(), work.cancel()))
    try:
        await work
        if not options.once:
            story.invite()
            await stopped.wait()
    except asyncio.CancelledError:
        story.say("\nStopped before the end.")
        return False
    finally:
        story.say("Stopping all processes ...")
        story.network.stop_all()
    return story.facts.all_true()


def main() -> int:
    """Command line; exit code 0 if every check held, 1 if one failed, 3 if it could not run."""
    parser = argparse.ArgumentParser(prog="scripts/demo", description=__doc__)
    parser.add_argument("--once", action="store_true", help="end after the story")
    parser.add_argument("--json", action="store_true", help="print the facts as the last line")
    parser.add_argument("--records", type=Path, help="add a directory of FHIR and DICOM files")
    parser.add_argument(
        "--dir", type=Path, default=ROOT / "build" / "demo", help="where the network is made"
    )
    parser.add_argument(
        "--base-port", type=int, default=0, help="first port; 0 (default) takes free ones"
    )
    options = parser.parse_args()
    if options.records is not None and not options.records.is_dir():
        parser.error(f"--records {options.records}: no such directory")
    console = Console(stderr=options.json)
    story = Story(options.dir.absolute(), console, options.records)
    try:
        story.prepare(options.base_port)
        held = asyncio.run(tell(story, options))
    except LedgerError as error:
        console.print(f"[red]{error}[/red]", highlight=False)
        return 3
    if options.json:
        print(json.dumps(vars(story.facts)))
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
