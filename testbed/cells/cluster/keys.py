"""Keys of a cluster: an authority signs the certificates of scheduler, workers and clients, and is then forgotten.

Each side of a connection proves that it holds a key which the authority signed. The private key of the authority is
never written, so nobody can sign further certificates later.
"""

import os
import stat
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from node_agent.errors import EnvironmentLacking, InputError

INSTALL_HINT = ".venv/bin/python -m pip install --constraint requirements.lock --editable '.[cluster]'"
ROLES = ("scheduler", "worker", "client")
AUTHORITY = "ca.pem"
MAX_DAYS = 3650


@dataclass(frozen=True, slots=True)
class KeyFiles:
    """The files that one side of a connection needs, in PEM."""

    authority: Path
    certificate: Path
    key: Path


def key_files(folder: Path, role: str) -> KeyFiles:
    """Return the files of a role in a folder that `make_keys` made.

    Raises:
        InputError: a file is missing, or others than its owner may read the key.
    """
    found = KeyFiles(folder / AUTHORITY, folder / f"{role}.pem", folder / f"{role}-key.pem")
    for file in (found.authority, found.certificate, found.key):
        if not file.is_file():
            hint = "`dtoee-testbed cluster keys DIR` makes keys; copy those that each machine needs"
            raise InputError(f"{file}: there is no such key file", hint=hint)
    if found.key.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise InputError(f"{found.key}: other users may read this private key", hint=f"chmod 600 {found.key}")
    return found


def make_keys(folder: Path, *, days: int = 365) -> tuple[Path, ...]:
    """Make keys and certificates for one cluster.

    Args:
        folder: where the files are written, readable by their owner only; made if it does not exist.
        days: how long the certificates are valid.

    Returns:
        The files: the certificate of the authority, and certificate and key of each role.

    Raises:
        EnvironmentLacking: the extra `cluster` is not installed.
        InputError: such files exist already, `days` is out of range, or the folder cannot be written.
    """
    if not 1 <= days <= MAX_DAYS:
        raise InputError(f"certificates cannot be valid for {days} days", hint=f"1 to {MAX_DAYS}")
    names = [AUTHORITY, *(f"{role}{end}" for role in ROLES for end in (".pem", "-key.pem"))]
    contents = _contents(days)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if taken := [name for name in names if (folder / name).exists()]:
            raise InputError(f"{folder} holds keys already: {taken[0]}", hint="choose another folder, or remove them")
        for name in names:
            handle = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(contents[name])
    except OSError as error:
        raise InputError(f"{folder}: keys cannot be written: {error.strerror}", hint="choose another folder") from error
    return tuple(folder / name for name in names)


def _contents(days: int) -> dict[str, bytes]:
    """The content of each file, by its name."""
    try:
        from cryptography import x509  # noqa: PLC0415 - an extra
        from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
        from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415
        from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID  # noqa: PLC0415
    except ImportError as error:
        raise EnvironmentLacking("making keys needs the package cryptography", hint=INSTALL_HINT) from error

    def name(what: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"dtoee-testbed {what}")])

    def usage(*, signs: bool) -> x509.KeyUsage:
        return x509.KeyUsage(
            digital_signature=not signs, key_cert_sign=signs, crl_sign=signs, content_commitment=False,
            key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False,
            decipher_only=False,
        )  # fmt: skip

    def certificate(what: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder(name("authority"), name(what), key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(now - timedelta(days=1))  # clocks of machines differ
        builder = builder.not_valid_after(now + timedelta(days=days))
        identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        return builder.add_extension(identifier, critical=False)

    def pem(signed: x509.Certificate) -> bytes:
        return signed.public_bytes(serialization.Encoding.PEM)

    authority = ec.generate_private_key(ec.SECP256R1())
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key())
    builder = certificate("authority", authority)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    found = {AUTHORITY: pem(builder.add_extension(usage(signs=True), critical=True).sign(authority, hashes.SHA256()))}
    for role in ROLES:
        key = ec.generate_private_key(ec.SECP256R1())
        # With the key of a client alone, nobody can pose as a scheduler or worker.
        serves = [] if role == "client" else [ExtendedKeyUsageOID.SERVER_AUTH]
        builder = certificate(role, key).add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(issuer, critical=False).add_extension(usage(signs=False), critical=True)
        purposes = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, *serves])
        found[f"{role}.pem"] = pem(builder.add_extension(purposes, critical=False).sign(authority, hashes.SHA256()))
        found[f"{role}-key.pem"] = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    return found
