"""Writes the vectors beside this file from FORMATS.md alone: a second implementation, which shares no code with ours.

    pip install cryptography && python3 make.py

Everything is deterministic: running it again changes nothing. `tests/vectors.rs` holds our code to the result.
"""

import base64
import hashlib
import ipaddress
import json
import pathlib
import struct
import uuid

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

HERE = pathlib.Path(__file__).parent
KEY = uuid.UUID("01890a5d-ac96-774b-bcce-b302099a8057")
DATA_KEY = uuid.UUID("5f0c1f0e-8a39-4d57-9f07-2a6a8c3a3c11")
NODE = uuid.UUID("01890a5d-b000-7000-8000-00000000000a")
EARLIER_NODE = uuid.UUID("01890a5d-a000-7000-8000-000000000009")


def text(value):
    encoded = value.encode()
    return struct.pack(">H", len(encoded)) + encoded


def canonical(pairs):
    pairs = sorted((key.encode(), value.encode()) for key, value in pairs.items())
    out = struct.pack(">H", len(pairs))
    for key, value in pairs:
        out += struct.pack(">H", len(key)) + key + struct.pack(">H", len(value)) + value
    return out


def wrap(master, data_key, version, nonce, pairs):
    header = b"KWWK\x01\x01" + KEY.bytes + struct.pack(">I", version) + DATA_KEY.bytes + nonce
    aad = b"keyward/wrapped-key/v1\0" + header + canonical(pairs)
    return header, aad, AESGCM(master).encrypt(nonce, data_key, aad)


def write(name, value):
    (HERE / f"{name}.json").write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def contexts():
    valid = [
        {},
        {"patient": "4711"},
        {"a": "", "Z": "capital before small", "é": "after all of ASCII"},
        {"a=b": "c\0d", "a": "=b"},
    ]
    invalid = [
        ('{"a":"1","a":"1"}', "a key twice"),
        ('{"a":"1","\\u0061":"2"}', "a key twice, spelled differently"),
        ('{"":"1"}', "an empty key"),
        ('{"a":1}', "a value that is no text"),
        ('{"a":null}', "a value that is no text"),
        ('[["a","1"]]', "no object"),
        (json.dumps({f"{n:02}": "" for n in range(33)}), "33 pairs"),
        (json.dumps({"k": "v" * 8186}), "8,193 bytes"),
    ]
    write(
        "context",
        {
            "valid": [{"context": c, "canonical": canonical(c).hex()} for c in valid],
            "invalid": [{"json": j, "why": why} for j, why in invalid],
        },
    )


def wrapped_keys():
    master = bytes(range(32))
    cases = [
        ("a data key of 32 bytes", bytes(range(0x80, 0xA0)), 1, bytes(12), {"patient": "4711", "ward": "3"}),
        ("one byte, no context", b"\xff", 0x01020304, bytes(range(12)), {}),
    ]
    valid = []
    for name, data_key, version, nonce, pairs in cases:
        header, aad, ciphertext = wrap(master, data_key, version, nonce, pairs)
        valid.append(
            {
                "name": name,
                "master_key": master.hex(),
                "plaintext": data_key.hex(),
                "key": str(KEY),
                "version": version,
                "data_key": str(DATA_KEY),
                "nonce": nonce.hex(),
                "context": pairs,
                "aad": aad.hex(),
                "wrapped_key": (header + ciphertext).hex(),
                "base64": base64.b64encode(header + ciphertext).decode(),
            }
        )
    good = bytes.fromhex(valid[0]["wrapped_key"])
    invalid = [
        (b"", "nothing"),
        (b"KWWX" + good[4:], "another magic"),
        (good[:4] + b"\x02" + good[5:], "another format"),
        (good[:5] + b"\x02" + good[6:], "another suite"),
        (good[:22] + bytes(4) + good[26:], "version 0"),
        (good[:54], "no ciphertext"),
        (good[:70], "a tag alone"),
        (good[:54] + bytes(4096 + 17), "a data key of 4,097 bytes"),
    ]
    write("wrapped_key", {"valid": valid, "invalid": [{"bytes": b.hex(), "why": why} for b, why in invalid]})


