"""Every command of ``yilian`` where it succeeds, against a running network; and its proofs."""

import asyncio
import json
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pydicom
import pytest
from rich.cells import cell_len

from ledger.light.checkpoint import Checkpoint
from ledger.types.residents import share_token_hash, share_verifier
from nodes.client.clock import wall_ms
from nodes.client.connect import gateway_of
from nodes.client.http import RequestIdentity, RequestRefused
from nodes.local_network import LocalNetwork
from nodes.resident.client import ResidentClient
from nodes.signer.key_files import FileSigner
from tests.network.support import NATIONAL_ID, SAMPLE, Done, read_documents, ready, stopping, yilian
from tests.vectors import fixed

pytestmark = pytest.mark.network

PERSON = "999999194902182170"
"""Has records at two hospitals of the sample, and a study at the first."""
STUDY = "2.25.333550082799403967014938160634100063188"
HOSPITALS = ("hospital-a", "hospital-b", "hospital-c", "hospital-d")
PLAN = """\
network = "trial"
base_port = 0
release_patients_min = 1
min_free_bytes = 0
hospitals = [
    { id = "hospital-a", name = "仁和医院" },
    { id = "hospital-b", name = "B" },
    { id = "hospital-c", name = "滨江中心医院" },
    { id = "hospital-d", name = "D" },
]
vendors = [{ id = "vendor-y", name = "云诊远程医疗" }]
"""


def text_of(*words: str | Path, stdin: str = "") -> str:
    """Standard output of a command that succeeds and says nothing on standard error."""
    done = yilian(*words, stdin=stdin)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def json_of(*words: str | Path, stdin: str = "") -> Any:
    """The JSON document that a command prints, and nothing beside it."""
    return json.loads(text_of(*words, "--json", stdin=stdin))


def failure(done: Done, code: int) -> str:
    """The one line on standard error of a command that ended with ``code``."""
    lines = done.stderr.splitlines()
    assert (done.returncode, len(lines), done.stdout) == (code, 1, ""), done.stderr
    return lines[0]


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalNetwork]:
    """Four hospitals made by the command line; two of them hold and index records."""
    base = tmp_path_factory.mktemp("cli")
    (base / "plan.toml").write_text(PLAN, "utf-8")
    created = json_of("network", "create", base / "net", "--plan", base / "plan.toml")
    with stopping(LocalNetwork(base / "net")) as made:
        assert created["chain_id"] == made.genesis.chain_id.hex()
        for hospital, patient in (("hospital-a", "p-a102168"), ("hospital-c", "p-c102168")):
            records = made.directory / hospital / "records"
            shutil.copy(SAMPLE / hospital / "fhir" / f"{patient}.json.gz", records)
        shutil.copytree(
            SAMPLE / "hospital-a" / "dicom" / STUDY,
            made.directory / "hospital-a" / "records" / STUDY,
        )
        made.start_all()
        asyncio.run(ready(made))
        for hospital in ("hospital-a", "hospital-c"):
            report = json_of("index", made.config(hospital, "gateway"))
            assert (report["state"], report["problems"]) == ("done", 0)
        yield made


@pytest.fixture(scope="module")
def found(network: LocalNetwork) -> dict[str, Any]:
    """The person's list as a doctor at another hospital finds it."""
    config = network.config("hospital-b", "gateway")
    members: dict[str, Any] = json_of("hospital", "find", config, "--id", "-", stdin=f"{PERSON}\n")
    return members


