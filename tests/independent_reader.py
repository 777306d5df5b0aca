#!/usr/bin/env python3
"""Opens a Strongroom archive without Strongroom: proof that docs/formats.md suffices.

Uses only what docs/formats.md says, and no code of the product: where it fails, the document is wrong. Needs Python 3.11,
`cryptography` (with ML-KEM) and `zstandard`. From a data folder or a backup, and m officers' files with passphrases, it rebuilds the recovery key, opens
the keyring, checks the ledger against its checkpoint, and reads and checks every record.

usage: independent_reader.py --data DIR --officer FILE --passphrase-file FILE [--officer … --passphrase-file …] [--out DIR]

Prints a line per record: id, number of arrivals, SHA-256 of the original ("shredded" where its key was destroyed).
With --out, writes each original as ID.eml, further copies as ID-NUMBER.eml and renditions as ID.rendition.eml.
Ends with status 1 at the first thing that does not fit.
"""

import argparse
import base64
import hashlib
import hmac
import io
import json
import struct
import sys
import zlib
from pathlib import Path

import zstandard
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mlkem, x25519
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id


class Misfit(Exception):
    """Something is not as the document says."""


def check(holds, what):
    if not holds:
        raise Misfit(what)


# --- Conventions -----------------------------------------------------------------------------------------------------

def sha256(data):
    return hashlib.sha256(data).digest()


def frame(data):
    return struct.pack(">I", len(data)) + data


def unbase64(text):
    return base64.b64decode(text, validate=True)


def id_bytes(text):
    return base64.b32decode(text.upper() + "=" * (-len(text) % 8))


def id_text(data):
    return base64.b32encode(data).decode().lower().rstrip("=")


def extract(salt, material):
    return hmac.digest(salt or bytes(32), material, "sha256")


def expand(key, info, length):
    out, block, number = b"", b"", 1
    while len(out) < length:
        block = hmac.digest(key, block + info + bytes([number]), "sha256")
        out, number = out + block, number + 1
    return out[:length]


def hkdf(key, label, *context, length=32):
    info = b"".join(frame(part) for part in (b"strongroom/1", label.encode(), *context))
    return expand(extract(b"", key), info, length)


def unwrap(key, associated, sealed):
    return AESGCM(key).decrypt(sealed[:12], sealed[12:], associated)


CHUNK = 65536 + 16


