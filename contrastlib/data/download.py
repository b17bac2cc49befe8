"""Official archives: fetched, checked and unpacked so that a data set is there as a whole or not at all."""

import hashlib
import shutil
import tarfile
import tempfile
import urllib.request
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import IO

from contrastlib.data import places
from contrastlib.data.dataset import DataError, DataNotFoundError

_TIMEOUT = 10  # seconds without an answer until a host counts as out of reach
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Archive:
    """A data set as its makers publish it.

    Attributes:
        name: of the data set, for messages.
        folder: the folder that it unpacks to.
        marker: a file or folder inside that shows that it is there.
        url: its address.
        md5: its checksum, 32 hexadecimal digits.
    """

    name: str
    folder: str
    marker: str
    url: str
    md5: str

    @property
    def file(self) -> str:
        """The file's name."""
        return self.url.rsplit("/", 1)[-1]


def locate(archive: Archive, roots: Sequence[Path], download: bool) -> Path:
    """The folder of a data set, made from its archive if that is wanted and necessary.

    Args:
        archive: what is wanted.
        roots: where to look: folders that contain it, or that are it.
        download: whether to unpack the archive that lies there, or else to fetch it.

    Returns:
        the folder; ``marker`` is in it.

    Raises:
        DataNotFoundError: it is not here, and cannot be had; says what to put where.
        DataError: the archive is damaged, or would unpack to somewhere else.
    """
    looked = places.candidates(roots, [archive.folder])
    found = next((place for place in looked if (place / archive.marker).exists()), None)
    if found is not None:
        return found
    home = places.home(roots)
    target = home if home.name == archive.folder else home / archive.folder
    if target.is_dir() and any(target.iterdir()):
        raise DataNotFoundError(f"{archive.name}: there is a folder {target}, and no {archive.marker} in it; "
                                "put the whole data set there, or move the folder away")
    beside = [place / archive.file for place in (*roots, target.parent) if (place / archive.file).is_file()]
    if not download:
        raise DataNotFoundError(_advice(archive, looked, target, beside))
    if beside:
        check(beside[0], archive.md5)
        unpack(beside[0], target)
    else:
        fetched = fetch(archive, target)
        unpack(fetched, target)
        fetched.unlink()  # what was fetched here can be fetched again; an archive that lay there stays
    if not (target / archive.marker).exists():
        raise DataError(f"{archive.file} unpacked to {target}, and there is no {archive.marker} in it")
    return target


def check(path: Path, md5: str) -> None:
    """Hold that an archive is whole.

    Args:
        path: the archive.
        md5: the checksum that it should have.

    Raises:
        DataError: it has another one.
    """
    with path.open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if found != md5:
        raise DataError(f"{path} is damaged or only half downloaded ({path.stat().st_size} bytes): its MD5 is {found}, "
                        f"expected was {md5}; delete it and download it again")


def fetch(archive: Archive, target: Path) -> Path:
    """Download an archive beside the folder that it will become; gives up within seconds if nobody answers.

    Args:
        archive: what to fetch.
        target: the folder that it will become.

    Returns:
        the file, checked.

    Raises:
        DataNotFoundError: the host is out of reach or has no such file.
        DataError: what came has another checksum.
    """
    path = target.parent / archive.file
    part = path.with_name(path.name + ".part")
    try:
        with urllib.request.urlopen(archive.url, timeout=_TIMEOUT) as answer:  # noqa: S310
            path.parent.mkdir(parents=True, exist_ok=True)
            _store(answer, part)
        check(part, archive.md5)
        part.replace(path)
    except (OSError, HTTPException) as error:
        raise DataNotFoundError(
            f"{archive.name} could not be fetched from {archive.url} ({getattr(error, 'reason', None) or error}); "
            f"put {archive.file} from there into {path.parent} and load with download=True, "
            f"or put the unpacked data set at {target}") from error
    finally:
        part.unlink(missing_ok=True)
    return path


def unpack(path: Path, target: Path) -> None:
    """Unpack one folder of an archive; it appears under its name when all of it is there.

    Args:
        path: the archive, checked.
        target: the folder to make, called as in the archive.

    Raises:
        DataError: the archive is damaged, has no such folder, or a member that belongs elsewhere.
    """
    workshop = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        with tarfile.open(path) as archive:
            archive.extractall(workshop, filter="data")
        if not (workshop / target.name).is_dir():
            raise DataError(f"{path} holds no folder {target.name}")
        if target.is_dir():
            target.rmdir()  # it is empty, or `locate` would have complained
        (workshop / target.name).replace(target)
    except tarfile.FilterError as error:
        raise DataError(f"{path} is not unpacked, for it would write outside its folder: {error}") from error
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise DataError(f"{path} is damaged: {error}") from error
    finally:
        shutil.rmtree(workshop, ignore_errors=True)


def _store(answer: IO[bytes], part: Path) -> None:
    with part.open("wb") as file:
        shutil.copyfileobj(answer, file, _CHUNK)


def _advice(archive: Archive, looked: Sequence[Path], target: Path, beside: Sequence[Path]) -> str:
    where = " nor ".join(str(place / archive.marker) for place in looked)
    if beside:
        return f"{archive.name} is not unpacked yet: load it with download=True, which takes {beside[0]}"
    return (f"{archive.name} is not here: there is neither {where}. Load it with download=True, which fetches "
            f"{archive.url}, or put the unpacked data set at {target}")
