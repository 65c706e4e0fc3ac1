//! 128 nodes with eight GPUs each, and what happens to some of them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use weighbridge::cbor::Bytes;
use weighbridge::crypto::Signer;
use weighbridge::hardware::binding::Binding;
use weighbridge::id::{DeviceUuid, PciId, TenantPseudonym};
use weighbridge::protocol::EnrolmentToken;
use weighbridge::report::{
    AcceleratorClaims, EvidenceClaims, NvidiaEvidence, TenantList, TenantShare, TenantShares, TokenClaims,
};
use weighbridge::telemetry::{BusDevice, BusDriver, DeviceState};
use weighbridge::time::{BootNanos, SECOND, UnixSeconds};
use weighbridge_testbed::device_pki::{Device, DevicePki, HostSpec, Said, Slot};
use weighbridge_testbed::fixture;
use weighbridge_testbed::licence::now;
use weighbridge_testbed::node::{Line, SimulatedNode};

use nvidia_ml::profile::ProfileName;

pub(super) const NODES: u16 = 128;
pub(super) const GPUS: u16 = 8;
/// The rack that falls silent: its nodes by number.
pub(super) const RACK: std::ops::Range<u16> = 124..128;
/// Length of a report.
const SECONDS: u32 = 900;
/// Reports in the hour.
const REPORTS: u32 = 4;
/// The one that carries a round of evidence.
const ROUND: u32 = 1;
/// The one tenant.
const TENANT: TenantPseudonym = TenantPseudonym([0x7e; 16]);

/// An Ascend 910B.
const ASCEND: PciId = PciId {
    vendor: 0x19e5,
    device: 0xd802,
    subsystem_vendor: 0x19e5,
    subsystem_device: 0x0100,
};

/// The GPU at a place of a node.
pub(super) fn uuid(node: u16, gpu: u16) -> DeviceUuid {
    let [high, low] = number(node, gpu).to_be_bytes();
    let mut bytes = [
        0x16, 0x53, 0xb0, 0x42, 0x3c, 0x11, 0x4d, 0x21, 0x9a, 0, 0, 0, 0, 0, 0, 0,
    ];
    (bytes[14], bytes[15]) = (high, low);
    DeviceUuid(bytes)
}

/// Its number, from 1.
fn number(node: u16, gpu: u16) -> u16 {
    node * GPUS + gpu + 1
}

fn serial(node: u16, gpu: u16) -> String {
    format!("16501230{:05}", number(node, gpu))
}

/// The manifest: what operators take from `weighbridge-agent inventory` on each node.
pub(super) fn manifest() -> String {
    let all = (0..NODES).flat_map(|node| (0..GPUS).map(move |gpu| (node, gpu)));
    all.map(|(node, gpu)| {
        format!(
            "\n[[device]]\nuuid = \"{}\"\nserial = \"{}\"\npci = \"10de:2330\"\nmodel = \"H100 SXM5 80GB\"\n",
            uuid(node, gpu).nvml(),
            serial(node, gpu)
        )
    })
    .collect()
}

/// The maker of the devices, and what it publishes.
pub(super) struct Maker {
    spec: HostSpec,
    devices: Vec<Device>,
}

impl Maker {
    /// Writes roots, reference manifests and OCSP replies into a directory.
    pub(super) fn publish(dir: &Path, now: UnixSeconds) -> Self {
        let pki = DevicePki::at(now);
        let spec = HostSpec::of(ProfileName::H100, now);
        let devices = pki.write_host(dir, &Slot::row(1, NODES * GPUS), &spec).devices;
        Self { spec, devices }
    }

    fn device(&self, node: u16, gpu: u16) -> &Device {
        &self.devices[usize::from(number(node, gpu)) - 1]
    }

    fn evidence(&self, device: &Device, nonce: [u8; 32]) -> NvidiaEvidence {
        let said = Said {
            nonce,
            driver: Some(self.spec.driver.clone()),
            vbios: self.spec.vbios.clone(),
            ..Said::default()
        };
        NvidiaEvidence {
            report: Bytes(device.report(&said)),
            chain: Bytes(device.chain.clone().into_bytes()),
        }
    }
}

/// A node, and how long it has reported.
#[derive(Clone, Debug)]
pub(super) struct Node {
    sim: SimulatedNode,
    number: u16,
    /// Seconds since its first report began.
    told: u32,
}

