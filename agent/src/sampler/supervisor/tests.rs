//! The supervisor against shells that misbehave, and against a sampler on the replay library where it was built.

use super::*;
use crate::clock::SystemClock;
use weighbridge::telemetry::{DeviceState, HostLinks, Notice, Tick};

pub(crate) fn script(text: &str) -> SupervisorOptions {
    SupervisorOptions {
        program: "/bin/sh".into(),
        arguments: vec!["-c".into(), text.into()],
        environment: Vec::new(),
        sampler: SamplerOptions::default(),
    }
}

async fn first_event(text: &str) -> SamplerEvent {
    let (supervisor, mut events) = Supervisor::start(script(text), Arc::new(SystemClock));
    let event = events.recv().await.unwrap();
    drop(events);
    supervisor.shutdown().await;
    event
}

#[tokio::test]
async fn a_sampler_that_ends_is_dead_with_its_status() {
    let SamplerEvent::Died { reason, .. } = first_event("exit 3").await else {
        panic!("not told that it died");
    };
    assert!(reason.contains("ended") && reason.contains('3'), "{reason}");
}

#[tokio::test]
async fn a_sampler_that_talks_garbage_is_dead() {
    let event = first_event("printf 'not a frame at all'; sleep 60").await;
    let SamplerEvent::Died { reason, .. } = event else {
        panic!("not told that it died: {event:?}");
    };
    assert!(reason.contains("bytes came through"), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn a_sampler_that_says_nothing_hangs_and_another_is_started() {
    let (supervisor, mut events) = Supervisor::start(script("exec sleep 600"), Arc::new(SystemClock));
    assert!(matches!(
        events.recv().await,
        Some(SamplerEvent::Hung { index: None, .. })
    ));
    assert!(matches!(
        events.recv().await,
        Some(SamplerEvent::Restarted { .. })
    ));
    drop(events);
    supervisor.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn no_sampler_is_started_while_too_many_are_left_behind() {
    let (events, mut heard) = mpsc::channel(EVENTS);
    let (orders, obeyed) = mpsc::channel(8);
    let supervision = Supervision::new(script("exec sleep 600"), Arc::new(SystemClock), events);
    let left = supervision.places.clone().try_acquire_many_owned(4).unwrap();
    let task = tokio::spawn(supervision.run(obeyed));
    assert!(matches!(heard.recv().await, Some(SamplerEvent::Hung { .. })));
    let crowded = |event| matches!(event, Some(SamplerEvent::Crowded { left_behind: 4, .. }));
    assert!(crowded(heard.recv().await));
    orders.send(Order::Survey).await.unwrap();
    assert!(timeout(Duration::from_secs(86_400), heard.recv()).await.is_err());

    orders.send(Order::Release).await.unwrap();
    let released = heard.recv().await;
    assert!(matches!(
        released,
        Some(SamplerEvent::Released { left_behind: 4, .. })
    ));
    orders.send(Order::Resume).await.unwrap();
    assert!(crowded(heard.recv().await));
    drop(left);
    assert!(matches!(heard.recv().await, Some(SamplerEvent::Resumed { .. })));
    drop(heard);
    orders.send(Order::Shutdown).await.ok();
    task.await.unwrap();
}

#[tokio::test]
async fn a_release_before_the_next_try_leaves_no_sampler() {
    let (supervisor, mut events) = Supervisor::start(script("exit 3"), Arc::new(SystemClock));
    assert!(matches!(events.recv().await, Some(SamplerEvent::Died { .. })));
    supervisor.release().await;
    let released = events.recv().await;
    assert!(matches!(
        released,
        Some(SamplerEvent::Released { left_behind: 0, .. })
    ));
    // Were one started all the same, it would end and be told of after the wait of a second.
    assert!(timeout(SHORTEST_WAIT * 3, events.recv()).await.is_err());
    supervisor.resume().await;
    assert!(matches!(events.recv().await, Some(SamplerEvent::Resumed { .. })));
    assert!(matches!(events.recv().await, Some(SamplerEvent::Died { .. })));
    drop(events);
    supervisor.shutdown().await;
}

/// What a sampler says when it is asked where it stands, as a shell prints it.
fn answer(text: &str) -> String {
    let mut bytes = Vec::new();
    let notice = Notice {
        // Later than now for a century, so that no answer names a call that is overdue.
        at: BootNanos(u64::MAX),
        kind: NoticeKind::Calling,
        device: None,
        text: text.to_owned(),
    };
    pipe::put(&Frame::from(notice), &mut bytes);
    printed(&bytes)
}

fn printed(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("\\{b:03o}")).collect()
}

#[tokio::test]
async fn a_sampler_that_gives_the_same_answer_for_ever_hangs() {
    let mut options = script(&format!(
        "while :; do printf '{}'; sleep 0.05; done",
        answer("no call is in progress")
    ));
    options.sampler.open_deadline_ms = 10;
    options.sampler.call_deadline_ms = 10;
    let (supervisor, mut events) = Supervisor::start(options, Arc::new(SystemClock));
    assert!(matches!(
        events.recv().await,
        Some(SamplerEvent::Hung { index: None, .. })
    ));
    drop(events);
    supervisor.shutdown().await;
}

/// The links are read beside the driver, and go on being read where it hangs.
#[tokio::test]
async fn what_the_links_say_hides_no_driver_that_hangs() {
    let mut bytes = Vec::new();
    let links = HostLinks {
        at: BootNanos(0),
        whole: true,
        links: Vec::new(),
    };
    pipe::put(&Frame::from(links), &mut bytes);
    let mut options = script(&format!(
        "while :; do printf '{}'; sleep 0.05; done",
        printed(&bytes)
    ));
    options.sampler.call_deadline_ms = 10;
    let (supervisor, mut events) = Supervisor::start(options, Arc::new(SystemClock));
    let mut heard = 0;
    while let Some(SamplerEvent::Frame(frame)) = events.recv().await {
        assert!(frame.links.is_some());
        heard += 1;
    }
    assert!(heard > 5, "the links were told {heard} times, then it hung");
    drop(events);
    supervisor.shutdown().await;
}

#[test]
fn what_steers_the_linker_is_not_passed_on() {
    let names = |n: &str| vec![n.to_owned()];
    assert!(allowed_environment(&names("LD_PRELOAD")).is_err());
    assert_eq!(allowed_environment(&names("NO_SUCH_VARIABLE")), Ok(Vec::new()));
    assert_eq!(allowed_environment(&names("PATH")).unwrap().len(), 1);
}

/// The child's part, played by this test's own binary: frames go to descriptor 3, because the harness prints to 1.
#[test]
#[ignore = "is run as a child by the tests below"]
fn child() {
    let Ok(frames) = std::fs::File::options().write(true).open("/proc/self/fd/3") else {
        println!("skipped: not run as a child");
        return;
    };
    crate::sampler::child::serve(&mut io::stdin().lock(), frames).unwrap();
}

/// A sampler on the replay library, where it was built.
pub(crate) fn replayed(scenario: &str) -> Option<(tempfile::TempDir, SupervisorOptions)> {
    let exe = std::env::current_exe().unwrap();
    let library = exe.parent()?.parent()?.join("libnvidia_ml.so");
    if !library.is_file() {
        println!("skipped: the replay library is not built; run `make replay`");
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("scenario.toml");
    std::fs::write(&file, scenario).unwrap();
    std::fs::create_dir(dir.path().join("bus")).unwrap();
    let text = "exec \"$0\" --exact sampler::supervisor::tests::child --ignored --nocapture 3>&1 1>&2";
    let options = SupervisorOptions {
        program: "/bin/sh".into(),
        arguments: vec!["-c".into(), text.into(), exe.into()],
        environment: vec![("WEIGHBRIDGE_REPLAY_SCENARIO".into(), file.into())],
        sampler: SamplerOptions {
            nvml: Some(library.to_str()?.to_owned()),
            sysfs: dir.path().to_str()?.to_owned(),
            call_deadline_ms: 500,
            ..SamplerOptions::default()
        },
    };
    Some((dir, options))
}

async fn inventory(events: &mut mpsc::Receiver<SamplerEvent>) -> Inventory {
    loop {
        if let SamplerEvent::Frame(Frame {
            inventory: Some(found),
            ..
        }) = events.recv().await.unwrap()
        {
            return found;
        }
    }
}

async fn tick(events: &mut mpsc::Receiver<SamplerEvent>) -> Tick {
    loop {
        if let SamplerEvent::Frame(Frame { tick: Some(tick), .. }) = events.recv().await.unwrap() {
            return tick;
        }
    }
}

#[tokio::test]
async fn a_call_that_hangs_costs_its_device_and_no_other() {
    let scenario = "profile = \"H100\"\ngpus = 3\nstart_file = \"start\"\n\
        [[fault]]\nat_s = 1.0\ngpu = 1\nkind = \"hang\"\n";
    let Some((_dir, options)) = replayed(scenario) else {
        return;
    };
    let (supervisor, mut events) = Supervisor::start(options, Arc::new(SystemClock));
    let before = inventory(&mut events).await;
    assert_eq!(before.devices.len(), 3);
    let hung = loop {
        match events.recv().await.unwrap() {
            SamplerEvent::Hung { index, device, .. } => break (index, device),
            SamplerEvent::Frame(_) => {}
            other => panic!("neither a frame nor a hang: {other:?}"),
        }
    };
    assert_eq!(hung, (Some(1), Some(1)));
    assert!(matches!(
        events.recv().await,
        Some(SamplerEvent::Restarted { .. })
    ));
    assert_eq!(inventory(&mut events).await.devices, before.devices);
    let tick = tick(&mut events).await;
    assert_eq!(tick.devices[1].state, DeviceState::Hung);
    assert!(tick.devices[0].energy_mj.value().is_some() && tick.devices[2].energy_mj.value().is_some());
    supervisor.shutdown().await;
}

/// The driver's index of the device in whose call a sampler hangs, by this scenario.
async fn hung_in(scenario: &str) -> Option<Option<u16>> {
    let (_dir, mut options) = replayed(scenario)?;
    options.sampler.open_deadline_ms = 500;
    options.sampler.survey_s = 1;
    let (supervisor, mut events) = Supervisor::start(options, Arc::new(SystemClock));
    let index = loop {
        match events.recv().await.unwrap() {
            SamplerEvent::Hung { index, .. } => break index,
            SamplerEvent::Frame(_) => {}
            other => panic!("neither a frame nor a hang: {other:?}"),
        }
    };
    drop(events);
    supervisor.shutdown().await;
    Some(index)
}

#[tokio::test]
async fn a_survey_that_hangs_between_its_devices_is_found_out() {
    let facts = "profile = \"H100\"\n\
        [[fault]]\nat_s = 0.0\nkind = \"hang\"\nsymbol = \"nvmlSystemGetConfComputeSettings\"\n";
    assert!(matches!(hung_in(facts).await, None | Some(None)));
    let freeing = "profile = \"H100\"\ngpus = 2\nstart_file = \"start\"\n\
        [[fault]]\nat_s = 0.5\ngpu = 1\nkind = \"lost\"\n\
        [[fault]]\nat_s = 0.0\nkind = \"hang\"\nsymbol = \"nvmlGpmSampleFree\"\n";
    assert!(matches!(hung_in(freeing).await, None | Some(Some(1))));
}

#[tokio::test]
async fn a_release_ends_the_process_and_a_resumption_starts_another() {
    let Some((_dir, options)) = replayed("profile = \"H100\"\n") else {
        return;
    };
    let (supervisor, mut events) = Supervisor::start(options, Arc::new(SystemClock));
    inventory(&mut events).await;
    supervisor.release().await;
    let mut event = events.recv().await;
    while matches!(event, Some(SamplerEvent::Frame(_))) {
        event = events.recv().await;
    }
    assert!(matches!(event, Some(SamplerEvent::Released { .. })));
    supervisor.resume().await;
    assert!(matches!(events.recv().await, Some(SamplerEvent::Resumed { .. })));
    assert_eq!(inventory(&mut events).await.devices.len(), 1);
    assert_eq!(tick(&mut events).await.devices[0].state, DeviceState::Present);
    supervisor.shutdown().await;
}
