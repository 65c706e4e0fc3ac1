//! What the verifier keeps to appraise devices with, filled from files, from packages and from services of the testbed's own.

mod files;
mod live;
mod package;
pub(crate) mod service;

use serde_json::Value;
use std::path::{Path, PathBuf};
use weighbridge::appraisal::evidence::WantedCollateral;
use weighbridge::hardware::nvidia::{
    Appraisal, Collateral, DeviceChain, Presented, Terms, appraise, known_to_responder,
};
use weighbridge::time::UnixSeconds;
use weighbridge::x509::Links;
use weighbridge_testbed::device_pki::{Chip, Device, DevicePki, Said};
use weighbridge_testbed::process::Verifier;
use weighbridge_verifier::collateral::{Cache, Held};

/// Names under which the manifests of the testbed's Hopper are published.
const DRIVER: &str = "NV_GPU_DRIVER_GH100_580.65.06";
const VBIOS: &str = "NV_GPU_VBIOS_1010_0200_882_96009F0001";

fn time(text: &str) -> UnixSeconds {
    UnixSeconds::parse(text).unwrap()
}

/// A verifier that does not serve, a PKI, and one GPU.
struct Desk {
    dir: tempfile::TempDir,
    verifier: Verifier,
    pki: DevicePki,
    gpu: Device,
}

impl Desk {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let verifier = Verifier::init(dir.path());
        let pki = DevicePki::new();
        let gpu = pki.device(Chip::Gh100, 1);
        let desk = Self {
            dir,
            verifier,
            pki,
            gpu,
        };
        desk.put("rim-root.pem", desk.pki.rim_root().as_bytes());
        desk
    }

    fn put(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// Runs `evidence collateral`; its exit status and its JSON.
    fn run(&self, arguments: &[&str], root: &str) -> (i32, Value) {
        let mut command = self.verifier.command();
        let output = command
            .args(["evidence", "collateral"])
            .args(arguments)
            .args(["--rim-root", &self.path(root), "--format", "json"])
            .output()
            .unwrap();
        let json = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| {
            panic!("{arguments:?}: {e}: {}", String::from_utf8_lossy(&output.stderr));
        });
        (output.status.code().unwrap(), json)
    }

    fn add(&self, path: &str) -> (i32, Value) {
        self.run(&["add", &self.path(path)], "rim-root.pem")
    }

    fn list(&self) -> (i32, Value) {
        self.run(&["list"], "rim-root.pem")
    }

    fn state(&self) -> &Path {
        &self.verifier.state
    }

    fn cache(&self) -> Cache {
        Cache::open(self.state(), self.pki.rim_root_id()).unwrap()
    }

    /// The cache, asking these services.
    fn asking(&self, rim_url: &str, ocsp_url: &str) -> Cache {
        Cache::live(self.state(), self.pki.rim_root_id(), rim_url, ocsp_url).unwrap()
    }

    fn chain(&self) -> Presented<DeviceChain, weighbridge::x509::CertificateError> {
        Presented::read("chain", self.gpu.chain.as_bytes(), |b| {
            DeviceChain::parse(std::str::from_utf8(b).unwrap())
        })
    }

    fn appraise(&self, held: &Held, at: UnixSeconds) -> Appraisal {
        let held = held.collateral();
        let collateral = Collateral {
            rims: held.rims,
            replies: held.replies,
        };
        self.appraise_with(&collateral, at)
    }

    fn appraise_with(&self, collateral: &Collateral<'_>, at: UnixSeconds) -> Appraisal {
        let terms = Terms {
            at,
            nonce: Some([7; 32]),
            root: self.pki.root_id(),
        };
        let report = self.gpu.report(&Said::default());
        appraise(&report, &self.chain(), collateral, &terms, &mut Links::default())
    }

    /// What the GPU needs.
    fn wanted(&self) -> WantedCollateral {
        let bare = self.appraise_with(&Collateral::default(), time("2026-11-01T12:00:00Z"));
        assert_eq!(bare.rim_ids, [DRIVER, VBIOS]);
        let chain = self.chain().content.unwrap();
        let pairs = known_to_responder(&chain);
        WantedCollateral {
            rims: bare
                .rim_ids
                .into_iter()
                .map(|id| (id, "GH100".to_owned()))
                .collect(),
            certificates: pairs
                .map(|(c, issuer)| (c.der().to_vec(), (c.clone(), issuer.clone())))
                .collect(),
        }
    }

    fn driver_rim(&self) -> String {
        self.pki.rim("GH100", "580.65.06", 0..20)
    }

    fn vbios_rim(&self) -> String {
        self.pki.rim("GH100", "96.00.9F.00.01", 20..40)
    }
}

/// An answer of the service of manifests.
pub(crate) fn answer(id: &str, rim: &str) -> String {
    let digest = weighbridge::crypto::sha256(rim.as_bytes());
    let rim = data_encoding::BASE64.encode(rim.as_bytes());
    format!(
        "{{\"id\":\"{id}\",\"rim\":\"{rim}\",\"sha256\":\"{digest}\",\"rim_format\":\"TCG\",\"request_id\":\"1\"}}"
    )
}
