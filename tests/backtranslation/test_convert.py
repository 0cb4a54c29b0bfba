"""``laclip-aug translate convert``: folders of several kinds in, one kind out."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from laclip_aug.backtranslation.convert import convert
from laclip_aug.backtranslation.ctranslate import CTranslate2Model
from laclip_aug.backtranslation.folder import hashes
from laclip_aug.cli import main
from laclip_aug.errors import ConfigurationError, ModelError

from .marian_maker import SENTENCES, WIDTH, make_folder, make_native


def test_both_weight_files_and_marians_own_give_one_model(marian: Path, exact: Path, tmp_path: Path) -> None:
    torch_file = convert(make_folder(tmp_path / "hf", file="pytorch_model.bin"), tmp_path / "from-torch", "float32")
    native = convert(make_native(tmp_path / "marian", marian), tmp_path / "from-marian", "float32")
    assert hashes(torch_file) == hashes(exact)
    captions = SENTENCES[::50]
    texts = [
        [found[0].text for found in CTranslate2Model(folder).translator("en", "xx").translate(captions)]
        for folder in (exact, native)
    ]
    assert texts[0] == texts[1]
    assert len(set(texts[0])) > 3


def test_the_command(marian: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "made" / "en-xx"
    assert main(["translate", "convert", str(marian), str(out), "--quantization", "int8"]) == 0
    assert str(out) in capsys.readouterr().out
    record = json.loads((out / "translator.json").read_text())
    assert record["source"] == ["{text}", "</s>"]
    assert record["sha256"] == hashes(out)
    assert main(["translate", "convert", str(marian), str(out)]) == 2
    assert "exists" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "model.safetensors").unlink(), "neither model.safetensors nor pytorch_model.bin"),
        (lambda f: (f / "model.safetensors").write_bytes(b"short"), "cannot be read"),
        (lambda f: (f / "vocab.json").unlink(), "vocab.json"),
        (lambda f: (f / "source.spm").unlink() or (f / "target.spm").unlink(), "no SentencePiece model"),
        (lambda f: (f / "config.json").write_text("{"), "config.json"),
        (lambda f: (f / "config.json").unlink(), "neither config.json nor decoder.yml"),
        (lambda f: (f / "config.json").write_text('{"model_type": "marian"}'), "no complete Marian model"),
        (lambda f: _set(f, normalize_before=True), "normalize_before"),
        (lambda f: _set(f, activation_function="tanh"), "tanh"),
        (lambda f: _set(f, decoder_layers=7), "no complete Marian model"),
    ],
)
def test_a_bad_folder_leaves_nothing_behind(marian: Path, tmp_path: Path, damage: object, message: str) -> None:
    source = shutil.copytree(marian, tmp_path / "source")
    damage(source)  # type: ignore[operator]
    with pytest.raises(ModelError, match=message):
        convert(source, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def _set(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


class _Trap:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("import pathlib; pathlib.Path('sprung').touch()",)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_pickled_object_is_refused(marian: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = shutil.copytree(marian, tmp_path / "source")
    (source / "model.safetensors").unlink()
    (source / "pytorch_model.bin").write_bytes(pickle.dumps({"model.shared.weight": _Trap()}))
    with pytest.raises(ModelError, match="cannot be read"):
        convert(source, tmp_path / "out")
    assert not (tmp_path / "sprung").exists()


def test_int8_quarters_the_weights(bilingual: Path, exact: Path) -> None:
    position_table = 256 * WIDTH * 4  # stays in float32
    int8, float32 = ((folder / "model.bin").stat().st_size - position_table for folder in (bilingual, exact))
    assert int8 < 0.4 * float32


def test_unusable_arguments(marian: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="int7"):
        convert(marian, tmp_path / "out", "int7")
    with pytest.raises(ModelError, match="no folder"):
        convert(tmp_path / "absent", tmp_path / "out")


def test_other_architectures_ask_for_transformers(marian: Path, tmp_path: Path) -> None:
    source = shutil.copytree(marian, tmp_path / "source")
    _set(source, model_type="m2m_100")
    code = (
        "import sys; sys.modules['transformers'] = None\n"
        "from laclip_aug.cli import main\n"
        f"sys.exit(main(['translate', 'convert', {str(source)!r}, {str(tmp_path / 'out')!r}]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "pip install 'laclip-aug[convert]'" in done.stderr
