"""What stands in run.yaml and submission.yaml is read again as it was."""

from pathlib import Path

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from launch.config.schema import Section
from launch.errors import RunError
from launch.rundir import record_file
from launch.rundir.record_file import read_record, write_record

LETTERS = "a:#-'\"\\ \n\r\t\x00\x1b\x7f\x85\xa0\u200b\u2028\u2029\ufeff中あ😀{}[]|>%@`&*!?~1.0"


class Record(Section):
    """Texts as a key and as a value."""

    texts: dict[str, str]


@pytest.mark.parametrize("has_libyaml", [True, False])
@example(text="\u200b'\x85")  # a space after PyYAML's own dumper
@given(text=st.text(alphabet=LETTERS, max_size=12) | st.text(max_size=12))
def test_any_text_is_read_again_as_it_was(
    has_libyaml: bool, text: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "record.yaml"
    record = Record(texts={"a": text, f"b{text}": "c"})
    with pytest.MonkeyPatch.context() as patch:
        if not has_libyaml:
            patch.setattr(record_file, "_DUMPER", yaml.SafeDumper)
            patch.setattr(record_file, "_IS_C", False)
            patch.setattr(record_file, "_LOADER", yaml.SafeLoader)
        write_record(path, record)
        assert read_record(path, Record) == record
    path.unlink()


def test_chinese_stays_readable(tmp_path: Path) -> None:
    write_record(tmp_path / "record.yaml", Record(texts={"系统": "你好"}))
    assert "系统: 你好" in (tmp_path / "record.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "value", ["2026-13-01", "!!int x", "!!float x", "!!bool x", "!!timestamp x", "9" * 5000]
)
def test_a_value_that_yaml_does_not_have(tmp_path: Path, value: str) -> None:
    """Such as a date that somebody edited: PyYAML raises ValueError, KeyError or AttributeError."""
    path = tmp_path / "run.yaml"
    path.write_text(f"texts: {{a: {value}}}\n")
    with pytest.raises(RunError) as caught:
        read_record(path, Record)
    assert str(caught.value) == (
        f"{path}: holds a value that YAML does not have; it was damaged or edited. Restore it from a copy."
    )
