"""A pair of files is checked, shown, and followed."""

from __future__ import annotations

import asyncio
import shutil
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography import x509

import service_kit.certificate
from local_cloud.certificates import ThrowAwayAuthority
from service_kit.certificate import Certificate, check_pair


@pytest.fixture
def authority(tmp_path: Path) -> ThrowAwayAuthority:
    return ThrowAwayAuthority(tmp_path)


@pytest.fixture
def files(authority: ThrowAwayAuthority, tmp_path: Path) -> tuple[Path, Path]:
    """The two files of a deployment."""
    served = tmp_path / "tls.crt", tmp_path / "tls.key"
    replace(served, authority.issue())
    return served


def replace(files: tuple[Path, Path], by: tuple[Path, Path]) -> None:
    for file, new in zip(files, by, strict=True):
        shutil.copy(new, file.with_suffix(".new"))
        file.with_suffix(".new").replace(file)


def serial(certificate: bytes | Path) -> int:
    if isinstance(certificate, Path):
        return x509.load_pem_x509_certificate(certificate.read_bytes()).serial_number
    return x509.load_der_x509_certificate(certificate).serial_number


class Door:
    """A server that shows the certificate and echoes lines."""

    def __init__(self, certificate: Certificate, authority: ThrowAwayAuthority) -> None:
        self.certificate = certificate
        self._authority = authority
        self._ends: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Door:
        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._ends.append(writer)
            while line := await reader.readline():
                writer.write(line)

        self._server = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=self.certificate.context)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for end in self._ends:
            end.close()
        await asyncio.gather(*(end.wait_closed() for end in self._ends), return_exceptions=True)

    async def connect(
        self, name: str = "localhost", trust: ssl.SSLContext | None = None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, int]:
        """A connection, and the serial number of what it was shown."""
        port = self._server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=trust or self._authority.client_context(), server_hostname=name
        )
        self._ends.append(writer)
        return reader, writer, serial(writer.get_extra_info("ssl_object").getpeercert(binary_form=True))


@pytest.fixture
async def door(files: tuple[Path, Path], authority: ThrowAwayAuthority) -> AsyncIterator[Door]:
    async with Door(Certificate(*files), authority) as door:
        yield door


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])  # an address is no name to be indicated
async def test_a_new_connection_gets_the_new_certificate_and_an_old_one_goes_on(
    door: Door, files: tuple[Path, Path], authority: ThrowAwayAuthority, name: str
) -> None:
    reader, writer, shown = await door.connect(name)
    assert shown == serial(files[0])
    replace(files, authority.issue())
    assert shown != serial(files[0])
    assert door.certificate.renew() is True
    assert (await door.connect(name))[2] == serial(files[0])
    writer.write(b"still there\n")
    assert await reader.readline() == b"still there\n"
    assert door.certificate.renew() is None


async def test_files_that_do_not_fit_change_nothing_until_they_do(
    door: Door, files: tuple[Path, Path], authority: ThrowAwayAuthority
) -> None:
    old, new = serial(files[0]), authority.issue()
    shutil.copy(new[0], files[0])  # and its key is not there yet
    assert door.certificate.renew() is False
    assert door.certificate.renew() is None
    assert (await door.connect())[2] == old
    files[0].unlink()
    assert door.certificate.renew() is False
    assert (await door.connect())[2] == old
    replace(files, new)
    assert door.certificate.renew() is True
    assert (await door.connect())[2] == serial(new[0])


async def test_the_files_are_followed(
    door: Door,
    files: tuple[Path, Path],
    authority: ThrowAwayAuthority,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(service_kit.certificate, "LOOK_SECONDS", 0.02)
    async with door.certificate.renewed():
        replace(files, authority.issue())
        async with asyncio.timeout(10):
            while (await door.connect())[2] != serial(files[0]):
                pass


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")  # old ones are the point
async def test_nothing_older_than_tls_1_2_is_spoken(door: Door, authority: ThrowAwayAuthority) -> None:
    assert door.certificate.context.minimum_version is ssl.TLSVersion.TLSv1_2  # whatever the machine's OpenSSL allows
    old = authority.client_context()
    old.set_ciphers("ALL:@SECLEVEL=0")
    old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        await door.connect(trust=old)


async def test_a_server_says_nothing_before_it_is_asked(door: Door) -> None:
    reader, writer, _ = await door.connect()
    writer.write(b"anything?\n")
    assert await reader.readline() == b"anything?\n"  # tickets would have come before
    tls = writer.get_extra_info("ssl_object")
    assert tls.version() == "TLSv1.3"
    assert not tls.session.has_ticket


def test_a_pair_that_fits_is_taken(files: tuple[Path, Path]) -> None:
    check_pair(*files)


def test_a_key_of_another_certificate_is_refused(files: tuple[Path, Path], authority: ThrowAwayAuthority) -> None:
    with pytest.raises(ValueError, match="are no certificate and its private key"):
        check_pair(files[0], authority.issue()[1])


@pytest.mark.parametrize("content", ["", "no PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_what_is_no_certificate_is_refused(files: tuple[Path, Path], content: str) -> None:
    files[0].write_text(content)
    with pytest.raises(ValueError, match="are no certificate and its private key"):
        check_pair(*files)


def test_a_file_that_is_not_there_is_named(files: tuple[Path, Path]) -> None:
    files[1].unlink()
    with pytest.raises(ValueError, match=f"cannot read {files[1]}: No such file"):
        check_pair(*files)