def open_stream(key, associated, sealed):
    salt, commitment, body = sealed[:32], sealed[32:64], sealed[64:]
    public = hkdf(key, "part commitment", associated, salt, length=39)
    check(public[7:] == commitment, "a stream is sealed under another key, or for another place")
    cipher = AESGCM(hkdf(key, "part key", associated, salt))
    count = max(1, -(-len(body) // CHUNK))
    return b"".join(
        cipher.decrypt(public[:7] + struct.pack(">IB", n, n == count - 1), body[n * CHUNK:(n + 1) * CHUNK], None)
        for n in range(count)
    )


# What ends a CBOR array or map of indefinite length.
BREAK = object()


def cbor(data):
    """One CBOR item (RFC 8949), of the kinds that occur here."""
    stream = io.BytesIO(data)

    def item():
        first = stream.read(1)[0]
        major, low = first >> 5, first & 31
        if major == 7:
            check(low in (20, 21, 22, 31), f"CBOR simple value {low}")
            return {20: False, 21: True, 22: None, 31: BREAK}[low]
        if low == 31:
            check(major in (4, 5), f"CBOR major type {major} of indefinite length")
            items = list(iter(item, BREAK))
            return items if major == 4 else dict(zip(items[::2], items[1::2], strict=True))
        size = low if low < 24 else int.from_bytes(stream.read(1 << (low - 24)), "big")
        match major:
            case 0: return size
            case 1: return -1 - size
            case 2: return stream.read(size)
            case 3: return stream.read(size).decode()
            case 4: return [item() for _ in range(size)]
            case 5: return {item(): item() for _ in range(size)}
        raise Misfit(f"CBOR major type {major}")

    value = item()
    check(not stream.read(1), "bytes behind a CBOR item")
    return value


# --- HPKE with X-Wing ------------------------------------------------------------------------------------------------

HPKE_SUITE = b"HPKE" + bytes.fromhex("647a 0001 0002")


def xwing_decapsulate(seed, encapsulated):
    expanded = hashlib.shake_256(seed).digest(96)
    mlkem_key = mlkem.MLKEM768PrivateKey.from_seed_bytes(expanded[:64])
    x25519_key = x25519.X25519PrivateKey.from_private_bytes(expanded[64:])
    mlkem_part, x25519_part = encapsulated[:1088], encapsulated[1088:]
    first = mlkem_key.decapsulate(mlkem_part)
    second = x25519_key.exchange(x25519.X25519PublicKey.from_public_bytes(x25519_part))
    own = x25519_key.public_key().public_bytes_raw()
    return hashlib.sha3_256(first + second + x25519_part + own + bytes.fromhex("5c2e2f2f5e5c")).digest()


def xwing_public(seed):
    expanded = hashlib.shake_256(seed).digest(96)
    mlkem_key = mlkem.MLKEM768PrivateKey.from_seed_bytes(expanded[:64])
    x25519_key = x25519.X25519PrivateKey.from_private_bytes(expanded[64:])
    return mlkem_key.public_key().public_bytes_raw() + x25519_key.public_key().public_bytes_raw()


def hpke_open(seed, info, associated, sealed):
    def labelled_extract(salt, label, material):
        return extract(salt, b"HPKE-v1" + HPKE_SUITE + label + material)

    def labelled_expand(key, label, context, length):
        return expand(key, struct.pack(">H", length) + b"HPKE-v1" + HPKE_SUITE + label + context, length)

    context = b"\0" + labelled_extract(b"", b"psk_id_hash", b"") + labelled_extract(b"", b"info_hash", info)
    secret = labelled_extract(xwing_decapsulate(seed, sealed[:1120]), b"secret", b"")
    key = labelled_expand(secret, b"key", context, 32)
    nonce = labelled_expand(secret, b"base_nonce", context, 12)
    return AESGCM(key).decrypt(nonce, sealed[1120:], associated)


# --- Officers, shares, recovery key ----------------------------------------------------------------------------------

def officer_public(officer):
    return b"".join(frame(part) for part in (
        officer["name"].encode(), unbase64(officer["signing"]), unbase64(officer["sealing"])))


def open_officer(path, passphrase_path):
    """The officer's public part and X-Wing seed."""
    file = json.loads(Path(path).read_bytes())
    check(file["format"] == "strongroom officer 1", f"{path} is not an officer's file")
    lines = Path(passphrase_path).read_bytes().splitlines()
    cost = file["argon2id"]
    kdf = Argon2id(salt=unbase64(file["salt"]), length=32, iterations=cost["passes"], lanes=cost["lanes"],
                   memory_cost=cost["memory_kib"])
    key = hkdf(kdf.derive(lines[0]), "officer file")
    public = officer_public(file)
    try:
        secrets = unwrap(key, public, unbase64(file["sealed"]))
    except InvalidTag:
        raise Misfit(f"{path}: wrong passphrase, or altered") from None
    return public, secrets[32:]


def gf_multiply(a, b):
    product = 0
    while b:
        if b & 1:
            product ^= a
        a = a << 1 ^ (0x11B if a & 0x80 else 0)
        b >>= 1
    return product


def gf_invert(a):
    out = 1
    for _ in range(254):
        out = gf_multiply(out, a)
    return out


def interpolate_at_zero(points):
    """Lagrange over GF(256): points are (x, bytes); subtraction is XOR."""
    out = bytearray(len(points[0][1]))
    for x, values in points:
        weight = 1
        for other, _ in points:
            if other != x:
                weight = gf_multiply(weight, gf_multiply(other, gf_invert(other ^ x)))
        for place, value in enumerate(values):
            out[place] ^= gf_multiply(weight, value)
    return bytes(out)


def verify_p256(point, signature, message):
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    r, s = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
    key.verify(encode_dss_signature(r, s), message, ec.ECDSA(hashes.SHA256()))


def read_charter(data):
    file = json.loads((data / "transcript/charter.json").read_bytes())
    text, charter = file["text"].encode(), json.loads(file["text"])
    check(charter["format"] == "strongroom charter 1", "the charter's format is another one")
    for share in charter["shares"]:
        officer = share["officer"]
        signature = unbase64(file["signatures"][officer["name"]])
        verify_p256(unbase64(officer["signing"]), signature, frame(b"strongroom/1 transcript") + frame(text))
    return charter, sha256(text)


def rebuild_recovery_key(charter, officers):
    box_id, fingerprint = id_bytes(charter["box_id"]), sha256(unbase64(charter["recovery"]))
    points = []
    for public, seed in officers:
        share = next((s for s in charter["shares"] if officer_public(s["officer"]) == public), None)
        check(share, "an officer's file is not of this box's officers")
        associated = frame(box_id) + frame(public) + bytes([share["number"]])
        plain = hpke_open(seed, b"strongroom/1 share", associated, unbase64(share["sealed"]))
        check(plain[:32] == fingerprint, "a share is of another recovery key")
        whole = plain[32:]
        digest = sha256(frame(b"strongroom share") + frame(bytes.fromhex(share["salt"])) + frame(whole))
        check(digest == bytes.fromhex(share["digest"]), "a share is not the one in the charter")
        points.append((whole[0], whole[1:]))
    check(len(points) >= charter["required"], f"{charter['required']} officers are needed")
    secret = interpolate_at_zero(points[:charter["required"]])
    seed, share_check = secret[:32], secret[32:]
    check(hkdf(seed, "share check", length=16) == share_check, "the shares do not belong together")
    check(xwing_public(seed) == unbase64(charter["recovery"]), "the rebuilt key is not the charter's recovery key")
    return seed


# --- Keyring ---------------------------------------------------------------------------------------------------------

def open_keyring(data, recovery_seed):
    file = (data / "keyring").read_bytes()
    check(sha256(file[:-32]) == file[-32:], "the keyring is damaged")
    check(file[:10] == b"SRkeyrng\0\1", "the keyring has another format or version")
    front = file[:34]
    content_key = hpke_open(recovery_seed, b"strongroom/1 capsule", front, file[94:94 + 1168])
    body = cbor(open_stream(content_key, file[:94 + 1168], file[94 + 1168:-32]))
    check(id_bytes(body["box_id"]) == front[10:26], "the keyring's box id")
    check(body["generation"] == int.from_bytes(front[26:], "big"), "the keyring's generation")
    return body


def open_static_capsule(data, recovery_seed):
    file = (data / "static-capsule").read_bytes()
    check(sha256(file[:-32]) == file[-32:] and file[:10] == b"SRstatic\0\1", "the static capsule is damaged")
    content = cbor(hpke_open(recovery_seed, b"strongroom/1 static capsule", file[:26], file[26:-32]))
    check({"owner_auth", "lockout_auth"} <= content.keys(), "the static capsule's content")


# --- Ledger ----------------------------------------------------------------------------------------------------------

def tile_name(number):
    digits = str(number)
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    groups = [digits[i:i + 3] for i in range(0, len(digits), 3)]
    return "/".join(["x" + group for group in groups[:-1]] + groups[-1:])


def bundle(data):
    entries = []
    while data:
        length = int.from_bytes(data[:2], "big")
        check(len(data) >= 2 + length, "a bundle is cut")
        entries.append(data[2:2 + length])
        data = data[2 + length:]
    return entries


def read_ledger(data):
    """All committed entries, as bytes."""
    tail = (data / "ledger/tail").read_bytes()
    check(tail[:8] == b"SRTAIL\0\1" and zlib.crc32(tail[:16]) == int.from_bytes(tail[16:20], "big"), "the tail's header")
    first = int.from_bytes(tail[8:16], "big")
    entries = []
    for number in range(first // 256):
        full = bundle((data / "ledger/tile/entries" / tile_name(number)).read_bytes())
        check(len(full) == 256, f"bundle {number} is not full")
        entries += full
    rest = tail[20:]
    while rest:
        header, length = rest[:24], int.from_bytes(rest[16:20], "big")
        if len(rest) < 24 + length + 8 or not any(rest[24 + length:32 + length]):
            break  # a last batch that was never committed
        if header[:4] != b"BATC" and not any(rest[24:]):
            break
        check(header[:4] == b"BATC" and zlib.crc32(header[:20]) == int.from_bytes(header[20:], "big"), "a batch's header")
        body = rest[24:24 + length]
        check(zlib.crc32(body) == int.from_bytes(rest[24 + length:28 + length], "big"), "a batch is damaged")
        check(rest[28 + length:32 + length] == b"DONE", "a batch has no end")
        batch = bundle(body)
        check(int.from_bytes(header[4:12], "big") == len(entries), "a batch's number")
        check(int.from_bytes(header[12:16], "big") == len(batch), "a batch's number of entries")
        entries += batch
        rest = rest[32 + length:]
    return entries


def tree_root(leaves):
    """RFC 6962, section 2.1."""
    if not leaves:
        return sha256(b"")
    if len(leaves) == 1:
        return leaves[0]
    half = 1 << (len(leaves) - 1).bit_length() - 1
    return sha256(b"\1" + tree_root(leaves[:half]) + tree_root(leaves[half:]))


def verify_note(text, name, key_id, key, signature):
    """One signature line under one `NAME+KEYID+BASE64` key: True if it is of this key, and fits."""
    key_name, _, rest = key.partition("+")
    key_hex, _, encoded = rest.partition("+")
    if (key_name, bytes.fromhex(key_hex)) != (name, key_id):
        return False
    kind, public = unbase64(encoded)[0], unbase64(encoded)[1:]
    if kind == 1:
        check(key_id == sha256(name.encode() + b"\n\1" + public)[:4], "an Ed25519 key id")
        ed25519.Ed25519PublicKey.from_public_bytes(public).verify(signature, text)
    else:
        check(kind == 2 and key_id == sha256(public)[:4], "an ECDSA key id")
        serialization.load_der_public_key(public).verify(signature, text, ec.ECDSA(hashes.SHA256()))
    return True


def check_ledger(data, entries, parsed, note_seed):
    """Checks the checkpoint; gives the leaves, the checkpoint's size, and how many good signatures it has."""
    note = (data / "ledger/checkpoint").read_bytes()
    text, _, lines = note.partition(b"\n\n")
    text += b"\n"
    _, size, root = text.decode().splitlines()
    check(int(size) <= len(entries), "the checkpoint is of more entries than there are: the end was cut off")
    leaves = [sha256(b"\0" + entry) for entry in entries]
    check(tree_root(leaves[:int(size)]) == unbase64(root), "the entries do not give the checkpoint's root")
    signers = [key for entry in parsed if entry["kind"] in ("founded", "restored") for key in entry["signers"]]
    own = ed25519.Ed25519PrivateKey.from_private_bytes(note_seed).public_key().public_bytes_raw()
    own_id = sha256(text.splitlines()[0] + b"\n\1" + own)[:4]
    valid = set()
    for line in lines.decode().splitlines():
        dash, name, encoded = line.split(" ")
        check(dash == "—", "a signature line")
        raw = unbase64(encoded)
        if any(verify_note(text, name, raw[:4], key, raw[4:]) for key in signers):
            valid.add(raw[:4])
    check(own_id in valid, "the checkpoint is not signed by the keyring's note key")
    check(len(valid) >= 2, "the checkpoint is not signed by the TPM's key")
    times = [entry["time"] for entry in parsed]
    check(times == sorted(times), "times in the ledger decrease")
    return leaves, int(size), len(valid)


# --- Vault -----------------------------------------------------------------------------------------------------------

KINDS = {1: "original", 2: "rendition", 3: "manifest", 4: "arrival"}


class Vault:
    """One tenant's vault, opened with the tenant's keys."""

    def __init__(self, data, tenant, keys):
        self.folder, self.tenant, self.keys = data / "vault" / tenant, tenant, keys
        self.table = (self.folder / "keytable").read_bytes()
        check(self.table[:8] == b"SRKEYT\0\1", "the key table's format")

    def segment_file(self, number, suffix, magic):
        path = self.folder / f"seg-{number:08}.{suffix}"
        with open(path, "rb") as file:
            header = file.read(64)
        check(header[:8] == magic and zlib.crc32(header[:60]) == int.from_bytes(header[60:], "big"), f"{path}: header")
        check(int.from_bytes(header[8:12], "big") == number, f"{path}: number")
        check(header[13:13 + header[12]].decode() == self.tenant, f"{path}: tenant")
        return path

    def segment_key(self, number):
        entry = self.table[8 + 72 * (number - 1):8 + 72 * number]
        check(zlib.crc32(entry[:68]) == int.from_bytes(entry[68:], "big"), f"key table: entry of segment {number}")
        named, epoch = struct.unpack(">II", entry[:8])
        check(named == number, f"key table: number of segment {number}")
        associated = frame(self.tenant.encode()) + struct.pack(">I", number)
        return unwrap(hkdf(self.keys["archive"][epoch], "segment wrap"), associated, entry[8:68])

    def record_key(self, record, slot):
        """The record's key, None if it was shredded."""
        path = self.segment_file(slot["segment"], "slots", b"SRSLOT\0\1")
        with open(path, "rb") as file:
            file.seek(64 + 80 * slot["index"])
            raw = file.read(80)
        if raw == bytes(80):
            return None
        check(zlib.crc32(raw[:76]) == int.from_bytes(raw[76:], "big") and raw[:16] == record, f"{path}: slot of {id_text(record)}")
        wrapping = hkdf(self.segment_key(slot["segment"]), "slot wrap")
        return unwrap(wrapping, frame(self.tenant.encode()) + record, raw[16:76])

    def part(self, record, key, slot, kind, place, length):
        """A part's content. `length` is that of its sealed bytes."""
        path = self.segment_file(place["segment"], "seg", b"SRSEGM\0\1")
        with open(path, "rb") as file:
            file.seek(place["offset"])
            head, sealed, crc = file.read(44), file.read(length), file.read(4)
        where = f"{path}, offset {place['offset']}"
        check(head[:4] == b"PART" and zlib.crc32(head[:40]) == int.from_bytes(head[40:], "big"), f"{where}: no part here")
        check(zlib.crc32(sealed) == int.from_bytes(crc, "big"), f"{where}: damaged")
        segment, index, n = struct.unpack(">IIQ", head[24:40])
        check(head[4:20] == record and KINDS[head[20]] == kind, f"{where}: another part")
        check((segment, index, n) == (slot["segment"], slot["index"], length), f"{where}: slot or length")
        packed = open_stream(key, frame(self.tenant.encode()) + record + head[20:21], sealed)
        return zstandard.ZstdDecompressor().decompressobj().decompress(packed)

    def described_part(self, record, key, slot, kind, entry):
        """A part that a manifest describes; checks its commitment."""
        check(entry["compression"] == "zstd", "unknown compression")
        content = self.part(record, key, slot, kind, entry, entry["sealed_length"])
        check(len(content) == entry["length"], f"length of {kind} of {id_text(record)}")
        check(sha256(unbase64(entry["salt"]) + content) == bytes.fromhex(entry["commitment"]), f"commitment to {kind} of {id_text(record)}")
        return content

    def text(self, record, key, kind, entry):
        """A manifest or arrival that a ledger entry names; checks the entry's commitment."""
        content = self.part(record, key, entry["slot"], kind, entry["part"], entry["part"]["length"])
        check(sha256(content) == bytes.fromhex(entry["commitment"]), f"commitment to {kind} of {id_text(record)}")
        value = json.loads(content)
        check(value["version"] == 1 and value["record"] == id_text(record), f"{kind} of {id_text(record)}")
        return value


def read_record(vault, record, history, out):
    """Reads one record with all that the ledger says about it; gives its line."""
    name, slot = id_text(record), history[0]["slot"]
    key = vault.record_key(record, slot)
    if key is None:
        check(any(entry["kind"] == "shredded" for entry in history), f"record {name} has no key, and no entry says why")
        return f"{name} {sum(entry['kind'] == 'arrival' for entry in history)} shredded"
    manifests, later = [], []
    for entry in history:
        if entry["kind"] == "rendition" or entry["kind"] == "arrival" and entry["arrival"] == 0:
            manifests.append(vault.text(record, key, "manifest", entry))
            check(manifests[-1]["revision"] == len(manifests), f"revision of {name}")
        elif entry["kind"] == "arrival":
            later.append(vault.text(record, key, "arrival", entry)["arrival"])
    manifest = manifests[-1]
    original = vault.described_part(record, key, slot, "original", manifest["original"])
    copies = [(0, original)]
    for arrival in later:
        report = arrival.get("report")
        suffix = unbase64(report["own_suffix"]) if report else b""
        shared = original[arrival["shared_from"]:arrival.get("shared_until")]
        copies.append((arrival["number"], unbase64(arrival["own_prefix"]) + shared + suffix))
    check([number for number, _ in copies] == list(range(len(copies))), f"arrivals of {name}")
    first = manifest["arrival"]
    shared = sha256(original[first["shared_from"]:first.get("shared_until")])
    check(hkdf(vault.keys["join"], "join hash", shared) == bytes.fromhex(manifest["join"]), f"join value of {name}")
    renditions = [vault.described_part(record, key, slot, "rendition", m["rendition"]) for m in manifests if m["rendition"]]
    if out:
        for number, content in copies:
            (out / (f"{name}-{number}.eml" if number else f"{name}.eml")).write_bytes(content)
        if renditions:
            (out / f"{name}.rendition.eml").write_bytes(renditions[-1])
    return f"{name} {len(copies)} {sha256(original).hex()}"


# --- What else the keyring opens -------------------------------------------------------------------------------------

DETAIL = {"people-changed": "people"}


def read_sealed_details(parsed, key):
    count = 0
    for entry in parsed:
        if "sealed" in entry:
            associated = DETAIL.get(entry["kind"], entry["kind"]).encode()
            json.loads(unwrap(key, associated, unbase64(entry["sealed"])))
            count += 1
    return count


def read_people(data, key):
    path = data / "people"
    return cbor(unwrap(hkdf(key, "people file"), b"people/1", path.read_bytes())) if path.exists() else {}


def read_cases(data, key, charter):
    wrapping = hkdf(key, "people file", b"cases")
    officers = {share["officer"]["name"]: share["officer"] for share in charter["shares"]}
    cases = []
    for path in sorted((data / "cases").glob("*")):
        case = cbor(unwrap(wrapping, id_bytes(path.name), path.read_bytes()))
        signed = b"strongroom statement/1\n" + case["statement"].encode()
        check(json.loads(case["statement"])["subject"]["case"] == path.name, f"statement of case {path.name}")
        for name, approval in case["approvals"].items():
            verify_p256(unbase64(officers[name]["signing"]), unbase64(approval["signature"]), signed)
        cases.append(case)
    return cases


def read_escrow(data, tenant, key, commitments):
    items = []
    for path in sorted((data / "escrow" / tenant).glob("*")):
        item_id = id_bytes(path.name)
        item = cbor(unwrap(hkdf(key, "escrow item", item_id), item_id, path.read_bytes()))
        check(item["version"] in (1, 2) and item["format"] in ("S/MIME", "OpenPGP"), f"escrow item {path.name}")
        check(path.name in commitments, f"escrow item {path.name} is not in the ledger")
        if item["version"] == 2 and item["format"] == "S/MIME":
            fingerprint = sha256(smime_certificate(item["secret"])).hex().encode()
            check(sha256(item["salt"] + fingerprint).hex() == commitments[path.name], f"commitment to {path.name}")
        items.append(item)
    return items


def smime_certificate(secret):
    """The second OCTET STRING in a SEQUENCE, DER."""
    def value(data):
        length, start = data[1], 2
        if length & 0x80:
            start += length & 0x7f
            length = int.from_bytes(data[2:start], "big")
        return data[start:start + length], data[start + length:]
    _, certificate = value(value(secret)[0])
    return value(certificate)[0]


# --- All of it -------------------------------------------------------------------------------------------------------

def read_archive(data, officers, out):
    say = lambda text: print(text, file=sys.stderr)
    charter, charter_digest = read_charter(data)
    recovery_seed = rebuild_recovery_key(charter, officers)
    keyring = open_keyring(data, recovery_seed)
    open_static_capsule(data, recovery_seed)
    say(f"box {keyring['box_id']}, keyring generation {keyring['generation']}, opened by {len(officers)} officers")

    entries = read_ledger(data)
    parsed = [json.loads(entry) for entry in entries]
    check(parsed[0]["kind"] == "founded" and bytes.fromhex(parsed[0]["transcript"]) == charter_digest, "the founding entry")
    leaves, size, valid = check_ledger(data, entries, parsed, keyring["note_seed"])
    head = keyring["head"]
    check(tree_root(leaves[:head["size"]]).hex() == head["root"], "the keyring's head is not of this ledger")
    details = read_sealed_details(parsed, keyring["ledger_detail"])
    say(f"ledger: {len(entries)} entries, {size} under a checkpoint with {valid} good signatures, {details} sealed details")

    people, cases = read_people(data, keyring["people"]), read_cases(data, keyring["people"], charter)
    say(f"{len(people)} people, {len(cases)} cases")
    for tenant, keys in keyring["tenants"].items():
        added = {entry["escrow"]: entry["commitment"] for entry in parsed if entry["kind"] == "escrow-added"}
        say(f"tenant {tenant}: {len(read_escrow(data, tenant, keys['escrow'], added))} escrowed keys")
        records = {}
        for entry in parsed:
            if entry["kind"] in ("arrival", "rendition", "shredded") and entry["tenant"] == tenant:
                records.setdefault(entry["record"], []).append(entry)
        vault = Vault(data, tenant, keys) if records else None
        for record, history in records.items():
            print(read_record(vault, id_bytes(record), history, out))


def main():
    parser = argparse.ArgumentParser(description="Opens a Strongroom archive from backup, capsule and officers' shares.")
    parser.add_argument("--data", type=Path, required=True, help="data folder of a stopped box, or a backup")
    parser.add_argument("--officer", action="append", required=True, help="an officer's file; m of them")
    parser.add_argument("--passphrase-file", action="append", required=True, help="its passphrase, in the same order")
    parser.add_argument("--out", type=Path, help="write originals and renditions here")
    arguments = parser.parse_args()
    try:
        check(len(arguments.officer) == len(arguments.passphrase_file), "one passphrase file for each officer's file")
        officers = [open_officer(*pair) for pair in zip(arguments.officer, arguments.passphrase_file)]
        if arguments.out:
            arguments.out.mkdir(parents=True, exist_ok=True)
        read_archive(arguments.data, officers, arguments.out)
    except Misfit as error:
        sys.exit(f"does not fit: {error}")
    except (InvalidTag, InvalidSignature) as error:
        raise SystemExit(f"does not open or verify: {error!r}") from error


if __name__ == "__main__":
    main()
