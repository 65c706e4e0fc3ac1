"""What NVIDIA's Python verifier (nv-local-gpu-verifier) spends on one GPU's evidence: the other side of `evidence.python_*`.

Usage: nvidia_verifier.py DIRECTORY NONCE DRIVER VBIOS TIME

The directory holds `report.bin`, `chain.pem`, `driver.xml`, `vbios.xml` and the two roots, `root.pem` and `rim-root.pem`; the time
is in seconds since 1970. Prints its versions, then for each number read from standard input the CPU time of so many runs, in
nanoseconds for one: `call`, its own entry point, as often as that is called; `quiet`, the same with its log off; `kept`, its
classes with chain and manifests verified before and the log off, which its entry point does not offer.

Left out: the network and its collector. An OCSP answer is taken as good without asking, manifests come from files, and the chain
was split into certificates before. Whatever does not end in success is an error, so nothing is measured that stopped half-way.
"""

import datetime
import importlib.metadata
import json
import logging
import os
import pathlib
import sys
import time

directory, nonce, driver, vbios, at = sys.argv[1:]
directory = pathlib.Path(directory).absolute()
out = os.fdopen(os.dup(1), "w")
# It logs to standard output, as that is when it is imported, and to a file in the working directory.
os.chdir(directory)
sys.stdout = open(os.devnull, "w")

from OpenSSL import crypto  # noqa: E402


class AtATime(crypto.X509StoreContext):
    """A check of a certificate at the time of the evidence: signers of manifests hold for a year."""

    def __init__(self, store, *rest):
        store.set_time(WHEN)
        super().__init__(store, *rest)


WHEN = datetime.datetime.fromtimestamp(int(at), datetime.timezone.utc)
# Before anything else imports it by name.
crypto.X509StoreContext = AtATime

from verifier import cc_admin  # noqa: E402
from verifier.attestation import AttestationReport  # noqa: E402
from verifier.cc_admin_utils import CcAdminUtils  # noqa: E402
from verifier.config import GPU_ARCHITECTURE_MAP, BaseSettings, HopperSettings  # noqa: E402
from verifier.nvml import NvmlHandlerTest  # noqa: E402
from verifier.rim import RIM  # noqa: E402
from verifier.verifier import Verifier  # noqa: E402

# Its own example without a GPU, with other files.
(directory / "report.hex").write_text((directory / "report.bin").read_bytes().hex())
BaseSettings.DEVICE_ROOT_CERT = str(directory / "root.pem")
BaseSettings.RIM_ROOT_CERT = str(directory / "rim-root.pem")
HopperSettings.ATTESTATION_REPORT_PATH = str(directory / "report.hex")
HopperSettings.GPU_ATTESTATION_CERTIFICATES_PATH = str(directory / "chain.pem")
HopperSettings.DRIVER_RIM_PATH = str(directory / "driver.xml")
HopperSettings.TEST_NO_GPU_VBIOS_RIM_PATH = str(directory / "vbios.xml")
OPTIONS = {
    "allow_hold_cert": False,
    "claims_version": "3.0",
    "driver_rim": None,
    "ocsp_nonce_disabled": False,
    "ocsp_url": None,
    "rim_service_url": None,
    "service_key": None,
    "test_no_gpu": True,
    "user_mode": True,
    "vbios_rim": None,
    "verbose": False,
}


def good(chain, settings, mode):
    """Instead of asking a responder. Its callers expect the chain converted."""
    chain[:] = [certificate.to_cryptography() for certificate in chain]
    return True, "", "good", None


CcAdminUtils.ocsp_certificate_chain_validation = staticmethod(good)


def gpu():
    """The evidence as its own collector would hand it over: chain parsed, report in bytes."""
    found = NvmlHandlerTest(settings=BaseSettings)
    found.DriverVersion, found.VbiosVersion = driver, vbios
    return found


def fresh():
    """Settings remember results, so each run begins with new ones."""
    GPU_ARCHITECTURE_MAP[HopperSettings.GPU_ARCH] = settings = HopperSettings()
    # Its lists of claims grow from call to call.
    for grown in (
        cc_admin.hwmodel,
        cc_admin.oemid,
        cc_admin.ueid,
        cc_admin.gpu_driver_attestation_warning_list,
        cc_admin.gpu_vbios_attestation_warning_list,
    ):
        grown.clear()
    return settings


def call():
    fresh()
    collected = [gpu()]
    begun = time.process_time_ns()
    passed, _ = cc_admin.attest(OPTIONS, nonce, collected)
    spent = time.process_time_ns() - begun
    if not passed:
        sys.exit("nv-local-gpu-verifier does not accept the evidence: see verifier.log")
    return spent


def prepare():
    """Chain and manifests, verified once."""
    settings, device = fresh(), gpu()
    chain = device.get_attestation_cert_chain()
    leaf = chain[0]
    report = AttestationReport(device.get_attestation_report(), settings)
    fwid = report.get_response_message().get_opaque_data().get_data("OPAQUE_FIELD_ID_FWID").hex()
    manifests = [
        RIM(rim_name="driver", settings=settings, rim_path=HopperSettings.DRIVER_RIM_PATH),
        RIM(rim_name="vbios", settings=settings, rim_path=HopperSettings.TEST_NO_GPU_VBIOS_RIM_PATH),
    ]
    passed = CcAdminUtils.verify_gpu_certificate_chain(chain, settings, fwid)[0]
    for manifest, version in zip(manifests, (driver, vbios)):
        passed = passed and manifest.verify(version=version, settings=settings)[0]
    if not passed:
        sys.exit("nv-local-gpu-verifier does not accept chain or manifests: see verifier.log")
    return settings, leaf, manifests, device.get_attestation_report()


def kept(settings, leaf, manifests, evidence):
    begun = time.process_time_ns()
    report = AttestationReport(evidence, settings)
    passed = CcAdminUtils.verify_attestation_report(
        attestation_report_obj=report,
        gpu_leaf_certificate=leaf,
        nonce=bytes.fromhex(nonce),
        driver_version=driver,
        vbios_version=vbios,
        settings=settings,
    )
    passed = passed and Verifier(report, *manifests, settings=settings).verify(settings)
    spent = time.process_time_ns() - begun
    if not passed:
        sys.exit("nv-local-gpu-verifier does not accept the report: see verifier.log")
    return spent


def say(what):
    print(json.dumps(what), file=out, flush=True)


def quietly(work):
    """With every message of every logger off, before it is even put together where the caller allows that."""
    logging.disable(logging.CRITICAL)
    try:
        return work()
    finally:
        logging.disable(logging.NOTSET)


prepared = prepare()
call()
named = ("nv-local-gpu-verifier", "cryptography", "ecdsa", "lxml", "signxml", "pyOpenSSL")
say({"python": sys.version.split()[0], **{name: importlib.metadata.version(name) for name in named}})
for line in sys.stdin:
    times = int(line)
    say(
        {
            "call": sum(call() for _ in range(times)) / times,
            "quiet": quietly(lambda: sum(call() for _ in range(times)) / times),
            "kept": quietly(lambda: sum(kept(*prepared) for _ in range(times)) / times),
        }
    )
