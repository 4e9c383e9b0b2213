"""The recorded versions leave out torchaudio if it is not installed, and no other package."""

from importlib.metadata import PackageNotFoundError

import pytest

from unbraid.runs import source_version


@pytest.mark.parametrize("missing", ["torchaudio", "torch"])
def test_only_torchaudio_may_be_missing(missing, monkeypatch):
    def version(name):
        if name == missing:
            raise PackageNotFoundError(name)
        return "1"

    monkeypatch.setattr(source_version, "version", version)
    if missing == "torch":
        with pytest.raises(PackageNotFoundError):
            source_version.versions()
    else:
        versions = source_version.versions()
        assert "torchaudio" not in versions and versions["torch"] == versions["unbraid"] == "1"