/// The GPUs that a node shows: its own places, or another node's.
type Shown = Vec<(u16, u16)>;

impl Node {
    fn own(&self) -> Shown {
        (0..GPUS).map(|gpu| (self.number, gpu)).collect()
    }

    /// Lets time pass without a report.
    fn skip(&mut self, seconds: u32) {
        self.told += seconds;
        self.sim.wall = self.sim.wall.plus(i64::from(seconds));
    }

    fn claims(&self, maker: &Maker, shown: &Shown) -> (TokenClaims, Vec<AcceleratorClaims>) {
        let count = u16::try_from(shown.len()).unwrap();
        let mut token = fixture::token(&self.sim.next_place(), count);
        let begun = BootNanos(90 * SECOND).plus(u64::from(self.told) * SECOND);
        token.report.time.start = begun;
        token.report.time.end = begun.plus(u64::from(self.sim.seconds) * SECOND);
        let host = &mut token.submods.host.host;
        if let Some(driver) = &mut host.driver {
            driver.driver_version = maker.spec.driver.clone();
        }
        (host.meters, host.observations) = (Vec::new(), Vec::new());
        host.tenants = TenantList::of(vec![TENANT]);
        let all = shown
            .iter()
            .zip(0..)
            .map(|(place, index)| self.gpu(maker, *place, index));
        (token, all.collect())
    }

    fn gpu(&self, maker: &Maker, (node, gpu): (u16, u16), index: u16) -> AcceleratorClaims {
        let salt = weighbridge::crypto::Entropy::system().draw().unwrap();
        let mut claims = fixture::accelerator(index, self.sim.seconds, salt);
        let identity = &mut claims.identity;
        identity.uuid = uuid(node, gpu);
        identity.serial = Some(serial(node, gpu));
        identity.vbios = Some(maker.spec.vbios.clone());
        identity.gsp_firmware = Some(maker.spec.driver.clone());
        identity.pdi = Some(u64::from_be_bytes(maker.device(node, gpu).pdi.0));
        let delivered = &mut claims.delivered;
        delivered.gaps.clear();
        let (whole, compute) = (
            u64::from(delivered.covered_ms),
            delivered.compute.clone().unwrap(),
        );
        delivered.tenants = TenantShares::of(vec![TenantShare {
            place: 0,
            attributed_ms: whole,
            busy_ms: whole,
            lower: compute.lower,
            counter: compute.counter,
            upper: compute.upper,
            upper_unconditional: compute.upper_unconditional,
        }]);
        claims
    }

    /// What its GPUs sign in a round on the report before, and the round.
    fn prove(&self, maker: &Maker, token: &mut TokenClaims) -> Vec<EvidenceClaims> {
        let mut round = fixture::round(&self.sim.next_place());
        round.begun = token.report.time.start.plus(3 * SECOND);
        round.ended = round.begun.plus(SECOND);
        round.covers_to = token.report.time.start;
        let binding = Binding {
            verifier: self.sim.verifier,
            challenge: round.challenge,
            key: self.sim.key.public_key().id(),
            chain: round.chain,
            sequence: round.sequence,
            report: round.digest,
        };
        let nonce = binding.nonce();
        token.report.round = Some(round);
        let own = self.own().into_iter().zip(0..);
        own.map(|((node, gpu), index)| EvidenceClaims {
            device: Some(uuid(node, gpu)),
            ..fixture::answer(index, Some(&maker.evidence(maker.device(node, gpu), nonce)))
        })
        .collect()
    }

    async fn deliver(
        &mut self,
        token: TokenClaims,
        shown: Vec<AcceleratorClaims>,
        evidence: Vec<EvidenceClaims>,
    ) {
        let (bytes, digest) = weighbridge::report::sign(token, shown, evidence, &*self.sim.key).unwrap();
        self.sim.advance(digest);
        self.told += self.sim.seconds;
        self.sim.deliver(bytes).await.accepted();
    }

    /// Reports of the hour, from one on and before another.
    async fn hour(&mut self, maker: &Maker, reports: std::ops::Range<u32>) {
        for report in reports {
            let (mut token, shown) = self.claims(maker, &self.own());
            let evidence = if report == ROUND {
                self.prove(maker, &mut token)
            } else {
                Vec::new()
            };
            self.deliver(token, shown, evidence).await;
        }
    }

