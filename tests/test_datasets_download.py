"""Official archives: fetched, checked, unpacked as a whole or not at all. No test asks the network."""

import hashlib
import io
import shutil
import socket
import tarfile
import time
import urllib.request
from dataclasses import replace

import pytest
from dataset_files import cub, food, imagenette, jpeg, pack, pack_folder, write

from contrastlib import data
from contrastlib.data import DataError, DataNotFoundError, download
from contrastlib.data import cub as cub_module

URL = "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz"


@pytest.fixture
def root(tmp_path):
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """A small CUB-200-2011 as its makers would publish it, elsewhere than in the folder of data sets."""
    path = pack_folder(tmp_path / "published/CUB_200_2011.tgz", cub(tmp_path / "made"))
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    monkeypatch.setattr(cub_module, "ARCHIVE", replace(cub_module.ARCHIVE, md5=md5))
    return path


@pytest.fixture
def host(archive, monkeypatch):
    """A host that gives out the archive, and what it was asked for."""
    asked = []

    def answer(url, timeout):
        asked.append((url, timeout))
        return io.BytesIO(archive.read_bytes())

    monkeypatch.setattr(urllib.request, "urlopen", answer)
    return asked


@pytest.fixture
def nobody(monkeypatch):
    def refuse(*_, **__):
        raise urllib.request.URLError("no route to host")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("place", ["", "CUB_200_2011"])
def test_an_archive_is_fetched_and_unpacked_once(root, host, place):
    for _ in range(2):
        assert len(data.load("cub200", "train", root / place, download=True)) == 4
    assert [url for url, _ in host] == [URL]
    assert host[0][1] <= 10
    assert names(root) == ["CUB_200_2011"]


@pytest.mark.usefixtures("host")
def test_a_folder_that_is_not_there_yet_is_made(tmp_path):
    data.load("cub200", root=tmp_path / "a/b", download=True)
    assert names(tmp_path / "a/b") == ["CUB_200_2011"]


@pytest.mark.usefixtures("host")
def test_it_goes_where_the_environment_says(root, monkeypatch):
    monkeypatch.setenv("CONTRASTLIB_DATA", str(root.parent))
    data.load("cub200", download=True)
    assert names(root) == ["CUB_200_2011"]


@pytest.mark.usefixtures("nobody")
@pytest.mark.parametrize("place", ["", "CUB_200_2011"])
def test_an_archive_that_lies_there_is_taken(root, archive, place):
    shutil.copy(archive, root)
    with pytest.raises(DataNotFoundError, match=r"not unpacked yet: load it with download=True, which takes .*\.tgz"):
        data.load("cub200", root=root / place)
    assert len(data.load("cub200", root=root / place, download=True)) == 2
    assert names(root) == ["CUB_200_2011", "CUB_200_2011.tgz"]


def test_a_half_downloaded_archive_is_named_with_both_checksums(root, archive):
    half = archive.read_bytes()[:500]
    write(root / archive.name, half)
    expected, found = hashlib.md5(archive.read_bytes()).hexdigest(), hashlib.md5(half).hexdigest()
    with pytest.raises(DataError, match=rf"{root / archive.name} is .* half downloaded \(500 bytes\): its MD5 is "
                                        rf"{found}, expected was {expected}; delete it"):
        data.load("cub200", root=root, download=True)
    assert names(root) == [archive.name]


@pytest.mark.usefixtures("host")
def test_what_comes_is_checked_before_it_gets_its_name(root, archive):
    archive.write_bytes(archive.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"CUB_200_2011\.tgz\.part is damaged"):
        data.load("cub200", root=root, download=True)
    assert names(root) == []


@pytest.mark.parametrize("error", [
    urllib.request.URLError("no route to host"), TimeoutError("timed out"), ConnectionResetError("reset by peer"),
    urllib.error.HTTPError(URL, 404, "Not Found", None, None)])
def test_a_host_out_of_reach(root, monkeypatch, error):
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: (_ for _ in ()).throw(error))
    with pytest.raises(DataNotFoundError, match=rf"could not be fetched from {URL} \(.*\); put CUB_200_2011\.tgz from "
                                                rf"there into {root} .* unpacked data set at {root / 'CUB_200_2011'}"):
        data.load("cub200", root=root, download=True)
    assert names(root) == []


def test_a_host_that_never_answers_costs_seconds(root, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/CUB_200_2011.tgz"
        monkeypatch.setattr(cub_module, "ARCHIVE", replace(cub_module.ARCHIVE, url=url))
        monkeypatch.setattr(download, "_TIMEOUT", 0.2)
        start = time.monotonic()
        with pytest.raises(DataNotFoundError, match=r"could not be fetched from .* \(timed out\)"):
            data.load("cub200", root=root, download=True)
        assert time.monotonic() - start < 5
    assert names(root) == []


def test_a_connection_that_breaks_leaves_nothing(root, monkeypatch):
    class Broken(io.BytesIO):
        def read(self, *_):
            raise ConnectionResetError("reset by peer")

    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: Broken())
    with pytest.raises(DataNotFoundError, match="reset by peer"):
        data.load("cub200", root=root, download=True)
    assert names(root) == []


