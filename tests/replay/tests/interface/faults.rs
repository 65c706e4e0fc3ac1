//! The script of faults, seen by a caller.

use std::sync::mpsc;
use std::time::Duration;

use nvml_wrapper_sys::bindings as nvml;

use crate::replay::Replay;

#[test]
fn a_lost_gpu_is_lost_and_the_others_go_on() {
    let replay = Replay::play("profile = 'H100'\ngpus = 2\n[[fault]]\nat_s = 10\ngpu = 1\nkind = 'lost'");
    let (first, second) = (replay.gpu(0), replay.gpu(1));
    replay.power(second).unwrap();
    replay.at(10.0);
    assert_eq!(replay.power(second), Err(15));
    replay.power(first).unwrap();
    let mut none = std::ptr::null_mut();
    assert_eq!(
        call!(replay.lib, nvmlDeviceGetHandleByIndex_v2(1, &raw mut none)),
        15
    );
}

#[test]
fn a_hanging_gpu_does_not_answer_until_its_time_is_over() {
    let replay =
        Replay::play("profile = 'H100'\ngpus = 2\n[[fault]]\nat_s = 10\ngpu = 1\nkind = 'hang'\nfor_s = 30");
    let (first, second) = (replay.gpu(0).addr(), replay.gpu(1).addr());
    replay.at(10.0);
    std::thread::scope(|scope| {
        let (done, is_done) = mpsc::channel();
        let replay = &replay;
        scope.spawn(move || done.send(replay.power(std::ptr::without_provenance_mut(second))));
        assert!(
            replay.power(std::ptr::without_provenance_mut(first)).is_ok(),
            "the other GPU answers"
        );
        assert!(
            is_done.recv_timeout(Duration::from_millis(100)).is_err(),
            "it must hang"
        );
        assert!(
            replay.uuid(std::ptr::without_provenance_mut(second)).is_ok(),
            "it can still be told which it is"
        );
        replay.at(40.0);
        is_done.recv_timeout(Duration::from_secs(20)).unwrap().unwrap();
    });
}

#[test]
fn a_reset_begins_the_counters_from_zero() {
    let replay =
        Replay::play("profile = 'H100'\ntrace = 'burn'\n[[fault]]\nat_s = 50\ngpu = 0\nkind = 'reset'");
    let gpu = replay.gpu(0);
    replay.at(49.0);
    assert!(replay.energy(gpu) > 100_000_000);
    replay.at(51.0);
    assert!(replay.energy(gpu).abs_diff(689_500) < 7_000);
}

#[test]
fn what_is_missing_or_does_not_match_says_so() {
    let replay = Replay::play(
        "profile = 'H100'\n[[fault]]\nat_s = 0\nkind = 'missing_symbol'\nsymbol = 'nvmlDeviceGetPowerUsage'\n\
         [[fault]]\nat_s = 5\nkind = 'version_mismatch'",
    );
    let gpu = replay.gpu(0);
    assert_eq!(replay.power(gpu), Err(13));
    replay.uuid(gpu).unwrap();
    replay.at(5.0);
    assert_eq!(replay.uuid(gpu), Err(18));
    assert_eq!(call!(replay.lib, nvmlInit_v2()), 18);
    let early = Replay::named("profile = 'H100'\n[[fault]]\nat_s = 0\nkind = 'version_mismatch'");
    assert_eq!(call!(early.lib, nvmlInitWithFlags(0)), 18);
}

#[test]
fn an_oversize_answer_does_not_end_and_does_not_fit() {
    let replay = Replay::play("profile = 'H100'\n[[fault]]\nat_s = 1\nkind = 'oversize_answer'");
    let gpu = replay.gpu(0);
    replay.uuid(gpu).unwrap();
    replay.at(1.0);
    assert_eq!(replay.uuid(gpu), Err(0), "a string without its end");
    let mut count = 0;
    assert_eq!(call!(replay.lib, nvmlDeviceGetCount_v2(&raw mut count)), 0);
    assert!(count > 1000);
    // SAFETY: a struct of numbers.
    let mut certificate: nvml::nvmlConfComputeGpuCertificate_t = unsafe { std::mem::zeroed() };
    assert_eq!(
        call!(
            replay.lib,
            nvmlDeviceGetConfComputeGpuCertificate(gpu, &raw mut certificate)
        ),
        0
    );
    assert!(certificate.certChainSize > 0x1000);
}

#[test]
fn a_scenario_that_cannot_be_played_fails_the_start() {
    let replay = Replay::named("profile = 'H100'\ntrace = 'trainning'");
    assert_eq!(call!(replay.lib, nvmlInit_v2()), 999);
}