KINDS = {"user": 1, "service": 2, "contractor": 3}
SURFACES = {"native": 1, "host": 2, "system": 3}
OUTCOMES = {"allowed": 1, "denied": 2, "failed": 3, "withheld": 4}


def address(value):
    value = ipaddress.ip_address(value)
    return bytes([value.version]) + value.packed


OPTIONAL = [
    ("principal", lambda v: uuid.UUID(v).bytes),
    ("person", text),
    ("principal_kind", lambda v: bytes([KINDS[v]])),
    ("credential", lambda v: uuid.UUID(v).bytes),
    ("source", address),
    ("key", lambda v: uuid.UUID(v).bytes),
    ("key_version", lambda v: struct.pack(">I", v)),
    ("key_class", text),
    ("data_key", lambda v: uuid.UUID(v).bytes),
    ("context_digest", bytes.fromhex),
    ("change", lambda v: uuid.UUID(v).bytes),
    ("detail", lambda v: struct.pack(">I", len(v.encode())) + v.encode()),
]


def encode(r):
    present = sum(1 << bit for bit, (name, _) in enumerate(OPTIONAL) if name in r)
    out = b"\x01" + struct.pack(">Hq", present, r["time_micros"])
    out += uuid.UUID(r["node"]).bytes + struct.pack(">Q", r["sequence"])
    out += uuid.UUID(r["request"]).bytes + struct.pack(">I", r["item"])
    out += bytes([SURFACES[r["surface"]], OUTCOMES[r["outcome"]]])
    out += struct.pack(">QIII", r["revision"], r["bytes_in"], r["bytes_out"], r["count"])
    out += text(r["action"]) + text(r["reason"]) + text(r["region"])
    out += struct.pack(">H", len(r["policies"])) + b"".join(map(text, r["policies"]))
    return out + b"".join(write_field(r[name]) for name, write_field in OPTIONAL if name in r)


def record(sequence, **fields):
    return {
        "time_micros": 1_767_225_600_000_000 + sequence,
        "node": str(NODE),
        "sequence": sequence,
        "request": "01890a5d-ffff-7000-8000-000000000001",
        "item": 0,
        "surface": "native",
        "action": "unwrap",
        "outcome": "allowed",
        "reason": "",
        "policies": [],
        "revision": 42,
        "region": "eu-central-1",
        "bytes_in": 102,
        "bytes_out": 32,
        "count": 1,
        **fields,
    }


UNWRAP = {
    "principal": "01890a5d-1111-7000-8000-000000000001",
    "principal_kind": "service",
    "credential": "01890a5d-2222-7000-8000-000000000001",
    "source": "10.1.2.3",
    "key": str(KEY),
    "key_version": 3,
    "key_class": "imaging",
    "data_key": str(DATA_KEY),
    "policies": ["role/unwrapper"],
    "context_digest": "c0" * 32,
}


