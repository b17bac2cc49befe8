"""Official archives: fetched and unpacked by torchvision, as a whole or not at all. No test asks the network."""

import hashlib
import io
import shutil
import sys
import tarfile
import urllib.request
from pathlib import Path
from urllib.error import HTTPError, URLError

import pytest
import torch
from dataset_files import cub, food, imagenet_archives, imagenet_folders, imagenette, jpeg, pack, pack_folder, write
from torchvision.datasets import imagenet

from contrastlib import data
from contrastlib.data import DataError, DataNotFoundError

URL = "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz"


MD5 = "97eceeb196236b17998738112f37df78"


def md5(path):
    return hashlib.md5(Path(path).read_bytes()).hexdigest()


@pytest.fixture
def root(tmp_path):
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.fixture
def official(monkeypatch):
    """Make an archive the official CUB-200-2011: it gets the checksum that is asked for, and no other does."""
    def make(path):
        good = md5(path)
        monkeypatch.setattr("torchvision.datasets.utils.calculate_md5",
                            lambda file, **_: MD5 if md5(file) == good else "another")

    return make


@pytest.fixture
def archive(tmp_path, official):
    """A small CUB-200-2011 as its makers would publish it, elsewhere than in the folder of data sets."""
    path = pack_folder(tmp_path / "published/CUB_200_2011.tgz", cub(tmp_path / "made"))
    official(path)
    return path


class Answer(io.BytesIO):
    def __init__(self, url, content):
        super().__init__(content)
        self.url, self.length = url, len(content)


@pytest.fixture
def host(archive, monkeypatch):
    """A host that gives out the archive, and what it was asked for."""
    asked = []

    def answer(request):
        if not request.get_header("Method"):  # torchvision looks first where the address leads to
            asked.append(request.full_url)
        return Answer(request.full_url, archive.read_bytes())

    monkeypatch.setattr(urllib.request, "urlopen", answer)
    return asked


@pytest.fixture
def nobody(monkeypatch):
    def refuse(*_, **__):
        raise URLError("no route to host")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("place", ["", "CUB_200_2011"])
def test_an_archive_is_fetched_and_unpacked_once(root, host, place):
    for _ in range(2):
        assert len(data.load("cub200", "train", root / place, download=True)) == 4
    assert host == [URL]
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
    with pytest.raises(DataNotFoundError, match=rf"Load it with download=True, which takes {root / archive.name} or"):
        data.load("cub200", root=root / place)
    assert len(data.load("cub200", root=root / place, download=True)) == 2
    assert names(root) == ["CUB_200_2011", "CUB_200_2011.tgz"]


def test_a_half_downloaded_archive_is_fetched_again(root, archive, host):
    write(root / archive.name, archive.read_bytes()[:500])
    assert len(data.load("cub200", root=root, download=True)) == 2
    assert host == [URL]


@pytest.mark.usefixtures("host")
def test_what_comes_is_checked(root, archive):
    archive.write_bytes(archive.read_bytes()[:-1])
    with pytest.raises(DataNotFoundError, match=rf"could not be had from {URL} \(File not found or corrupted"):
        data.load("cub200", root=root, download=True)
    assert names(root) == []


@pytest.mark.parametrize("error", [
    URLError("no route to host"), TimeoutError("timed out"), ConnectionResetError("reset by peer"),
    HTTPError(URL, 404, "Not Found", None, None)])
def test_a_host_out_of_reach(root, monkeypatch, error):
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: (_ for _ in ()).throw(error))
    with pytest.raises(DataNotFoundError, match=rf"could not be had from {URL} \(.*\); put CUB_200_2011\.tgz from "
                                                rf"there into {root} .* unpacked data set at {root / 'CUB_200_2011'}"):
        data.load("cub200", root=root, download=True)
    assert names(root) == []


def test_a_connection_that_breaks_leaves_nothing(root, monkeypatch):
    class Broken(Answer):
        def read(self, *_):
            raise ConnectionResetError("reset by peer")

    monkeypatch.setattr(urllib.request, "urlopen", lambda request: Broken(request.full_url, b"1"))
    with pytest.raises(DataNotFoundError, match="reset by peer"):
        data.load("cub200", root=root, download=True)
    assert names(root) == []


