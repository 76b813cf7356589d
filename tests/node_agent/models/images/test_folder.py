"""A folder per class: classes are sorted; broken pictures, odd ones and links out of the folder are named."""

import os
import struct
import zlib
from functools import partial

import numpy as np
import pytest
from PIL import Image

from node_agent.errors import InputError
from node_agent.models.images import read_folder
from tests.node_agent.models.images.sets import COLOUR, IMAGES, is_line, refused, write_picture


@pytest.fixture
def grey(tmp_path):
    """Three grey pictures of two classes."""
    for name, number in (("dog/2.png", 0), ("dog/10.PNG", 1), ("cat/1.png", 2)):
        write_picture(tmp_path / "set" / name, IMAGES[number])
    return tmp_path / "set"


def test_pictures_are_sorted_by_class_and_name(grey):
    found = read_folder(str(grey))
    assert found.classes == ("cat", "dog")
    assert found.labels.tolist() == [0, 1, 1]
    np.testing.assert_array_equal(found.images[:, 0], IMAGES[[2, 1, 0]])


def test_colour_keeps_its_channels(tmp_path):
    write_picture(tmp_path / "a" / "1.png", COLOUR[0])
    write_picture(tmp_path / "a" / "2.jpg", COLOUR[1])
    write_picture(tmp_path / "b" / "3.jpeg", COLOUR[2])
    found = read_folder(tmp_path)
    assert found.images.shape == (3, 3, 5, 4)
    np.testing.assert_array_equal(found.images[0], COLOUR[0].transpose(2, 0, 1))
    with Image.open(tmp_path / "a" / "2.jpg") as jpeg:
        np.testing.assert_array_equal(found.images[1], np.asarray(jpeg).transpose(2, 0, 1))


def test_splits_share_their_classes(tmp_path):
    for name, number in (("train/b/1.png", 0), ("train/a/1.png", 1), ("test/c/1.png", 2), ("val/b/1.png", 3)):
        write_picture(tmp_path / name, IMAGES[number])
    for split, labels, numbers in (("train", [0, 1], [1, 0]), ("test", [2], [2]), ("val", [1], [3])):
        found = read_folder(tmp_path, split)
        assert found.classes == ("a", "b", "c")
        assert found.labels.tolist() == labels
        np.testing.assert_array_equal(found.images[:, 0], IMAGES[numbers])
    refused(partial(read_folder, tmp_path), tmp_path, "it holds train/ and val/ and test/")


def test_a_split_that_is_not_there(grey):
    refused(partial(read_folder, grey, "test"), grey, "there is no folder test/")
    write_picture(grey / "train" / "a" / "1.png", IMAGES[0])
    refused(partial(read_folder, grey, "test"), grey, "there is no folder test/")
    with pytest.raises(InputError, match="unknown split 'trian'") as caught:
        read_folder(grey, "trian")
    assert caught.value.hint == "did you mean train?"


def test_hidden_files_and_texts_are_skipped(grey):
    (grey / ".cache").mkdir()
    (grey / "dog" / ".thumb.png").write_bytes(b"hello")
    (grey / "dog" / "LICENSE").write_text("hello")
    (grey / "README.md").write_text("hello")
    assert len(read_folder(grey)) == 3


def test_sizes_that_differ(grey):
    odd = write_picture(grey / "dog" / "3.png", IMAGES[0, :, :3])
    refused(partial(read_folder, grey), odd, f"it has 5x3 pixels, but {grey}/cat/1.png 5x4")


def test_pictures_are_stretched_to_a_size(tmp_path):
    """To half of the sides: the mean of the means of neighbours is kept; to the double: flat areas stay flat."""
    halves = np.repeat(np.array([[0, 200]], np.uint8), 8, axis=0).repeat(4, axis=1)  # [8, 8], dark left, bright right
    write_picture(tmp_path / "a" / "1.png", halves)
    write_picture(tmp_path / "a" / "2.png", np.full((3, 5), 77, np.uint8))
    found = read_folder(tmp_path, size=(4, 6))
    assert found.images.shape == (2, 1, 4, 6)
    assert (found.images[1] == 77).all()
    assert abs(found.images[0].mean() - 100) < 1
    assert (found.images[0, 0, :, 0] == 0).all()
    assert (found.images[0, 0, :, -1] == 200).all()
    assert (np.diff(found.images[0, 0].astype(int), axis=1) >= 0).all()


