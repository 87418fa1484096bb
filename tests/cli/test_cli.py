"""The command line: help everywhere, one line per error, and exit codes that say whose fault."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from ledger.light.bundles import StateBundle, decode_bundle
from ledger.light.saved import SavedProof
from ledger.primitives import Hash32, MemberId, Nonce
from ledger.types.entries import PARAMETERS_KEY
from nodes.api.proofs import ProofMaker
from nodes.cli import outsiders, staff
from nodes.cli.main import app
from nodes.cli.show import PROBLEMS_SHOWN_MAX, show_index_report, show_list
from nodes.client.enrolment import EnrolmentCode
from nodes.client.http import HttpClient
from nodes.config import load_genesis
from nodes.gateway.records import REASONS
from nodes.signer.key_files import FileSigner
from tests.api.network import MemoryChain
from tests.contracts.support import GENESIS
from tests.vectors import fixed

COMMANDS = [
    "", "network", "network create", "node", "node run", "gateway", "gateway run", "index",
    "hospital", "hospital find", "hospital read", "vendor", "vendor query",
    "enrolment", "enrolment new", "enrolment confirm",
    "resident", "resident enrol", "resident list", "resident show", "resident accesses",
    "light", "light verify", "light checkpoint", "light compare", "status",
    "genesis", "genesis show",
]  # fmt: skip
HEAVY = ("aiohttp", "cryptography", "msgpack", "plyvel", "pydantic", "pydicom", "structlog")


def run(*words: str | Path, stdin: str | None = None) -> Result:
    return CliRunner(env={"COLUMNS": "80"}).invoke(app, [str(word) for word in words], stdin)


def failure(result: Result, code: int) -> str:
    """The one line on standard error of a command that ended with ``code``."""
    lines = result.stderr.splitlines()
    assert (result.exit_code, len(lines), result.stdout) == (code, 1, "")
    assert lines[0].startswith("yilian: ")
    return lines[0]


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("cli") / "net"
    result = run("network", "create", directory, "--hospitals", "1")
    assert result.exit_code == 0, result.stderr
    return directory


@pytest.fixture
def proof(tmp_path: Path) -> tuple[Path, Path]:
    """A saved proof of a state value, and the genesis document behind it."""
    chain = MemoryChain()
    chain.append([])
    bundle = decode_bundle(ProofMaker(chain).state(PARAMETERS_KEY))
    assert isinstance(bundle, StateBundle)
    saved = SavedProof(GENESIS.chain_id, (), bundle, None, PARAMETERS_KEY, None)
    (tmp_path / "proof.bin").write_bytes(saved.encode())
    (tmp_path / "genesis.bin").write_bytes(GENESIS.encode())
    return tmp_path / "proof.bin", tmp_path / "genesis.bin"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_within_80_columns(command: str) -> None:
    result = run(*command.split(), "--help")
    assert result.exit_code == 0
    assert "Usage:" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert not [line for line in result.stdout.splitlines()[1:] if line.endswith("...")]


def test_help_loads_nothing_heavy() -> None:
    code = f"import sys, nodes.cli.main; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "words",
    [
        ("hospital", "read", "CONFIG"),
        ("hospital", "read", "x.toml", "00", "0"),
        ("hospital", "read", "x.toml", "00" * 32, "0", "--permission", "zz"),
        ("hospital", "find", "x.toml", "--id", "-"),
        ("network", "create", "x"),
        ("network", "create", "x", "--hospitals", "0"),
        ("network", "create", "x", "--hospitals", "1", "--plan", "y.toml"),
        ("node", "run", "no-such.toml"),
        ("gateway", "run", "no-such.toml"),
        ("vendor", "query", "no-such.toml"),
        ("index", "no-such.toml"),
        ("light", "verify", "no-such", "--genesis", "no-such"),
        ("light", "checkpoint", "no-such"),
        ("light", "compare", "no-such", "a", "a", "--evidence", "fork.bin"),
        ("light", "compare", "no-such", "a", "b", "--evidence", "no-such/fork.bin"),
        ("genesis", "show", "no-such"),
        ("status", "no-such.toml"),
        ("resident", "list", "--home", "no-such"),
        ("resident", "enrol", "--home", "h", "--genesis", "no-such", "--code", "a"),
        ("hospital", "find", "x.toml", "--id", "1", "--purpose", "FUN"),
        ("hospital", "read", "x.toml", "00" * 32, "0", "--purpose", "fun"),
        ("vendor", "query", "x.toml", "--purpose", ""),
        ("unknown",),
    ],
)
def test_usage_and_configuration_errors_exit_with_2(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*words, stdin="\n")
    assert result.exit_code == 2
    assert result.stderr
    assert "Traceback" not in result.output
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_key_in_a_configuration_is_named(network: Path, tmp_path: Path) -> None:
    text = (network / "hospital-1" / "gateway.toml").read_text()
    wrong = tmp_path / "gateway.toml"
    wrong.write_text("surplus = 1\n" + text)
    line = failure(run("gateway", "run", wrong), 2)
    assert "surplus" in line
    assert "gateway.toml" in line


def test_a_network_is_never_made_over_another(network: Path) -> None:
    before = sorted(network.rglob("*"))
    failure(run("network", "create", network, "--hospitals", "2"), 3)
    assert sorted(network.rglob("*")) == before


def test_names_are_written_to_terminals_that_cannot_show_them(tmp_path: Path) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text('network = "医联"\n[[hospitals]]\nid = "hospital-a"\nname = "仁和"\n')
    made = run("network", "create", tmp_path / "网络 一", "--plan", plan, "--json")
    assert json.loads(made.stdout)["hospitals"] == ["hospital-a"]
    command = [sys.executable, "-m", "nodes.cli.main", "genesis", "show"]
    command.append(str(tmp_path / "网络 一" / "genesis.bin"))
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    text = subprocess.run(command, env=environment, capture_output=True, check=True)
    assert rb"\u533b\u8054" in text.stdout
    command.append("--json")
    shown = subprocess.run(command, env=environment, capture_output=True, check=True)
    assert json.loads(shown.stdout)["network"] == "医联"


def test_an_index_report_says_what_each_reason_means(capsys: pytest.CaptureFixture[str]) -> None:
    problem = {"file": "a.json", "position": 0, "code": "not-json", "text": REASONS["not-json"]}
    report = {"problems": 900, "problems_by_reason": {"not-json": 900}}
    show_index_report(report | {"problem_list": [problem] * 900})
    shown = capsys.readouterr().out
    assert shown.count("a.json") == PROBLEMS_SHOWN_MAX
    assert "no valid JSON" in shown
    assert f"first {PROBLEMS_SHOWN_MAX}" in shown


@pytest.mark.parametrize("command", [("hospital", "find", "--id", "1"), ("vendor", "query")])
def test_a_purpose_that_is_none_is_named_with_those_there_are(command: tuple[str, ...]) -> None:
    line = failure(run(*command, "no-such.toml", "--purpose", "FUN"), 2)
    assert line.startswith("yilian: --purpose: give one of: ")


@pytest.mark.parametrize(
    "command",
    [
        ("resident", "list", "--home", "h"),
        ("resident", "show", "--home", "h", "0"),
        ("resident", "accesses", "--home", "h"),
        ("hospital", "read", "x.toml", "00" * 32, "0"),
    ],
)
def test_nothing_is_asked_for_that_could_not_be_kept(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    taken = tmp_path / "taken"
    taken.touch()
    for path in (taken, tmp_path / "absent" / "new"):
        assert "--proof" in failure(run(*command, "--proof", path), 2)


def test_an_empty_list_says_that_the_identifier_may_be_wrong(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show_list({"system": "urn:x", "height": 1, "age_ms": 1, "records": []})
    shown = capsys.readouterr().out
    assert "urn:x" in shown
    assert "check both" in shown


def test_genesis_is_shown_as_text_and_json(network: Path) -> None:
    shown = json.loads(run("genesis", "show", network / "genesis.bin", "--json").stdout)
    assert (shown["validators"], shown["quorum"]) == (1, 1)
    assert [m["kind"] for m in shown["members"]] == ["hospital", "vendor"]
    text = run("genesis", "show", network / "genesis.bin")
    assert shown["chain_id"] in text.stdout


def test_status_of_a_stopped_network_says_so_and_exits_with_3(network: Path) -> None:
    for target in (network, network / "hospital-1/node.toml", network / "hospital-1/gateway.toml"):
        result = run("status", target, "--json")
        assert result.exit_code == 3
        (only,) = json.loads(result.stdout)
        assert only["member"] == "hospital-1"
        assert "does not answer" in only["error"]


def test_unreachable_gateways_exit_with_3(network: Path) -> None:
    for words in (
        ("index", network / "hospital-1/gateway.toml"),
        ("vendor", "query", network / "vendor-1/vendor.toml"),
    ):
        assert "does not answer" in failure(run(*words), 3)


def test_P1_an_identifier_is_in_no_error(network: Path) -> None:
    config = network / "hospital-1/gateway.toml"
    result = run("hospital", "find", config, "--id", "-", stdin="canary-identifier\n")
    assert "canary" not in failure(result, 3)


def test_LIGHT_1_a_saved_proof_is_verified_offline(proof: tuple[Path, Path]) -> None:
    result = run("light", "verify", proof[0], "--genesis", proof[1], "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["about"] == "parameters"


def test_LIGHT_1_an_altered_proof_exits_with_1(proof: tuple[Path, Path]) -> None:
    data = bytearray(proof[0].read_bytes())
    for place in range(0, len(data), 97):
        data[place] ^= 1
        proof[0].write_bytes(data)
        failure(run("light", "verify", proof[0], "--genesis", proof[1]), 1)
        data[place] ^= 1
    proof[0].write_bytes(data + b"\x00")
    failure(run("light", "verify", proof[0], "--genesis", proof[1]), 1)


def test_LIGHT_1_a_proof_of_another_chain_exits_with_1(proof: tuple[Path, Path]) -> None:
    proof[1].write_bytes(fixed.genesis().encode())
    assert "chain" in failure(run("light", "verify", proof[0], "--genesis", proof[1]), 1)


@pytest.fixture
def enrol(network: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str | Path, ...]:
    """The words of an enrolment that its hospital takes."""

    async def taken(http: HttpClient, code: EnrolmentCode, signer: FileSigner) -> None:
        code.check(signer.public_key, code.prove(signer))

    monkeypatch.setattr(outsiders, "post_key", taken)
    return ("resident", "enrol", "--genesis", network / "genesis.bin", "--code", code_of(network))


def code_of(network: Path, chain_id: Hash32 | None = None, hospital: str = "hospital-1") -> str:
    genesis = load_genesis(network / "genesis.bin")
    nonce = Nonce(bytes(Nonce.SIZE))
    where = (chain_id or genesis.chain_id, MemberId(hospital))
    return EnrolmentCode(*where, fixed.patient(1), "resident", nonce).to_text()


def test_K1_a_resident_enrols_once_with_private_files(
    network: Path, enrol: tuple[str | Path, ...], tmp_path: Path
) -> None:
    home = tmp_path / "home"
    made = json.loads(run(*enrol, "--home", home, "--json").stdout)
    assert len(made["key_id"]) == 64
    assert made["check"] == f"{int(made['key_id'][:8], 16) % 1_000_000:06}"
    assert (home.stat().st_mode & 0o777, (home / "key.pem").stat().st_mode & 0o777) == (
        0o700,
        0o600,
    )
    key = (home / "key.pem").read_bytes()
    failure(run(*enrol, "--home", home), 3)
    assert (home / "key.pem").read_bytes() == key
    (home / "key.pem").chmod(0o644)
    assert "chmod" in failure(run("resident", "list", "--home", home), 3)


def test_an_enrolment_code_of_another_network_or_none_makes_no_folder(
    network: Path, enrol: tuple[str | Path, ...], tmp_path: Path
) -> None:
    home = tmp_path / "home"
    for code in (
        code_of(network, fixed.named_hash("other")),
        code_of(network, hospital="hospital-9"),
        code_of(network)[:-3],
        "yilian-enrol:",
    ):
        failure(run(*enrol[:-1], code, "--home", home), 2)
    assert not home.exists()


def test_an_enrolment_that_reaches_nobody_can_be_given_again(network: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    words = ("resident", "enrol", "--genesis", network / "genesis.bin", "--home", home)
    failure(run(*words, "--code", code_of(network)), 3)
    assert list(home.iterdir()) == []


def test_a_damaged_resident_folder_is_named(enrol: tuple[str | Path, ...], tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert run(*enrol, "--home", home).exit_code == 0
    for damage in ("", "[]", "{", '{"other": 1}'):
        (home / "settings.json").write_text(damage)
        assert "settings.json" in failure(run("resident", "list", "--home", home), 2)


def test_P4_an_unforeseen_failure_is_one_line_without_its_text(
    network: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise KeyError("canary-name")

    monkeypatch.setattr(staff, "find", fail)
    line = failure(run("hospital", "find", network / "hospital-1/gateway.toml", "--id", "1"), 3)
    assert "KeyError at test_cli.py:" in line
    assert "canary" not in line


def test_output_that_nobody_reads_ends_the_command_quietly(tmp_path: Path) -> None:
    made = subprocess.run(
        [
            sys.executable,
            "-m",
            "nodes.cli.main",
            "network",
            "create",
            str(tmp_path / "net"),
            "--hospitals",
            "60",
        ],
        capture_output=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    shown = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "nodes.cli.main",
            "genesis",
            "show",
            str(tmp_path / "net" / "genesis.bin"),
            "--json",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert shown.stdout is not None
    assert shown.stderr is not None
    shown.stdout.close()
    errors = shown.stderr.read()
    assert (shown.wait(), errors) == (141, b"")
