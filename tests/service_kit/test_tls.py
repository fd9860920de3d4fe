"""One more authority is trusted beside the machine's, and a file that is none is refused."""

import ssl
from pathlib import Path

import pytest

from local_cloud.certificates import ThrowAwayAuthority
from service_kit.tls import check_authority, client_context


def certificates_in(context: ssl.SSLContext) -> int:
    return context.cert_store_stats()["x509"]


def test_the_extra_authority_comes_on_top_of_the_machine_s(tmp_path: Path) -> None:
    authority = ThrowAwayAuthority(tmp_path)
    alone = certificates_in(client_context(None))
    assert alone > 0
    assert certificates_in(client_context(authority.ca_file)) == alone + 1


@pytest.mark.parametrize("extra", [False, True])
def test_names_and_certificates_are_checked(tmp_path: Path, extra: bool) -> None:
    context = client_context(ThrowAwayAuthority(tmp_path).ca_file if extra else None)
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED


def test_a_file_of_an_authority_is_taken_as_it_is(tmp_path: Path) -> None:
    path = ThrowAwayAuthority(tmp_path).ca_file
    assert check_authority(path) == path


@pytest.mark.parametrize(
    "content", [b"", b"no PEM\n", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_a_file_without_a_certificate_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "ca.pem"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="there is no certificate in PEM form"):
        check_authority(path)


def test_a_private_key_alone_is_refused(tmp_path: Path) -> None:
    _, key = ThrowAwayAuthority(tmp_path).issue()
    with pytest.raises(ValueError, match="there is no certificate in PEM form"):
        check_authority(key)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cannot read .*: No such file"):
        check_authority(tmp_path / "missing.pem")
    with pytest.raises(ValueError, match="cannot read"):
        check_authority(tmp_path)
