from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voice_daemon.errors import ModelError
from voice_daemon.models.catalogue import (
    CATALOGUE,
    folder_name,
    is_repo_id,
    repo_of,
    repo_of_folder,
)


def test_every_short_name_stands_for_a_repository() -> None:
    assert repo_of("tiny.en") == "mlx-community/whisper-tiny.en-mlx"
    assert repo_of("large-v3-turbo") == "mlx-community/whisper-large-v3-turbo"
    assert all(is_repo_id(repo_of(entry.name)) for entry in CATALOGUE)


def test_a_repository_id_stands_for_itself() -> None:
    assert repo_of("openai/whisper-base.en") == "openai/whisper-base.en"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "../x",
        "x/../y",
        "../../etc/passwd",
        "/etc/passwd",
        "owner/..",
        "./model",
        "~/model",
        "owner/name/more",
        "owner/na me",
        "owner/name\n",
        "owner\\name",
        "owner/na--me",
        ".hidden/name",
        "owner/.hidden",
        "owner/name.git",
        "owner-/name",
        "owner/name-",
        "owner/name.",
        "owner/name\0",
        "ówner/name",
        "a/" + "b" * 95,
        "smal.en",
    ],
)
def test_what_is_no_model_name_is_refused(name: str) -> None:
    with pytest.raises(ModelError) as raised:
        repo_of(name)
    assert raised.value.code == "models.bad_name"


def test_a_near_miss_is_told_what_it_may_have_meant() -> None:
    with pytest.raises(ModelError) as raised:
        repo_of("large-v3-trubo")
    assert "did you mean large-v3-turbo?" in raised.value.remedy


PARTS = st.text(alphabet="abZ09._-", min_size=1, max_size=6)


@given(name=st.builds("{}/{}".format, PARTS, PARTS).filter(is_repo_id))
def test_every_accepted_id_is_one_folder_of_its_own(name: str) -> None:
    folder = folder_name(name)
    assert "/" not in folder
    assert not folder.startswith(".")
    assert repo_of_folder(folder) == name
