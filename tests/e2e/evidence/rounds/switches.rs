//! Rounds in which switches answer beside GPUs.

use super::*;

/// Switches and GPUs that name each other, and sign each a nonce.
struct Joined<'a> {
    lab: &'a Lab,
    switches: &'a [Device],
}

impl Joined<'_> {
    fn gpu(&self, gpu: &Device, nonce: [u8; 32]) -> NvidiaEvidence {
        let said = Said {
            nonce,
            feature: 2,
            driver: Some(self.lab.spec.driver.clone()),
            vbios: self.lab.spec.vbios.clone(),
            peers: self.switches.iter().map(|s| s.pdi).collect(),
            ..Said::default()
        };
        signed(gpu, &said)
    }

    fn switch(&self, switch: &Device, nonce: [u8; 32]) -> NvidiaEvidence {
        let said = Said {
            nonce,
            driver: None,
            peers: self.lab.devices.iter().map(|d| d.pdi).collect(),
            ..Said::default()
        };
        signed(switch, &said)
    }
}

fn signed(device: &Device, said: &Said) -> NvidiaEvidence {
    NvidiaEvidence {
        report: Bytes(device.report(said)),
        chain: Bytes(device.chain.clone().into_bytes()),
    }
}

/// A switch and two GPUs of a round, in this order: they travel in the order of their digests.
fn named(shown: &Value) -> [&Value; 3] {
    let mut devices: Vec<_> = shown["appraised"]["devices"].as_array().unwrap().iter().collect();
    devices.sort_by_key(|d| d["device"].as_str());
    devices.try_into().unwrap()
}

#[tokio::test]
async fn a_switch_proves_nothing_for_a_gpu_nor_a_gpu_for_a_switch() {
    let mut lab = Lab::new().await;
    let switches = [lab.pki.device(Chip::Ls10, 1)];
    let round = lab.round();
    let nonce = lab.binding(&round).nonce();
    let joined = Joined {
        lab: &lab,
        switches: &switches,
    };
    let [one, two] = [0, 1].map(|i: usize| &lab.devices[i]);
    let gpus = [joined.gpu(one, nonce), joined.switch(&switches[0], nonce)];
    let switch = joined.gpu(two, nonce);
    let shown = lab.carry_beside(round, &gpus, &[switch]).await;
    let [switch, one, two] = named(&shown);
    assert_eq!(one["proved"], true, "{shown:#}");
    for (device, why) in [(two, "a switch signed it"), (switch, "a GPU signed it")] {
        assert_eq!(device["proved"], false, "{device:#}");
        let (outcome, said) = check(device, "chain");
        assert_eq!((outcome, said.contains(why)), ("fail", true), "{said}");
    }
}

#[tokio::test]
async fn a_switch_that_answered_another_question_joins_no_host() {
    let mut lab = Lab::new().await;
    let switches = [lab.pki.device(Chip::Ls10, 1)];
    for (replayed, outcome) in [(false, "pass"), (true, "fail")] {
        let round = lab.round();
        let nonce = lab.binding(&round).nonce();
        let joined = Joined {
            lab: &lab,
            switches: &switches,
        };
        let gpus: Vec<_> = lab.devices.iter().map(|d| joined.gpu(d, nonce)).collect();
        let switch = joined.switch(&switches[0], if replayed { [9; 32] } else { nonce });
        let shown = lab.carry_beside(round, &gpus, &[switch]).await;
        assert_eq!(check(named(&shown)[0], "nonce").0, outcome, "{shown:#}");
        let (topology, why) = check(&shown["appraised"]["host"], "topology");
        assert_eq!(topology, if replayed { "not checked" } else { "pass" }, "{why}");
        assert_eq!(why.contains("of which none was presented"), replayed, "{why}");
    }
}
