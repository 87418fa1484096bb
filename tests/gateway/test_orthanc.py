"""A real PACS: what Orthanc hands on by each of its paths has the root of what went in."""

import asyncio
import json
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest
from multidict import CIMultiDict
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, RLELossless
from pynetdicom import AE

from tests.gateway.test_dicom import changed, sample
from tests.gateway.test_dicom_paths import root_of, syntax

ORTHANC = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin")
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")

pytestmark = pytest.mark.skipif(
    ORTHANC is None or not PLUGIN.exists(),
    reason="Debian's orthanc and orthanc-dicomweb are not installed",
)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    """URL and DICOM port of an Orthanc with an empty store."""
    tmp_path = tmp_path_factory.mktemp("orthanc")
    http, dicom = free_port(), free_port()
    config = {
        "StorageDirectory": str(tmp_path / "db"),
        "IndexDirectory": str(tmp_path / "db"),
        "Plugins": [str(PLUGIN)],
        "HttpPort": http,
        "DicomPort": dicom,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomAlwaysAllowStore": True,
        "DicomCheckCalledAet": False,
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    (tmp_path / "orthanc.json").write_text(json.dumps(config))
    assert ORTHANC is not None
    process = subprocess.Popen(
        [ORTHANC, str(tmp_path / "orthanc.json")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{http}"
    try:
        asyncio.run(_up(url, process))
        yield url, dicom
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


async def _up(url: str, process: subprocess.Popen[bytes]) -> None:
    async with aiohttp.ClientSession() as session:
        while process.poll() is None:
            try:
                async with session.get(f"{url}/system"):
                    return
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.1)
    raise AssertionError("Orthanc ended at its start")


async def stow(session: aiohttp.ClientSession, url: str, data: bytes) -> None:
    with aiohttp.MultipartWriter("related") as writer:
        writer.append(data, CIMultiDict({"Content-Type": "application/dicom"}))
    kind = f'multipart/related; type="application/dicom"; boundary={writer.boundary}'
    headers = {"Content-Type": kind, "Accept": "application/dicom+json"}
    async with session.post(f"{url}/dicom-web/studies", data=writer, headers=headers) as answer:
        assert answer.status == 200


async def wado(session: aiohttp.ClientSession, url: str, path: Path, syntax: str) -> bytes:
    found = dcmread(path, stop_before_pixels=True)
    asked = f'multipart/related; type="application/dicom"{syntax}'
    target = (
        f"{url}/dicom-web/studies/{found.StudyInstanceUID}/series/{found.SeriesInstanceUID}"
        f"/instances/{found.SOPInstanceUID}"
    )
    async with session.get(target, headers={"Accept": asked}) as answer:
        assert answer.status == 200
        part = await aiohttp.MultipartReader.from_response(answer).next()
        assert isinstance(part, aiohttp.BodyPartReader)
        return bytes(await part.read())


def read_bytes(path: Path) -> bytes:
    return path.read_bytes()


def write_bytes(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def c_store(port: int, path: Path) -> None:
    dataset = dcmread(path)
    client = AE()
    client.add_requested_context(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID)
    association = client.associate("127.0.0.1", port)
    assert association.send_c_store(dataset).Status == 0
    association.release()


@pytest.mark.parametrize("by", ["STOW", "C-STORE"])
async def test_G4_what_a_pacs_hands_on_has_the_root_of_what_went_in(
    pacs: tuple[str, int], tmp_path: Path, by: str
) -> None:
    url, port = pacs
    asked = {
        "as stored": "; transfer-syntax=*",
        "by default": "",
        "explicit": f"; transfer-syntax={ExplicitVRLittleEndian}",
    }
    # UIDs of their own: a PACS keeps what it has.
    own = "1.2.3.1" if by == "STOW" else "1.2.3.2"
    plain = changed("MR_small.dcm", tmp_path / "mr", SOPInstanceUID=own)
    sources = [
        changed("CT_small.dcm", tmp_path / "ct", SOPInstanceUID=f"{own}.1"),
        syntax(RLELossless, tmp_path / "rle", plain),
    ]
    async with aiohttp.ClientSession() as session:
        for source in sources:
            if by == "STOW":
                await stow(session, url, read_bytes(source))
            else:
                await asyncio.to_thread(c_store, port, source)
            for name, wanted in asked.items():
                out = write_bytes(tmp_path / name, await wado(session, url, source, wanted))
                assert root_of(out) == root_of(source), (by, name)


async def test_G4_lossless_jpeg_2000_through_a_pacs(pacs: tuple[str, int], tmp_path: Path) -> None:
    url, _ = pacs
    source = syntax(JPEG2000Lossless, tmp_path / "j2k", sample("MR_small.dcm"))
    async with aiohttp.ClientSession() as session:
        await stow(session, url, read_bytes(source))
        data = await wado(session, url, source, "; transfer-syntax=*")
    out = write_bytes(tmp_path / "out", data)
    assert root_of(out) == root_of(source) == root_of(sample("MR_small.dcm"))
