"""The files of the page as they are shipped, read without a browser."""

import json
import re
from hashlib import sha256

from nodes.gateway.shares import _CLOSED
from tests.project.tree import ROOT

WEB = ROOT / "nodes/resident/web"
LANGUAGES = {
    path.stem: json.loads(path.read_text(encoding="utf-8")) for path in WEB.glob("lang/*.json")
}
SCRIPTS = "\n".join(
    path.read_text(encoding="utf-8") for path in sorted((WEB / "page").rglob("*.js"))
)


def test_the_vendored_libraries_are_the_published_ones() -> None:
    readme = (WEB / "vendor/README.md").read_text(encoding="utf-8")
    sections = {part.split("\n")[0]: part for part in readme.split("\n## ")[1:]}
    folders = {path.name: path for path in (WEB / "vendor").iterdir() if path.is_dir()}
    assert set(sections) == set(folders)
    for name, folder in folders.items():
        lines = [line.split() for line in sections[name].splitlines() if line.startswith("    ")]
        listed = {file: digest for digest, file in lines}
        found = {path.name: sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
        assert found == listed
        assert "LICENSE" in found


def test_shipped_scripts_load_nothing_from_elsewhere() -> None:
    comments = re.compile(r"/\*.*?\*/|^\s*//[^\n]*", re.M | re.S)
    loads = re.compile(r'\bfrom\s+"([^"\n]+)";|\bimport\("([^"\n]+)"\)')
    for path in WEB.rglob("*.js"):
        text = comments.sub("", path.read_text(encoding="utf-8"))
        targets = ["".join(found) for found in loads.findall(text)]
        assert len(re.findall(r"\bimport\(", text)) <= len(targets), path.name
        for target in targets:
            file = (path.parent / target).resolve()
            assert file.is_relative_to(WEB), f"{path.name}: {target}"
            assert file.is_file(), f"{path.name}: {target}"


def test_both_languages_have_the_same_texts() -> None:
    assert set(LANGUAGES) == {"en", "zh"}
    english, chinese = LANGUAGES["en"], LANGUAGES["zh"]
    assert list(english) == list(chinese)
    for key, text in english.items():
        assert text.strip(), key
        assert chinese[key].strip(), key
        places = [sorted(set(re.findall(r"\{(\w+)\}", each))) for each in (text, chinese[key])]
        assert places[0] == places[1], key


def test_each_text_is_used_and_each_used_one_is_there() -> None:
    texts = LANGUAGES["en"]
    asked = set(re.findall(r"""[^\w.]t\(\s*"([^"]+)\"""", SCRIPTS))
    assert asked <= set(texts)
    plain = {key for key in texts if ":" not in key}
    assert {key for key in plain if f'"{key}"' not in SCRIPTS} == set()
    groups = {key.partition(":")[0] for key in texts if ":" in key}
    assert groups == set(re.findall(r"""[^\w.]named\(\s*"(\w+)\"""", SCRIPTS))


def test_each_failure_can_happen_and_is_put_in_words() -> None:
    told = {key.partition(":")[2] for key in LANGUAGES["en"] if key.startswith("failure:")}
    thrown = set(re.findall(r"""new Failure\(\s*"([^"]+)\"""", SCRIPTS))
    assert thrown <= told
    classes = (WEB / "light/errors.js").read_text(encoding="utf-8")
    sources = [path for part in ("contracts", "nodes") for path in (ROOT / part).rglob("*.py")]
    answered = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    closed = {f"share/{word}" for word in _CLOSED}
    for code in told - thrown - closed:
        assert f"class {code} " in classes or f'"{code}"' in answered, code