@pytest.mark.parametrize("size", [(0, 5), (5, 5000)])
def test_impossible_sizes(grey, size):
    refused(partial(read_folder, grey, size=size), grey, "pixels")


def test_grey_among_colour(grey):
    odd = write_picture(grey / "dog" / "3.png", COLOUR[0])
    refused(partial(read_folder, grey), odd, f"it is in colour, but {grey}/cat/1.png is grey")
    as_colour, as_grey = read_folder(grey, channels=3), read_folder(grey, channels=1)
    assert (as_colour.images.shape, as_grey.images.shape) == ((4, 3, 5, 4), (4, 1, 5, 4))
    np.testing.assert_array_equal(as_colour.images[0], np.repeat(IMAGES[2][None], 3, axis=0))
    weighted = COLOUR[0] @ [0.299, 0.587, 0.114]  # ITU-R 601-2 luma; labels: cat 1, dog 10, 2, 3
    assert np.abs(as_grey.images[3, 0] - weighted).max() <= 1


OPAQUE, CLEAR = np.full((5, 4, 1), 255, np.uint8), np.full((5, 4, 1), 254, np.uint8)


def test_transparent_pixels(tmp_path):
    write_picture(tmp_path / "a" / "1.png", np.concatenate([COLOUR[0], OPAQUE], axis=2))
    np.testing.assert_array_equal(read_folder(tmp_path).images[0], COLOUR[0].transpose(2, 0, 1))
    odd = write_picture(tmp_path / "a" / "2.png", np.concatenate([COLOUR[0], CLEAR], axis=2))
    refused(partial(read_folder, tmp_path), odd, "transparent pixels")
    write_picture(odd, np.concatenate([IMAGES[0][:, :, None], CLEAR], axis=2))
    refused(partial(read_folder, tmp_path, channels=1), odd, "transparent pixels")
    write_picture(odd, COLOUR[0], transparency=tuple(COLOUR[0, 2, 2].tolist()))  # a colour that is to be transparent
    refused(partial(read_folder, tmp_path), odd, "transparent pixels")


def test_palettes_are_colour(tmp_path):
    (tmp_path / "a").mkdir()
    picture = Image.fromarray(COLOUR[0]).quantize(8)
    picture.save(tmp_path / "a" / "1.png")
    np.testing.assert_array_equal(
        read_folder(tmp_path).images[0], np.asarray(picture.convert("RGB")).transpose(2, 0, 1)
    )


def test_black_and_white_is_grey(tmp_path):
    (tmp_path / "a").mkdir()
    Image.fromarray(IMAGES[0] > 127).save(tmp_path / "a" / "1.png")
    np.testing.assert_array_equal(read_folder(tmp_path).images[0, 0], np.where(IMAGES[0] > 127, 255, 0))


