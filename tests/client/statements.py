"""Statements through others' tools: DSSE by securesystemslib, JSON Schema by jsonschema.

    statements.py check DIR PUBLIC                  for each schema NAME.json in DIR: NAME.toml.dsse verifies under the key and the schema, and the
                                                    schema refuses the payload of NAME.wrong.dsse
    statements.py verify ENVELOPE PUBLIC            prints the payload of an envelope that verifies under the key
    statements.py sign PAYLOAD ENVELOPE PUBLIC      writes an envelope over the payload with a new Ed25519 key, and its public half in PEM
"""

import json
import os
import sys

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from jsonschema import Draft202012Validator
from securesystemslib.dsse import Envelope
from securesystemslib.signer import CryptoSigner, SSlibKey

TYPE = "application/vnd.in-toto+json"


def read(path):
    with open(path, "rb") as file:
        return file.read()


def errors(schema, envelope):
    schema = json.loads(read(schema))
    Draft202012Validator.check_schema(schema)
    payload = json.loads(Envelope.from_dict(json.loads(read(envelope))).payload)
    return sorted(error.message for error in Draft202012Validator(schema).iter_errors(payload))


def check(directory, public):
    schemas = sorted(name[: -len(".json")] for name in os.listdir(directory) if name.endswith(".json"))
    assert schemas, "no schema in the directory"
    for name in schemas:
        place = os.path.join(directory, name)
        held = Envelope.from_dict(json.loads(read(place + ".toml.dsse")))
        assert held.payload_type == TYPE, held.payload_type
        [keyid] = held.signatures
        # A key id is the writer's own; the caller says whose key it takes for it.
        held.verify([SSlibKey.from_crypto(load_pem_public_key(read(public)), keyid=keyid)], 1)
        found = errors(place + ".json", place + ".toml.dsse")
        assert not found, f"{name}: {found}"
        assert errors(place + ".json", place + ".wrong.dsse"), f"{name}: the schema lets a stranger's key pass"
    print(len(schemas))


def sign(payload, envelope, public):
    private = Ed25519PrivateKey.generate()
    signer = CryptoSigner(private)
    held = Envelope(read(payload), TYPE, {})
    held.sign(signer)
    with open(envelope, "w") as file:
        json.dump(held.to_dict(), file)
    with open(public, "wb") as file:
        file.write(private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


def verify(envelope, public):
    held = Envelope.from_dict(json.loads(read(envelope)))
    assert held.payload_type == TYPE, held.payload_type
    [keyid] = held.signatures
    held.verify([SSlibKey.from_crypto(load_pem_public_key(read(public)), keyid=keyid)], 1)
    print(held.payload.decode())


{"check": check, "sign": sign, "verify": verify}[sys.argv[1]](*sys.argv[2:])