def records():
    cases = {
        "a typical unwrap": record(7, **UNWRAP),
        "everything": record(
            2**64 - 1,
            **{**UNWRAP, "source": "2001:db8::1", "principal_kind": "contractor", "outcome": "denied"},
            reason="not_permitted",
            person="erika",
            item=999,
            change="01890a5d-3333-7000-8000-000000000001",
            detail='{"before":null,"after":{"state":"revoked"}}',
        )
        | {"surface": "host", "policies": ["guard/region", "guard/é"], "time_micros": -1},
        "counted refusals": record(
            8, action="authenticate", outcome="denied", reason="unauthenticated", count=1000, bytes_in=0, bytes_out=0
        ),
    }
    good = encode(cases["counted refusals"])
    unwrap = encode(cases["a typical unwrap"])
    invalid = [
        (b"", "nothing"),
        (b"\x02" + good[1:], "another format"),
        (good[:1] + b"\x10\x00" + good[3:], "a presence bit that is not defined"),
        (good + b"\0", "a trailing byte"),
        (good[:-1], "cut off"),
        (good[:55] + b"\x09" + good[56:], "an unknown surface"),
        (good[:56] + b"\x00" + good[57:], "an unknown outcome"),
        (good.replace(b"authenticate", b"authenticat\xff"), "text that is not UTF-8"),
        (unwrap.replace(b"\x04\x0a\x01\x02\x03", b"\x05\x0a\x01\x02\x03"), "an unknown kind of address"),
        (unwrap.replace(b"\0\0\0\x03\0\x07imaging", b"\0\0\0\0\0\x07imaging"), "key version 0"),
    ]
    assert len({b for b, _ in invalid} | {good, unwrap}) == len(invalid) + 2
    write(
        "record",
        {
            "valid": [
                {
                    "name": name,
                    "record": r,
                    "bytes": encode(r).hex(),
                    "leaf_hash": hashlib.sha256(b"\0" + encode(r)).hexdigest(),
                }
                for name, r in cases.items()
            ],
            "invalid": [{"bytes": b.hex(), "why": why} for b, why in invalid],
        },
    )


def chain():
    audit, node = (Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in (1, 2))
    node_public = node.public_key().public_bytes_raw()
    predecessor = {"node": str(EARLIER_NODE), "head": "ab" * 32}
    announcement = {
        "public_key": node_public.hex(),
        "predecessor": predecessor,
        "signature": audit.sign(b"keyward/node-key/v1\0" + NODE.bytes + node_public).hex(),
    }
    leaves = [
        encode(record(0, surface="system", action="start", detail=json.dumps(announcement, separators=(",", ":")))),
        encode(record(1, **UNWRAP)),
        encode(record(2, **{**UNWRAP, "outcome": "denied"}, reason="key_revoked")),
    ]
    value = hashlib.sha256(
        b"keyward/chain-genesis/v1\0" + NODE.bytes + b"\x01" + EARLIER_NODE.bytes + bytes.fromhex(predecessor["head"])
    ).digest()
    genesis, hashes = value, []
    for leaf in leaves:
        value = hashlib.sha256(b"keyward/chain/v1\0" + value + hashlib.sha256(b"\0" + leaf).digest()).digest()
        hashes.append(value)
    heads = [
        {
            "sequence": n,
            "hash": hashes[n].hex(),
            "signature": node.sign(
                b"keyward/chain-head/v1\0" + NODE.bytes + struct.pack(">Q", n) + hashes[n]
            ).hex(),
        }
        for n in (0, 2)
    ]
    write(
        "chain",
        {
            "node": str(NODE),
            "predecessor": predecessor,
            "audit_key": audit.public_key().public_bytes_raw().hex(),
            "first_genesis": hashlib.sha256(b"keyward/chain-genesis/v1\0" + NODE.bytes + b"\0").hexdigest(),
            "genesis": genesis.hex(),
            "records": [leaf.hex() for leaf in leaves],
            "hashes": [h.hex() for h in hashes],
            "heads": heads,
        },
    )


def seal(data_key, log2, salt, prefix, wrapped, plaintext):
    bound = b"KWFE\x01\x01" + bytes([log2]) + salt + prefix
    info = b"keyward/stream/v1\0" + bound + wrapped[26:42]
    derived = HKDF(SHA256(), 64, salt, info).derive(data_key)
    key, commitment = derived[:32], derived[32:]
    header = bound + commitment + struct.pack(">H", len(wrapped)) + wrapped
    size = 1 << log2
    pieces = [plaintext[i : i + size] for i in range(0, len(plaintext), size)] or [b""]
    chunks = [
        AESGCM(key).encrypt(prefix + struct.pack(">IB", n, n + 1 == len(pieces)), piece, b"")
        for n, piece in enumerate(pieces)
    ]
    return key, header, chunks