def test_kinds_of_pixels_that_are_not_read(tmp_path):
    odd = write_picture(tmp_path / "a" / "1.png", IMAGES[0].astype(np.uint16))
    refused(partial(read_folder, tmp_path), odd, "pixels of kind I;16")
    odd.unlink()
    Image.new("CMYK", (4, 5)).save(tmp_path / "a" / "1.jpg")
    refused(partial(read_folder, tmp_path), tmp_path / "a" / "1.jpg", "pixels of kind CMYK")


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width, height, pixels=b""):
    """A grey PNG of this size, whatever pixels it has."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(pixels)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


BROKEN = {
    "no picture": (b"hello", "no PNG or JPEG picture"),
    "nothing": (b"", "no PNG or JPEG picture"),
    "a GIF by another name": (b"GIF89a\x01\0\x01\0\0\0\0;", "no PNG or JPEG picture"),
    "PostScript by another name": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no PNG or JPEG picture"),
    "no pixels": (png(4, 5)[:45], "truncated"),
    "billions of pixels": (png(65535, 65535), "decompression bomb"),
    "more pixels than Pillow's limit": (png(10_000, 9_000), "decompression bomb"),
    "a wide picture": (png(4097, 1), "4096 a side can be read"),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_picture_is_named(grey, broken):
    content, said = BROKEN[broken]
    (grey / "dog" / "3.png").write_bytes(content)
    refused(partial(read_folder, grey), grey / "dog" / "3.png", said)


def test_pillows_limit_is_kept_when_pictures_are_stretched(grey, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    write_picture(grey / "dog" / "3.png", np.zeros((10, 10), np.uint8))
    assert len(read_folder(grey, size=(2, 2))) == 4
    write_picture(grey / "dog" / "3.png", np.zeros((11, 10), np.uint8))
    refused(partial(read_folder, grey, size=(2, 2)), grey / "dog" / "3.png", "decompression bomb")


def test_the_total_has_a_limit(grey):
    """The first picture, stretched to 48 MiB, times the number of pictures."""
    for number in range(44):
        os.link(grey / "dog" / "2.png", grey / "dog" / f"a{number}.png")
    refused(partial(read_folder, grey, size=(4096, 4096), channels=3), grey / "cat", "2.2 GiB of pixels")


@pytest.mark.parametrize("ending", [".png", ".jpg"])
def test_damage_anywhere_ends_in_one_line(tmp_path, ending):
    """Each byte of the file in turn, and each length; pixels may change where the format has no sum."""
    file = write_picture(tmp_path / "a" / f"1{ending}", COLOUR[0])
    whole = file.read_bytes()
    changes = [whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :] for place in range(len(whole))]
    refusals = 0
    for content in changes + [whole[:length] for length in range(len(whole))]:
        file.write_bytes(content)
        try:
            found = read_folder(tmp_path)
        except InputError as error:
            refusals += is_line(error, file)
        else:
            assert ending == ".jpg" or (found.images[0] == COLOUR[0].transpose(2, 0, 1)).all()
    assert refusals > len(whole)


def test_links_within_the_folder_are_followed(grey):
    (grey / "dog" / "3.png").symlink_to("../cat/1.png")
    (grey / "kitten").symlink_to("cat")
    found = read_folder(grey)
    assert found.classes == ("cat", "dog", "kitten")
    np.testing.assert_array_equal(found.images[:, 0], IMAGES[[2, 1, 0, 2, 2]])


@pytest.mark.parametrize(("place", "target"), [
    ("dog/3.png", "outside/1.png"), ("fox", "outside"), ("train", "splits"), ("dog/3.png", "nothing"),
])  # fmt: skip
def test_links_out_of_the_folder_are_refused(grey, tmp_path, place, target):
    write_picture(tmp_path / "outside" / "1.png", IMAGES[0])
    write_picture(tmp_path / "splits" / "a" / "1.png", IMAGES[0])
    (grey / place).symlink_to(tmp_path / target)
    refused(partial(read_folder, grey), grey / place, "a link that leads out of the folder")


def test_links_to_nothing_and_to_themselves(grey):
    (grey / "dog" / "3.png").symlink_to("3.png")
    refused(partial(read_folder, grey), grey / "dog" / "3.png", "no regular file")
    (grey / "dog" / "3.png").unlink()
    (grey / "dog" / "3.png").symlink_to("4.png")
    refused(partial(read_folder, grey), grey / "dog" / "3.png", "no regular file")


def test_a_pipe_is_not_waited_for(grey):
    os.mkfifo(grey / "dog" / "3.png")
    refused(partial(read_folder, grey), grey / "dog" / "3.png", "no regular file")


def test_other_layouts(grey, tmp_path):
    (grey / "fox").mkdir()
    refused(partial(read_folder, grey), grey / "fox", "holds no PNG or JPEG file")
    (grey / "fox" / "images").mkdir()
    refused(partial(read_folder, grey), grey / "fox" / "images", "a folder in the folder of a class")
    (grey / "fox" / "images").rmdir()
    (grey / "fox" / "1.webp").write_bytes(b"")
    refused(partial(read_folder, grey), grey / "fox" / "1.webp", "neither PNG nor JPEG")
    (tmp_path / "empty").mkdir()
    refused(partial(read_folder, tmp_path / "empty"), tmp_path / "empty", "holds no folders")
    refused(partial(read_folder, tmp_path / "none"), tmp_path / "none", "no such folder")


def test_names_for_terminals_are_quoted(grey):
    odd = write_picture(grey / "dog" / "a\nb\x1b[2J.png", IMAGES[0, :2])
    refused(partial(read_folder, grey), ascii(str(odd)), "it has 2x4 pixels")
    os.rename(grey / "dog", grey / "do\x1bg")
    refused(partial(read_folder, grey), grey, r"'do\x1bg' is no printable name")
