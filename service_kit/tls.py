"""TLS towards the servers that we dial: the model, Redis, the vault, an issuer.

One context for the process: it trusts what the machine trusts (``SSL_CERT_FILE`` says otherwise) and, with
``EXTRA_CA_FILE``, one more authority beside that. Names and certificates are always checked; there is no switch.
"""

from __future__ import annotations

import ssl
from pathlib import Path


def check_authority(path: Path) -> Path:
    """The file of an authority, if it holds a certificate. Raises ValueError, for whoever set it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(path)
    except ssl.SSLError as error:
        raise ValueError(f"there is no certificate in PEM form in {path}") from error
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from error
    if not context.cert_store_stats()["x509"]:
        raise ValueError(f"there is no certificate in PEM form in {path}")
    return path


def client_context(extra_ca_file: Path | None) -> ssl.SSLContext:
    """What every client of the process dials with; reading the machine's authorities takes a while, so do it once."""
    context = ssl.create_default_context()
    if extra_ca_file is not None:
        context.load_verify_locations(extra_ca_file)
    return context


def with_files(
    context: ssl.SSLContext, *, ca_certs: str | None, certfile: str | None, keyfile: str | None, password: str | None
) -> ssl.SSLContext:
    """A context that trusts what the given one does, and ``ca_certs``, and shows a certificate to who asks for one."""
    own = ssl.create_default_context()
    own.load_verify_locations(cafile=ca_certs, cadata=b"".join(context.get_ca_certs(binary_form=True)))
    if certfile is not None:
        own.load_cert_chain(certfile, keyfile, password)
    return own