def streams():
    data_key, log2 = bytes(range(0x80, 0xA0)), 6
    salt, prefix = bytes(range(0x20, 0x40)), bytes(range(1, 8))
    master, context = bytes(range(32)), {"patient": "4711", "ward": "3"}
    header, _, ciphertext = wrap(master, data_key, 1, bytes(12), context)
    wrapped = header + ciphertext
    header, _, ciphertext = wrap(bytes(range(1, 33)), data_key, 2, bytes(range(12)), context)
    rewrapped = header + ciphertext

    valid = []
    for length in (0, 1, 63, 64, 65, 128, 150):
        plaintext = bytes(i % 251 for i in range(length))
        key, header, chunks = seal(data_key, log2, salt, prefix, wrapped, plaintext)
        _, other_header, _ = seal(data_key, log2, salt, prefix, rewrapped, plaintext)
        valid.append(
            {
                "plaintext": plaintext.hex(),
                "stream": (header + b"".join(chunks)).hex(),
                "rewrapped": (other_header + b"".join(chunks)).hex(),
            }
        )

    key, header, (a, b, c) = seal(data_key, log2, salt, prefix, wrapped, bytes(150))
    empty_end = AESGCM(key).encrypt(prefix + struct.pack(">IB", 1, 1), b"", b"")
    _, _, (d, _) = seal(data_key, log2, salt, prefix, wrapped, bytes(65))
    flipped = bytes([a[0] ^ 1]) + a[1:]
    invalid = [
        (header + a + b, "the last chunk is missing"),
        (header + a + b + c[:-1], "the last byte is missing"),
        (header + a + b + c[:10], "less than a tag is left"),
        (header, "all chunks are missing"),
        (header + b + a + c, "chunks swapped"),
        (header + a + a + b + c, "a chunk twice"),
        (header + b + c, "the first chunk is missing"),
        (header + a + c, "a chunk in between is missing"),
        (header + a + b + c + c, "the last chunk twice"),
        (header + a + b + c + b"\0", "a byte more"),
        (header + flipped + b + c, "a bit flipped"),
        (header + d + empty_end, "an empty last chunk after others"),
        (header[:6] + b"\x07" + header[7:] + a + b + c, "another chunk size"),
        (header[:7] + b"\0" + header[8:] + a + b + c, "another salt"),
        (header[:39] + b"\0" + header[40:] + a + b + c, "another nonce prefix"),
        (header[:46] + b"\0" * 32 + header[78:] + a + b + c, "another commitment"),
        (header[:80 + 26] + bytes(16) + header[80 + 42 :] + a + b + c, "another data key id"),
        (b"KWFX" + header[4:] + a + b + c, "another magic"),
        (header[:4] + b"\x02" + header[5:] + a + b + c, "another format"),
        (header[:5] + b"\x02" + header[6:] + a + b + c, "another suite"),
        (header[:6] + b"\x05" + header[7:] + a + b + c, "chunks too small"),
        (header[:6] + b"\x19" + header[7:] + a + b + c, "chunks too large"),
        (header[:79] + b"\x65" + header[80:] + a + b + c, "another length of the wrapped key"),
    ]
    write(
        "stream",
        {
            "master_key": master.hex(),
            "context": context,
            "data_key": data_key.hex(),
            "chunk_size_log2": log2,
            "salt": salt.hex(),
            "nonce_prefix": prefix.hex(),
            "wrapped_key": wrapped.hex(),
            "rewrapped_key": rewrapped.hex(),
            "stream_key": key.hex(),
            "valid": valid,
            "invalid": [{"stream": s.hex(), "why": why} for s, why in invalid],
        },
    )


contexts()
wrapped_keys()
records()
chain()
streams()
