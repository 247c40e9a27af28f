"""A certificate for 127.0.0.1, made anew at every start and trusted by nobody but the kubeconfig beside it.

TLS is needed because ``kubectl`` and the official clients send a token over nothing else. The standard library can use
keys but not make them, hence the little arithmetic here: an ECDSA key on P-256 (FIPS 186-4, SEC 1) and one
self-signed X.509 certificate (RFC 5280) in DER. It protects loopback traffic of a development tool; it makes no claim
to resist side channels, and nothing else should use it.
"""

import base64
import hashlib
import secrets
import textwrap
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

_P = 2**256 - 2**224 + 2**192 + 2**96 - 1
_N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_G = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)
_BYTES = 32
_VALID_FOR = timedelta(days=365)
_SLACK = timedelta(days=1)  # For clocks that are set back.

_Point = tuple[int, int] | None  # None is the point at infinity.


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate and its key, in PEM."""

    certificate: str
    key: str


def self_signed(host: str = "127.0.0.1", *, now: datetime | None = None) -> KeyPair:
    """Return a new certificate for an IPv4 address and ``localhost``, valid for a year."""
    secret = secrets.randbelow(_N - 1) + 1
    public = _encode_point(_multiply(secret, _G))
    to_sign = _certificate_body(public, host, now or datetime.now(UTC))
    signed = _sequence(to_sign, _SIGNATURE_ALGORITHM, _bits(_sign(secret, to_sign)))
    private = _sequence(
        _integer(1),
        _tlv(0x04, secret.to_bytes(_BYTES, "big")),
        _tlv(0xA0, _oid("1.2.840.10045.3.1.7")),
        _tlv(0xA1, _bits(public)),
    )
    return KeyPair(_pem("CERTIFICATE", signed), _pem("EC PRIVATE KEY", private))


# --- the curve ----------------------------------------------------------------------------------------


def _add(left: _Point, right: _Point) -> _Point:
    if left is None or right is None:
        return left or right
    (x1, y1), (x2, y2) = left, right
    if x1 == x2 and (y1 + y2) % _P == 0:
        return None
    slope = (3 * x1 * x1 - 3) * pow(2 * y1, -1, _P) if left == right else (y2 - y1) * pow(x2 - x1, -1, _P)
    x3 = (slope * slope - x1 - x2) % _P
    return x3, (slope * (x1 - x3) - y1) % _P


def _multiply(factor: int, point: _Point) -> tuple[int, int]:
    total: _Point = None
    while factor:
        if factor & 1:
            total = _add(total, point)
        point = _add(point, point)
        factor >>= 1
    assert total is not None, "the factor is below the order of the group"
    return total


def _sign(secret: int, message: bytes) -> bytes:
    digest = int.from_bytes(hashlib.sha256(message).digest(), "big")
    while True:
        nonce = secrets.randbelow(_N - 1) + 1
        r = _multiply(nonce, _G)[0] % _N
        s = pow(nonce, -1, _N) * (digest + r * secret) % _N
        if r and s:
            return _sequence(_integer(r), _integer(s))


def _encode_point(point: tuple[int, int]) -> bytes:
    return b"\x04" + point[0].to_bytes(_BYTES, "big") + point[1].to_bytes(_BYTES, "big")


# --- the certificate ----------------------------------------------------------------------------------


def _certificate_body(public: bytes, host: str, now: datetime) -> bytes:
    name = _sequence(_tlv(0x31, _sequence(_oid("2.5.4.3"), _tlv(0x0C, b"raftsman development Kubernetes"))))
    key = _sequence(_sequence(_oid("1.2.840.10045.2.1"), _oid("1.2.840.10045.3.1.7")), _bits(public))
    return _sequence(
        _tlv(0xA0, _integer(2)),  # Version 3.
        _integer(secrets.randbits(120) | 1),
        _SIGNATURE_ALGORITHM,
        name,
        _sequence(_time(now - _SLACK), _time(now + _VALID_FOR)),
        name,
        key,
        _tlv(0xA3, _sequence(*_extensions(public, host))),
    )


def _extensions(public: bytes, host: str) -> list[bytes]:
    identifier = hashlib.sha256(public).digest()[:20]
    address = bytes(int(part) for part in host.split("."))
    return [
        _extension("2.5.29.19", _sequence(_tlv(0x01, b"\xff")), critical=True),  # Signs certificates: its own.
        _extension("2.5.29.15", _tlv(0x03, b"\x02\x84"), critical=True),  # digitalSignature, keyCertSign.
        _extension("2.5.29.37", _sequence(_oid("1.3.6.1.5.5.7.3.1"))),  # serverAuth.
        _extension("2.5.29.14", _tlv(0x04, identifier)),
        _extension("2.5.29.35", _sequence(_tlv(0x80, identifier))),
        _extension("2.5.29.17", _sequence(_tlv(0x82, b"localhost"), _tlv(0x87, address))),
    ]


def _extension(identifier: str, value: bytes, *, critical: bool = False) -> bytes:
    flag = _tlv(0x01, b"\xff") if critical else b""
    return _sequence(_oid(identifier), flag, _tlv(0x04, value))


# --- DER ----------------------------------------------------------------------------------------------


def _tlv(tag: int, content: bytes) -> bytes:
    length = len(content)
    if length < 0x80:
        return bytes([tag, length]) + content
    size = (length.bit_length() + 7) // 8
    return bytes([tag, 0x80 | size]) + length.to_bytes(size, "big") + content


def _sequence(*parts: bytes) -> bytes:
    return _tlv(0x30, b"".join(parts))


def _integer(value: int) -> bytes:
    return _tlv(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _bits(content: bytes) -> bytes:
    return _tlv(0x03, b"\x00" + content)


def _time(instant: datetime) -> bytes:
    return _tlv(0x17, instant.strftime("%y%m%d%H%M%SZ").encode())


def _oid(dotted: str) -> bytes:
    first, second, *rest = (int(part) for part in dotted.split("."))
    return _tlv(0x06, bytes([first * 40 + second]) + b"".join(_base128(part) for part in rest))


def _base128(value: int) -> bytes:
    digits = [value & 0x7F]
    while value := value >> 7:
        digits.append(0x80 | (value & 0x7F))
    return bytes(reversed(digits))


def _pem(label: str, content: bytes) -> str:
    text = "\n".join(textwrap.wrap(base64.b64encode(content).decode(), 64))
    return f"-----BEGIN {label}-----\n{text}\n-----END {label}-----\n"


_SIGNATURE_ALGORITHM = _sequence(_oid("1.2.840.10045.4.3.2"))  # ecdsa-with-SHA256.