    /// One report after the hour, with these GPUs. Where it ends now it arrives at once, so that the node's clock is known well.
    async fn later(&mut self, maker: &Maker, shown: &Shown, end: UnixSeconds) {
        self.later_with(maker, shown, end, |_| ()).await;
    }

    async fn later_with(
        &mut self,
        maker: &Maker,
        shown: &Shown,
        end: UnixSeconds,
        spoil: impl FnOnce(&mut TokenClaims),
    ) {
        let since = u32::try_from(end.since(self.sim.wall)).unwrap();
        self.skip(since.saturating_sub(SECONDS));
        self.sim.seconds = since.min(SECONDS);
        let (mut token, shown) = self.claims(maker, shown);
        spoil(&mut token);
        self.deliver(token, shown, Vec::new()).await;
    }
}

/// All nodes.
#[derive(Clone, Debug)]
pub(super) struct Fleet {
    nodes: BTreeMap<u16, Node>,
}

impl Fleet {
    /// Enrols all nodes. The rack that will fall silent delivers half of the hour's reports, and the others all.
    pub(super) async fn report(token: &str, maker: &Arc<Maker>, from: UnixSeconds) -> Self {
        let token = EnrolmentToken::parse(token).unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        for part in 0..4u16 {
            let (token, maker) = (token.clone(), Arc::clone(maker));
            tasks.spawn(async move {
                let line = Line::anonymous(&token.url);
                let mut nodes = Vec::new();
                for number in (0..NODES).filter(|n| n % 4 == part) {
                    let mut node = enrol(&line, &token, number, from).await;
                    let reports = if RACK.contains(&number) {
                        REPORTS / 2
                    } else {
                        REPORTS
                    };
                    node.hour(&maker, 0..reports).await;
                    nodes.push((number, node));
                }
                nodes
            });
        }
        let nodes = tasks.join_all().await.into_iter().flatten().collect();
        Self { nodes }
    }

    /// The rest of the hour from the rack that would else have fallen silent.
    pub(super) async fn rack_reports(&mut self, maker: &Maker) {
        for (_, node) in self.nodes.range_mut(RACK) {
            node.hour(maker, REPORTS / 2..REPORTS).await;
        }
    }

    fn node(&mut self, number: u16) -> &mut Node {
        self.nodes.get_mut(&number).unwrap()
    }

    /// The last GPU of the first node stands in a node of another site, some minutes after it was last seen here.
    pub(super) async fn move_gpu(&mut self, maker: &Maker, token: &str) {
        let rest = self.node(0).own().into_iter().take(7).collect();
        self.node(0).later(maker, &rest, now()).await;
        let token = EnrolmentToken::parse(token).unwrap();
        let begins = now().plus(-120);
        let mut there = enrol(&Line::anonymous(&token.url), &token, NODES, begins).await;
        there.later(maker, &vec![(0, 7)], now()).await;
    }

    /// The first GPU of the first node is seen in the sixth node too, at the same time, and there last.
    pub(super) async fn see_twice(&mut self, maker: &Maker) {
        let own = self.node(0).own();
        self.node(0).later(maker, &own, now().plus(-2)).await;
        let mut both = self.node(5).own();
        both[0] = (0, 0);
        self.node(5).later(maker, &both, now()).await;
    }

    /// An accelerator of another maker stands on the bus of a node, and no driver holds it. All nodes report on.
    pub(super) async fn plug_in(&mut self, maker: &Maker) {
        let stranger = BusDevice {
            id: ASCEND,
            driver: BusDriver::None,
            count: 1,
            reporting: 0,
            state: DeviceState::Unmanaged,
        };
        let plug = |token: &mut TokenClaims| token.submods.host.host.bus.push(stranger.clone());
        let own = self.node(9).own();
        // A bus is listed at one moment: what stood there with it is what is seen before and after.
        self.node(9).later_with(maker, &own, now().plus(-20), plug).await;
        for (number, node) in &mut self.nodes {
            let own = node.own();
            let also = |token: &mut TokenClaims| {
                if *number == 9 {
                    plug(token);
                }
            };
            node.later_with(maker, &own, now(), also).await;
        }
    }
}

async fn enrol(line: &Line, token: &EnrolmentToken, number: u16, from: UnixSeconds) -> Node {
    let sim = SimulatedNode::enrol_over(line, token, GPUS, from).await;
    assert!(
        sim.seconds == SECONDS || number == NODES,
        "the licence sets the length of reports"
    );
    Node { sim, number, told: 0 }
}
