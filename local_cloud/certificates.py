"""A certificate authority that is thrown away, and certificates of it for servers on loopback.

They carry what strict verification asks for (Python 3.13 verifies so by default): basicConstraints and keyUsage,
critical, and the key identifiers of both ends.
"""

import ipaddress
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LOOPBACK = ("localhost", "127.0.0.1")
_LIFETIME = timedelta(days=2)
_FOR_BOTH_ENDS = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
_EARLIER = timedelta(hours=1)  # clocks differ


class ThrowAwayAuthority:
    """Signs for anybody who has it; its key never leaves memory.

    Attributes:
        ca_file: its certificate, as ``EXTRA_CA_FILE`` takes it.
    """

    def __init__(self, folder: Path, name: str = "local cloud authority") -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named(name)
        self._issued = 0
        self._certificate = (
            _builder(self._name, self._name, self._key.public_key(), is_authority=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        self.ca_file = folder / "ca.pem"
        self.ca_file.write_bytes(self._certificate.public_bytes(Encoding.PEM))

    def issue(self, *names: str) -> tuple[Path, Path]:
        """The files of a new certificate, of a server or client with these names and addresses, and of its key."""
        names = names or LOOPBACK
        key = ec.generate_private_key(ec.SECP256R1())
        issuer_key = self._certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        certificate = (
            _builder(_named(names[0]), self._name, key.public_key(), is_authority=False)
            .add_extension(x509.SubjectAlternativeName([_alternative(name) for name in names]), critical=False)
            .add_extension(x509.ExtendedKeyUsage(_FOR_BOTH_ENDS), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_key),
                critical=False,
            )
            .sign(self._key, hashes.SHA256())
        )
        self._issued += 1
        certificate_file = self._folder / f"server-{self._issued}.pem"
        certificate_file.write_bytes(certificate.public_bytes(Encoding.PEM))
        key_file = self._folder / f"server-{self._issued}.key"
        key_file.touch(0o600)
        key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return certificate_file, key_file

    def server_context(self, *names: str) -> ssl.SSLContext:
        """What a server with a new certificate for these names serves with; by default, one on loopback."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.issue(*names))
        return context

    def client_context(self) -> ssl.SSLContext:
        """What trusts this authority, and no other."""
        return ssl.create_default_context(cafile=self.ca_file)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, *, is_authority: bool
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        x509.CertificateBuilder(issuer, subject, key, x509.random_serial_number(), now - _EARLIER, now + _LIFETIME)
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=0 if is_authority else None), critical=True)
        .add_extension(usage, critical=True)
    )
