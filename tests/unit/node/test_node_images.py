"""The allow-list of images and their programs."""

import sys
from pathlib import Path

import pytest

from collabspace.local.node.images import EntryPointError, Images, UnknownImageError, repository


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("collabspace/trainer", "collabspace/trainer"),
        ("collabspace/trainer:v1.2", "collabspace/trainer"),
        ("collabspace/trainer@sha256:00", "collabspace/trainer"),
        ("docker.io/collabspace/trainer:v1@sha256:00", "collabspace/trainer"),
        ("localhost:5000/collabspace/trainer", "localhost:5000/collabspace/trainer"),
    ],
)
def test_tag_and_digest_make_no_difference(reference: str, name: str) -> None:
    assert repository(reference) == name


def test_the_trainers_programs_are_those_of_this_environment() -> None:
    image = Images().find("collabspace/trainer:any")
    here = Path(sys.executable).parent
    assert image.arguments((), ("train",)) == (str(here / "collabspace-trainer"), "train")
    assert image.arguments(("python", "-V"), ()) == (str(here / "python"), "-V")


@pytest.mark.parametrize("program", ["/bin/sh", "bash", "../python", "/usr/bin/python"])
def test_other_programs_are_refused_with_the_known_ones(program: str) -> None:
    with pytest.raises(EntryPointError, match="collabspace-trainer, python"):
        Images().find("collabspace/trainer").arguments((program,), ())


@pytest.mark.parametrize(
    "reference", ["nginx", "evil/collabspace/trainer", "collabspace/trainer-x", "localhost:5000/collabspace/trainer"]
)
def test_other_images_are_refused_with_the_known_ones(reference: str) -> None:
    with pytest.raises(UnknownImageError, match=r"collabspace/trainer.*kind or a real cluster"):
        Images().find(reference)


def test_the_test_image_is_known_only_on_request() -> None:
    with pytest.raises(UnknownImageError):
        Images().find("collabspace/test-shell")
    assert Images(allow_test_image=True).find("collabspace/test-shell").arguments((), ("-c", "id"))[0] == "/bin/sh"