@pytest.mark.usefixtures("host")
def test_whoever_stops_it_finds_nothing_half_done(root, monkeypatch):
    def stopped(archive, path, **options):
        archive.extract(archive.next(), path, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(tarfile.TarFile, "extractall", stopped)
    with pytest.raises(KeyboardInterrupt):
        data.load("cub200", root=root, download=True)
    assert names(root) == []


@pytest.mark.usefixtures("nobody")
@pytest.mark.parametrize("name", ["../escaped.txt", "CUB_200_2011/../../escaped.txt"])
def test_a_member_that_would_escape_is_refused(root, official, name):
    official(pack(root / "CUB_200_2011.tgz", {"CUB_200_2011/images.txt": b"1 a/b.jpg", name: b"out"}))
    with pytest.raises(DataNotFoundError, match=r"escaped\.txt"):
        data.load("cub200", root=root, download=True)
    assert names(root) == ["CUB_200_2011.tgz"]
    assert names(root.parent) == ["data"]


@pytest.mark.usefixtures("nobody")
def test_a_link_that_leads_out_is_refused(root, official):
    with tarfile.open(root / "CUB_200_2011.tgz", "w:gz") as archive:
        link = tarfile.TarInfo("CUB_200_2011/images")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc"
        archive.addfile(link)
    official(root / "CUB_200_2011.tgz")
    with pytest.raises(DataNotFoundError, match="absolute path"):
        data.load("cub200", root=root, download=True)
    assert names(root) == ["CUB_200_2011.tgz"]


@pytest.mark.usefixtures("nobody")
@pytest.mark.parametrize("files", [{"something/images.txt": b"1"}, {"CUB_200_2011/readme": b"1"}, None])
def test_archives_of_something_else(root, official, files):
    path = root / "CUB_200_2011.tgz"
    official(write(path, jpeg()) if files is None else pack(path, files))
    with pytest.raises(DataNotFoundError, match=r"could not be had from .*; put CUB_200_2011\.tgz from there into"):
        data.load("cub200", root=root, download=True)
    assert names(root) == ["CUB_200_2011.tgz"]


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


@pytest.mark.usefixtures("nobody")
@pytest.mark.parametrize(("name", "make", "file", "checksum"), [
    ("cub200", cub, "CUB_200_2011.tgz", MD5),
    ("food101", food, "food-101.tar.gz", "85eeb15f3717b99a5da872d97d918f87"),
    ("imagenette", lambda root: imagenette(root, "imagenette2"), "imagenette2.tgz", "fe2fc210e6bb7c5664d602c3cd71e612"),
])
def test_the_official_archives_are_asked_for(root, tmp_path, monkeypatch, name, make, file, checksum):
    """Ours is not theirs, and the host is out of reach; if it had their checksum, it would be taken."""
    path = pack_folder(root / file, make(tmp_path / "made"))
    with pytest.raises(DataNotFoundError, match="with download=True"):
        data.load(name, root=root)
    with pytest.raises(DataNotFoundError, match="no route to host"):
        data.load(name, root=root, download=True)
    assert path.exists()
    monkeypatch.setattr("torchvision.datasets.utils.calculate_md5", lambda *_, **__: checksum)
    assert len(data.load(name, root=root, download=True))


@pytest.mark.parametrize(("name", "file"), [("cub200", "images.txt"), ("food101", "meta"), ("imagenette", "val")])
def test_what_was_looked_for_and_what_to_do(root, name, file):
    with pytest.raises(DataNotFoundError, match=rf"is not here: there is neither {root}.*{file} nor .*Load it with "
                                                rf"download=True, .*fetches http.* or put the unpacked .*{root}"):
        data.load(name, root=root)


# ImageNet


IMAGES, DEVKIT = "ILSVRC2012_img_val.tar", "ILSVRC2012_devkit_t12.tar.gz"


@pytest.fixture
def packed(tmp_path, monkeypatch):
    folder = imagenet_archives(tmp_path / "packed")
    for key, file in (("val", IMAGES), ("devkit", DEVKIT)):
        monkeypatch.setitem(imagenet.ARCHIVE_META, key, (file, md5(folder / file)))
    return folder


@pytest.mark.parametrize("inside", [False, True])
def test_imagenets_archives_give_what_folders_give(packed, tmp_path, inside):
    place = packed if inside else packed.parent
    with pytest.raises(DataNotFoundError, match=rf"put {IMAGES} and {DEVKIT} .* into {packed} and load with"):
        data.load("imagenet", root=place)
    imagenet_folders(tmp_path / "unpacked")
    mine, other = data.load("imagenet", root=place, download=True), data.load("imagenet", root=tmp_path / "unpacked")
    assert (mine.name, mine.ids, mine.labels, mine.digest()) == (other.name, other.ids, other.labels, other.digest())
    for a, b in zip(mine, other):
        assert torch.equal(a.image, b.image)
    assert data.load("imagenet", root=place).ids == mine.ids


@pytest.mark.parametrize("file", [IMAGES, DEVKIT])
def test_imagenets_archives_that_are_no_use(packed, file):
    path = packed / file
    for damage in (lambda: path.write_bytes(path.read_bytes()[:-9]), path.unlink):
        damage()
        with pytest.raises(DataError, match=rf"{IMAGES} and {DEVKIT} in {packed} could not be .*The archive {file} is"):
            data.load("imagenet", root=packed, download=True)


@pytest.mark.usefixtures("packed")
def test_without_scipy_the_error_says_so(packed, monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(DataError, match=r"could not be unpacked: .*scipy"):
        data.load("imagenet", root=packed, download=True)


def test_where_imagenet_belongs(tmp_path):
    for download in (False, True):
        with pytest.raises(DataNotFoundError, match=rf"in none of .*accept .* terms: put {IMAGES} and {DEVKIT} from "
                                                    rf"https://image-net\.org.* into {tmp_path / 'imagenet'}"):
            data.load("imagenet", root=tmp_path, download=download)