@pytest.fixture(scope="module")
def home(network: LocalNetwork, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A resident's folder, bound to the person by a registrar."""
    folder = tmp_path_factory.mktemp("resident") / "home"
    config = network.config("hospital-a", "gateway")
    made = json_of("enrolment", "new", config, "--id", "-", "--system", NATIONAL_ID, stdin=PERSON)
    code = ("--code", made["code"])
    early = failure(yilian("enrolment", "confirm", config, *code, "--check", "000000"), 2)
    assert "let the person scan it" in early
    genesis = network.directory / "genesis.bin"
    enrolled = json_of("resident", "enrol", "--home", folder, "--genesis", genesis, *code)
    assert "enrolment confirm" in failure(yilian("resident", "list", "--home", folder), 3)
    other = f"{(int(enrolled['check']) + 1) % 1_000_000:06}"
    refused = failure(yilian("enrolment", "confirm", config, *code, "--check", other), 2)
    assert "another device" in refused
    check = ("--check", enrolled["check"])
    bound = json_of("enrolment", "confirm", config, *code, *check, "--days", "30")
    assert bound["key_id"] == enrolled["key_id"]
    return folder


def index_of(found: dict[str, Any], kind: str, holder: str = "hospital-a") -> str:
    """Number of the first record of a kind at a hospital."""
    return str(
        next(r["index"] for r in found["records"] if (r["kind"], r["holder"]) == (kind, holder))
    )


def test_status_of_a_directory_and_of_configurations(network: LocalNetwork) -> None:
    targets = (
        network.directory,
        network.config("hospital-b", "node"),
        network.config("hospital-b", "gateway"),
    )
    for target in targets:
        status = json_of("status", target)
        assert [item["member"] for item in status] == list(HOSPITALS)
        assert {item["chain_id"] for item in status} == {network.genesis.chain_id.hex()}
        assert all(peer["connected"] for item in status for peer in item["peers"])
        assert not any(item["observer"] for item in status)


def test_index_again_changes_nothing(network: LocalNetwork) -> None:
    report = json_of("index", network.config("hospital-a", "gateway"))
    assert report["unchanged"] == report["records"] > 0
    assert (report["indexed"], report["problem_list"]) == (0, [])
    watched = yilian("index", network.config("hospital-a", "gateway"), "--watch")
    assert watched.returncode == 0
    assert "unchanged" in watched.stdout


def test_ACC_1_a_doctor_finds_and_reads_with_proof_and_images(
    network: LocalNetwork, found: dict[str, Any], tmp_path: Path
) -> None:
    config = network.config("hospital-b", "gateway")
    assert found["complete"] is True
    assert {record["holder"] for record in found["records"]} == {"hospital-a", "hospital-c"}
    assert len({record["index"] for record in found["records"]}) == len(found["records"])
    studies = [r for r in found["records"] if r["kind"] == "ImagingStudy"]
    images, proofs = 0, []
    for number, study in enumerate(studies):
        folder, proof = tmp_path / f"images{number}", tmp_path / f"proof{number}"
        shown = json_of(
            "hospital", "read", config, found["patient"], str(study["index"]),
            "--permission", found["permission"], "--attachments", folder, "--proof", proof,
        )  # fmt: skip
        assert (shown["verified"], shown["view"], shown["hidden_fields"]) == (True, "clinical", 0)
        proofs.append(proof)
        for file in folder.iterdir():
            assert pydicom.dcmread(file).StudyInstanceUID == STUDY
            images += 1
    assert images == len(list((SAMPLE / "hospital-a" / "dicom" / STUDY).iterdir()))
    for proof in proofs:
        report = json_of("light", "verify", proof, "--genesis", network.directory / "genesis.bin")
        assert (report["verified"], report["fields_hidden"]) == (True, 0)


def test_a_doctor_reads_for_a_stated_purpose_only(
    network: LocalNetwork, found: dict[str, Any]
) -> None:
    config = network.config("hospital-b", "gateway")
    words = ("hospital", "read", config, found["patient"], index_of(found, "Observation"))
    emergency = json_of(*words, "--purpose", "ETREAT")
    assert emergency["permission"] != found["permission"]
    assert "access/not-permitted" in failure(yilian(*words, "--purpose", "HRESCH"), 1)
    absent = ("hospital", "read", config, found["patient"], "9999")
    assert "9999" in failure(yilian(*absent, "--permission", found["permission"]), 1)


def test_PRIV_1_the_vendor_queries_by_kind_holder_and_limit(network: LocalNetwork) -> None:
    config = network.directory / "vendor-y" / "vendor.toml"
    everything = json_of("vendor", "query", config)
    counts = {item["holder"]: item["verified"] for item in everything["holders"]}
    assert counts["hospital-a"] > 0
    assert counts["hospital-c"] > 0
    assert counts["hospital-b"] == counts["hospital-d"] == 0
    assert PERSON not in json.dumps(everything)
    one = json_of("vendor", "query", config, "--holder", "hospital-a", "--kind", "Observation",
                  "--limit", "3")  # fmt: skip
    assert [item["holder"] for item in one["holders"]] == ["hospital-a"]
    assert one["verified"] == 3
    for record in one["records"]:
        fields = {field["path"]: field["value"] for field in record["fields"]}
        assert fields["/resourceType"] == '"Observation"'


def test_LIGHT_2_a_resident_lists_and_shows_with_medication_hidden(
    network: LocalNetwork, found: dict[str, Any], home: Path
) -> None:
    own = json_of("resident", "list", "--home", home)
    assert own["complete"] is True
    assert [r["index"] for r in own["records"]] == [r["index"] for r in found["records"]]
    number = index_of(found, "MedicationRequest")
    shown = json_of("resident", "show", number, "--home", home)
    assert shown["view"] == "resident"
    assert shown["hidden_fields"] > 0
    assert not any("medicationCodeableConcept" in field["path"] for field in shown["fields"])
    accesses = json_of("resident", "accesses", "--home", home)["accesses"]
    # The resident reads as a user of the hospital that bound the key.
    readers = {(item["reader"], item["view"]) for item in accesses}
    assert {("hospital-b", "clinical"), ("hospital-a", "resident")} <= readers
    assert all(item["covered"] and item["ends"].startswith("height ") for item in accesses)
    told = text_of("resident", "accesses", "--home", home)
    assert f"{len(accesses)} of {len(accesses)} are covered" in told


def test_LIGHT_1_saved_proofs_verify_offline_and_no_flipped_bit_does(
    network: LocalNetwork, found: dict[str, Any], home: Path, tmp_path: Path
) -> None:
    genesis = network.directory / "genesis.bin"
    number = index_of(found, "MedicationRequest")
    for words, name in (
        (("list",), "rows"),
        (("show", number), "fields_shown"),
        (("accesses",), "accesses"),
    ):
        proof = tmp_path / words[0]
        text_of("resident", *words, "--home", home, "--proof", proof)
        report = json_of("light", "verify", proof, "--genesis", genesis)
        assert report["verified"] is True
        assert report[name] > 0
        data = bytearray(proof.read_bytes())
        for part in range(2):
            place = (2 * part + 1) * len(data) // 4
            data[place] ^= 1 << part
            proof.write_bytes(data)
            failure(yilian("light", "verify", proof, "--genesis", genesis), 1)
            data[place] ^= 1 << part
        # A proof is never written over another file.
        again = yilian("resident", *words, "--home", home, "--proof", proof)
        assert str(proof) in failure(again, 2)


def test_LIGHT_1_a_printed_checkpoint_is_compared_with_two_hospitals(
    network: LocalNetwork, tmp_path: Path
) -> None:
    genesis, evidence = network.directory / "genesis.bin", tmp_path / "fork"
    config = network.config("hospital-a", "gateway")
    printed = json_of("light", "checkpoint", config)
    text = printed["checkpoint"]
    assert Checkpoint.from_text(text).header_hash.hex() == printed["header"]
    assert "█" in text_of("light", "checkpoint", config)  # the QR code
    between = ("light", "compare", genesis, "hospital-b", "hospital-c", "--evidence", evidence)
    for start in ((), ("--checkpoint", text)):
        agreed = json_of(*between, *start)
        assert agreed["agree"] is True
        assert agreed["height"] >= printed["height"]
    other = fixed.named_hash("another")
    for name, said in (
        ("chain_id", "it belongs to chain"),
        ("header_hash", "have the checkpoint printed again"),
    ):
        false = replace(Checkpoint.from_text(text), **{name: other})
        error = failure(yilian(*between, "--checkpoint", false.text), 1)
        assert said in error
    assert "--checkpoint" in failure(yilian(*between, "--checkpoint", text[:-4]), 2)
    assert "hospital-z" in failure(yilian(*between[:4], "hospital-z", *between[5:]), 3)
    assert not evidence.exists()


def test_PRIV_1_no_log_and_no_ledger_names_the_person(
    network: LocalNetwork, found: dict[str, Any], home: Path
) -> None:
    documents = read_documents(network.directory / "hospital-a" / "records")
    (person,) = (r for rs in documents.values() for r in rs if r["resourceType"] == "Patient")
    words = {PERSON, person["id"], *(i["value"] for i in person["identifier"])}
    words |= {name["text"] for name in person["name"]} | {t["value"] for t in person["telecom"]}
    canaries = [word.encode() for word in words]
    assert len(canaries) >= 4
    files = list(network.directory.glob("*/*.log"))
    assert len(files) == 2 * len(HOSPITALS)
    files += [path for path in network.directory.glob("*/node-data/**/*") if path.is_file()]
    for file in files:
        data = file.read_bytes()
        assert not any(word in data for word in canaries), file.name


async def test_ACC_2_a_resident_forbids_grants_shares_and_ends_it(
    network: LocalNetwork, found: dict[str, Any], home: Path
) -> None:
    config, number = network.config("hospital-b", "gateway"), index_of(found, "Observation")
    signer = FileSigner.load(home / "key.pem")
    genesis = network.genesis
    identity = RequestIdentity(signer, genesis.chain_id)
    until = wall_ms() + 3_600_000

    def read(*purpose: str) -> Done:
        return yilian("hospital", "read", config, found["patient"], number, *purpose, "--json")

    async with gateway_of(genesis, "hospital-c", identity) as http:
        resident = ResidentClient(http, genesis, signer)
        await resident.execute("consent", "direct", [None, None, [], [], until])
        assert "access/not-permitted" in failure(await asyncio.to_thread(read), 1)
        assert (await asyncio.to_thread(read, "--purpose", "ETREAT")).returncode == 0
        grant = ["hospital-b", None, ["clinical"], ["TREAT"], until]
        await resident.execute("consent", "direct", grant)
        granted = await asyncio.to_thread(read)
        assert granted.returncode == 0
        await resident.execute("consent", "withdraw", ["hospital-b", None])
        assert "access/not-permitted" in failure(await asyncio.to_thread(read), 1)
        await resident.execute("consent", "withdraw", [None, None])
        token = secrets.token_bytes(32)
        hashes = [share_token_hash(token), share_verifier(token, "4711")]
        share, holder = (
            await resident.execute(
                "share", "create", [[int(number)], "resident", *hashes, until, 2]
            )
        ).fields
        assert (holder, isinstance(share, bytes)) == ("hospital-a", True)
        target = f"/v1/shares/{bytes(share).hex()}/{token.hex()}"

        async def opened(passcode: str) -> str:
            body = {"recipient": "a doctor", "passcode": passcode}
            async with gateway_of(genesis, "hospital-a", None) as link:
                try:
                    answer = await link.post_json(target, body)
                except RequestRefused as refused:
                    return refused.code
                assert len(answer["files"]) == 1
                return "opened"

        assert await opened("4712") == "share/wrong-passcode"
        assert await opened("4711") == "opened"
        assert await opened("4713") == "share/wrong-passcode"
        assert await opened("4711") == "share/locked"
        again = await resident.execute(
            "share", "create", [[int(number)], "resident", *hashes, until, 1]
        )
        target = target.replace(bytes(share).hex(), again.transaction_id.hex())
        await resident.execute("share", "end", [again.transaction_id])
        assert await opened("4711") == "share/ended"
        _, entries = await resident.accesses()
    assert [entry.basis for entry in entries[-3:]] == ["break-glass", "permission", "share"]
    assert entries[-1].permission == share


async def test_G8_staff_see_what_a_patient_wishes_and_answer_it(
    network: LocalNetwork, found: dict[str, Any], home: Path
) -> None:
    of_a = network.config("hospital-a", "gateway")
    signer, genesis = FileSigner.load(home / "key.pem"), network.genesis
    until = wall_ms() + 3_600_000

    def wishes() -> Any:
        return json_of("consent", "show", of_a, "--id", "-", stdin=PERSON)

    def on_screen() -> str:
        return text_of("consent", "show", of_a, "--id", "-", stdin=PERSON)

    async with gateway_of(genesis, "hospital-a", RequestIdentity(signer, genesis.chain_id)) as http:
        resident = ResidentClient(http, genesis, signer)
        before = (await resident.accesses())[1]
        await resident.execute("consent", "direct", ["hospital-c", None, [], [], until])
        await resident.execute("copy", "request", ["hospital-a"])
        hashes = [secrets.token_bytes(32), secrets.token_bytes(32)]
        row = int(index_of(found, "Observation"))
        (share, _) = (
            await resident.execute("share", "create", [[row], "resident", *hashes, until, 2])
        ).fields
        seen = await asyncio.to_thread(wishes)
        assert seen["patient"] == found["patient"]
        (directive,) = seen["directives"]
        assert (directive["who"], directive["views"], directive["holds"]) == (
            "hospital-c", "nothing", True,
        )  # fmt: skip
        assert [copy["state"] for copy in seen["copies"]] == ["requested"]
        assert seen["shares"][-1]["share"] == bytes(share).hex()
        assert seen["shares"][-1]["state"] == "open"
        assert [key["key"] for key in seen["keys"]] == [signer.public_key.key_id.hex()]
        assert [key["role"] for key in seen["keys"]] == ["resident"]
        assert not [line for line in (await asyncio.to_thread(on_screen)).splitlines()
                    if cell_len(line) > 80]  # fmt: skip

        def decide(*words: str) -> Done:
            return yilian("consent", "decide-copy", of_a, seen["patient"], *words, "--json")

        assert "--days" in failure(await asyncio.to_thread(decide), 2)
        wrong = ("--refuse", "no-time")
        assert "identity-not-proved" in failure(await asyncio.to_thread(decide, *wrong), 2)
        assert (await asyncio.to_thread(decide, "--days", "30")).returncode == 0
        assert "copy/no-request" in failure(await asyncio.to_thread(decide, "--days", "3"), 1)
        end = ("consent", "end-share", of_a, bytes(share).hex())
        await asyncio.to_thread(text_of, *end)
        assert "share/ended" in failure(await asyncio.to_thread(yilian, *end), 1)
        # Another hospital does not serve it.
        end = ("consent", "end-share", network.config("hospital-b", "gateway"), end[-1])
        assert "share/not-permitted" in failure(await asyncio.to_thread(yilian, *end), 1)
        seen = await asyncio.to_thread(wishes)
        assert [copy["state"] for copy in seen["copies"]] == ["approved"]
        assert seen["shares"][-1]["state"] == "ended"
        assert (await resident.accesses())[1] == before  # no record was shown
        await resident.execute("consent", "withdraw", ["hospital-c", None])


def test_texts_fit_80_columns(
    network: LocalNetwork, found: dict[str, Any], home: Path, tmp_path: Path
) -> None:
    genesis = network.directory / "genesis.bin"
    proof = tmp_path / "proof"
    commands: tuple[tuple[str | Path, ...], ...] = (
        ("status", network.directory),
        ("genesis", "show", genesis),
        ("index", network.config("hospital-c", "gateway")),
        ("hospital", "find", network.config("hospital-b", "gateway"), "--id", "-"),
        ("vendor", "query", network.directory / "vendor-y" / "vendor.toml"),
        ("resident", "list", "--home", home, "--proof", proof),
        ("resident", "accesses", "--home", home),
        ("light", "verify", proof, "--genesis", genesis),
    )
    for words in commands:
        lines = text_of(*words, stdin=PERSON).splitlines()
        assert lines
        wide = [line for line in lines if cell_len(line) > 80]
        assert wide == [], words[:2]
    shown = text_of("resident", "show", index_of(found, "MedicationRequest"), "--home", home)
    assert "fields hidden in this view" in shown
    assert "Every field shown is verified" in shown