def packed_as(root, monkeypatch, files):
    md5 = hashlib.md5(pack(root / "CUB_200_2011.tgz", files).read_bytes()).hexdigest()
    monkeypatch.setattr(cub_module, "ARCHIVE", replace(cub_module.ARCHIVE, md5=md5))


@pytest.mark.parametrize("name", ["../escaped.txt", "CUB_200_2011/../../escaped.txt"])
def test_a_member_that_would_escape_is_refused(root, monkeypatch, name):
    packed_as(root, monkeypatch, {"CUB_200_2011/images.txt": b"1 a/b.jpg", name: b"out"})
    with pytest.raises(DataError, match=r"would write outside its folder: .*escaped\.txt"):
        data.load("cub200", root=root, download=True)
    assert names(root) == ["CUB_200_2011.tgz"]
    assert names(root.parent) == ["data"]


def test_a_link_that_leads_out_is_refused(root, monkeypatch):
    with tarfile.open(root / "CUB_200_2011.tgz", "w:gz") as archive:
        link = tarfile.TarInfo("CUB_200_2011/images")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc"
        archive.addfile(link)
    md5 = hashlib.md5((root / "CUB_200_2011.tgz").read_bytes()).hexdigest()
    monkeypatch.setattr(cub_module, "ARCHIVE", replace(cub_module.ARCHIVE, md5=md5))
    with pytest.raises(DataError, match="would write outside its folder"):
        data.load("cub200", root=root, download=True)
    assert names(root) == ["CUB_200_2011.tgz"]


@pytest.mark.parametrize(("files", "message"), [
    ({"something/images.txt": b"1"}, "holds no folder CUB_200_2011"),
    ({"CUB_200_2011/readme": b"1"}, r"unpacked to .*, and there is no images\.txt in it"),
])
def test_archives_of_something_else(root, monkeypatch, files, message):
    packed_as(root, monkeypatch, files)
    with pytest.raises(DataError, match=message):
        data.load("cub200", root=root, download=True)


def test_an_archive_that_is_none(root, monkeypatch):
    write(root / "CUB_200_2011.tgz", jpeg())
    monkeypatch.setattr(cub_module, "ARCHIVE", replace(cub_module.ARCHIVE, md5=hashlib.md5(jpeg()).hexdigest()))
    with pytest.raises(DataError, match=r"CUB_200_2011\.tgz is damaged"):
        data.load("cub200", root=root, download=True)


@pytest.mark.usefixtures("nobody")
def test_a_folder_with_something_else_in_it_is_left_alone(root, archive):
    shutil.copy(archive, root)
    write(root / "CUB_200_2011/notes.txt", "mine")
    with pytest.raises(DataNotFoundError, match=r"a folder .*CUB_200_2011, and no images\.txt in it; .* move"):
        data.load("cub200", root=root, download=True)
    assert names(root / "CUB_200_2011") == ["notes.txt"]


@pytest.mark.usefixtures("nobody")
def test_an_empty_folder_is_filled(root, archive):
    shutil.copy(archive, root)
    (root / "CUB_200_2011").mkdir()
    assert len(data.load("cub200", root=root, download=True)) == 2


@pytest.mark.parametrize(("name", "make", "file", "md5"), [
    ("cub200", cub, "CUB_200_2011.tgz", "97eceeb196236b17998738112f37df78"),
    ("food101", food, "food-101.tar.gz", "85eeb15f3717b99a5da872d97d918f87"),
    ("imagenette", lambda root: imagenette(root, "imagenette2"), "imagenette2.tgz", "fe2fc210e6bb7c5664d602c3cd71e612"),
])
def test_the_official_archives_are_asked_for(root, tmp_path, name, make, file, md5):
    pack_folder(root / file, make(tmp_path / "made"))
    with pytest.raises(DataNotFoundError, match="with download=True"):
        data.load(name, root=root)
    with pytest.raises(DataError, match=rf"{file} is damaged .* expected was {md5}"):
        data.load(name, root=root, download=True)


@pytest.mark.parametrize(("name", "file"), [
    ("cub200", "images.txt"), ("food101", "meta/classes.txt"), ("imagenette", "val")])
def test_what_was_looked_for_and_what_to_do(root, name, file):
    with pytest.raises(DataNotFoundError, match=rf"is not here: there is neither {root}.*{file} nor .*Load it with "
                                                rf"download=True, which fetches http.* or put the unpacked .*{root}"):
        data.load(name, root=root)
