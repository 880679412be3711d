"""Optional dependencies."""

import sys
from pathlib import Path

import pytest

from openrouter_async import ConfigurationError
from openrouter_async.extras import require


def test_require_returns_the_module() -> None:
    assert require("json", "batch", "journal=").loads("1") == 1


def test_missing_library_is_reported_with_the_command_that_installs_it() -> None:
    with pytest.raises(ConfigurationError) as caught:
        require("no_such_library", "batch", "journal=")

    assert str(caught.value) == (
        "journal= needs no_such_library, which is not installed. "
        "Install it: pip install 'openrouter_async[batch]'"
    )


def test_broken_library_raises_its_own_import_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command that installs the extra would not help."""
    (tmp_path / "broken_library.py").write_text("import no_such_library\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])

    with pytest.raises(ModuleNotFoundError, match="no_such_library"):
        require("broken_library", "batch", "journal=")

    assert "broken_library" not in sys.modules
