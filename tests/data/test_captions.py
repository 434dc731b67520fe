"""Captions go out and in by stem, and the filter drops whole sentences."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framer.data.captions import UNWANTED, about_objects, captions_of, read_captions, write_captions
from framer.data.images import stem_of
from framer.errors import UserError

STEMS = st.from_regex(r"[A-Za-z0-9_-]{1,12}", fullmatch=True)


@settings(deadline=None)
@given(st.dictionaries(STEMS, st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]))))
def test_captions_survive_the_file(tmp_path_factory, captions):
    path = tmp_path_factory.mktemp("captions") / "c.csv"
    write_captions(path, captions)
    assert read_captions(path) == {stem: " ".join(text.split()) for stem, text in captions.items()}


def test_images_are_named_with_or_without_suffix(tmp_path):
    (tmp_path / "c.csv").write_text('image,caption\nb.png,"a cat, asleep"\na,\n')
    assert read_captions(tmp_path / "c.csv") == {"b": "a cat, asleep", "a": ""}


@pytest.mark.parametrize("suffix", ["", ".png"])
def test_names_with_dots_are_different_images(tmp_path, suffix):
    (tmp_path / "c.csv").write_text(f"image,caption\nshot.1{suffix},one\nshot.2{suffix},two\n")
    assert read_captions(tmp_path / "c.csv") == {"shot.1": "one", "shot.2": "two"}
    assert [stem_of(name) for name in ("shot.1.png", "shot.2.jpg")] == ["shot.1", "shot.2"]
    for name in ("shot.1.txt", "shot.2.txt"):
        (tmp_path / name).write_text(name)
    assert read_captions(tmp_path).keys() == {"shot.1", "shot.2"}


def test_a_folder_of_text_files(tmp_path):
    (tmp_path / "Canon_001.txt").write_text("A wall.\nBricks.\n")
    (tmp_path / "b.txt").write_text("")
    assert read_captions(tmp_path) == {"Canon_001": "A wall. Bricks.", "b": ""}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "first line must be 'image,caption'"),
        ("a,b\n", "first line must be 'image,caption'"),
        ("image,caption\na.png,x\na.jpg,y\n", "line 3: a second caption of 'a'"),
        ("image,caption\na,x,y\n", "line 2: not two columns"),
        ("image,caption\na\n", "line 2: not two columns"),
        ('image,caption\na,"x\n', "not valid CSV"),
    ],
)
def test_a_bad_file_is_one_line(tmp_path, text, words):
    (tmp_path / "c.csv").write_text(text)
    with pytest.raises(UserError, match=words) as caught:
        read_captions(tmp_path / "c.csv")
    assert "\n" not in str(caught.value)


def test_what_is_not_there_is_one_line(tmp_path):
    with pytest.raises(UserError, match="no such file; make it with: framer caption"):
        read_captions(tmp_path / "c.csv")
    with pytest.raises(UserError, match=r"holds no \.txt file"):
        read_captions(tmp_path)
    (tmp_path / "latin.csv").write_bytes("image,caption\na,é\n".encode("latin-1"))
    with pytest.raises(UserError, match="UTF-8"):
        read_captions(tmp_path / "latin.csv")


def test_pairing_is_by_stem_and_a_missing_one_is_an_error_or_empty():
    captions = {"b": "two", "a": "one", "other": "x"}
    assert captions_of(["a", "b"], captions, "error", "c.csv") == {"a": "one", "b": "two"}
    assert captions_of(["a", "c"], captions, "empty", "c.csv") == {"a": "one", "c": ""}
    with pytest.raises(UserError, match=r"c\.csv: no caption of c, d; add them, or set missing: empty"):
        captions_of(["a", "c", "d"], captions, "error", "c.csv")


def test_sentences_about_the_camera_go():
    text = "A dog on grass! The background is BLURRED. Is it a close-up? Two trees.  A red ball"
    assert about_objects(text) == "A dog on grass! Two trees.  A red ball"
    assert about_objects("Prominent. Dense forest.") == "" == about_objects("")


PROMPTS = [
    "A USB 1.1 port. The port is in focus.",
    "Two dogs, one black. In the background, a blurred tree. The sky is blue.",
    "A sign reads 'STOP!'. It is red.",
    "No sentence end",
    "Wait... what? A dense forest... and a lake.",
    "The U.S. flag.  Two spaces before.",
    "\nA new line.\tA tab. ",
    "The image is black and white. A man stands.",
    "A cat!A dog?A bird.",
    "Prominent.",
    "v2.0 of a board, with 3.3 V pins, is located at the left.",
    "A close-up. Of a leaf.",
    "It costs $4.99. The position is clear.",
    "A house.The house is old.",
    "FOCUS is on the bird. The bird sings!",
    "...",
    " Leading space. Trailing space ",
    "A depth of field effect. A boat on the water",
    "e.g. a cup, i.e. a mug.",
    "The focal point is a clock. It shows 10.30 a.m. on a wall.",
]


def released(caption: str) -> str:
    """The filter written out, letter by letter."""
    kept, sentence = "", ""
    for position, letter in enumerate(caption):
        sentence += letter
        if letter in ".?!" or position == len(caption) - 1:
            if not any(word in sentence.lower() for word in UNWANTED):
                kept += sentence
            sentence = ""
    return kept.strip()


@pytest.mark.parametrize("caption", PROMPTS)
def test_sentences_are_joined_as_they_were_split(caption):
    assert about_objects(caption) == released(caption)


def test_numbers_with_points_stay_whole():
    assert about_objects(PROMPTS[0]) == "A USB 1.1 port."


@settings(deadline=None)
@given(st.text())
def test_nothing_unwanted_is_left(text):
    assert not any(word in about_objects(text).lower() for word in UNWANTED)
