//! The collection against shells that misbehave, and against a collector on the replay library where it was built.

use super::super::message::Told;
use super::*;
use crate::clock::SystemClock;
use crate::sampler::SamplerOptions;
use std::path::Path;
use weighbridge::id::DeviceUuid;

/// A collection whose collectors are this script. A device that does not answer is waited for for a second.
fn script(text: &str) -> Collection {
    let options = CollectorOptions {
        program: "/bin/sh".into(),
        arguments: vec!["-c".into(), text.into()],
        environment: Vec::new(),
        nvml: None,
        patience: Duration::from_secs(1),
    };
    Collection::new(options, Arc::new(SystemClock))
}

fn devices(count: u16) -> Vec<Attestee> {
    let device = |index: u16| Attestee {
        index,
        uuid: DeviceUuid([index as u8; 16]),
    };
    (0..count).map(device).collect()
}

async fn collect(collection: &Collection, count: u16) -> Vec<Answer> {
    let never = CancellationToken::new();
    let asked = devices(count);
    let collected = collection.collect(Digest([0; 32]), [7; 32], &asked, &never);
    collected.await.unwrap().answers
}

fn none(why: NoEvidence) -> Answer {
    Answer::None(why)
}

/// A shell command that says these messages.
fn say(messages: &[Told]) -> String {
    let mut bytes = Vec::new();
    messages.iter().for_each(|message| pipe::put(message, &mut bytes));
    let octal: String = bytes.iter().map(|b| format!("\\{b:03o}")).collect();
    format!("printf '{octal}'")
}

/// A script that does the one thing in its first life and the other in every later one.
fn first_then(dir: &Path, first: &str, then: &str) -> String {
    let mark = dir.join("lived");
    let mark = mark.display();
    format!("if [ -e {mark} ]; then {then}; else : > {mark}; {first}; fi")
}

fn refuses(place: u16) -> [Told; 2] {
    [Told::asking(place), Told::answer(Err(NoEvidence::NotOffered))]
}

#[tokio::test]
async fn every_device_has_an_answer_and_the_collector_ends() {
    let all = say(&[refuses(0), refuses(1)].concat());
    // It ends when what it is told ends.
    let collection = script(&format!("{all}; cat > /dev/null"));
    assert_eq!(
        collect(&collection, 2).await,
        vec![none(NoEvidence::NotOffered); 2]
    );
    assert_eq!(collect(&collection, 0).await, []);
    assert_eq!(collection.left_behind(), 0);
}

#[tokio::test]
async fn a_device_that_does_not_answer_is_named_and_those_after_it_are_asked() {
    let dir = tempfile::tempdir().unwrap();
    let first = format!(
        "{}; exec sleep 600",
        say(&[&refuses(0)[..], &[Told::asking(1)]].concat())
    );
    let then = say(&refuses(0));
    let answers = collect(&script(&first_then(dir.path(), &first, &then)), 3).await;
    let not_offered = || none(NoEvidence::NotOffered);
    assert_eq!(answers, [not_offered(), none(NoEvidence::Hung), not_offered()]);
}

#[tokio::test]
async fn a_device_in_whose_call_the_collector_dies_is_named_and_those_after_it_are_asked() {
    let dir = tempfile::tempdir().unwrap();
    for (place, death) in ["kill -SEGV $$", "exit 0", "printf garbage"]
        .into_iter()
        .enumerate()
    {
        let sub = dir.path().join(place.to_string());
        std::fs::create_dir(&sub).unwrap();
        let first = format!("{}; {death}", say(&[Told::asking(0)]));
        let answers = collect(&script(&first_then(&sub, &first, &say(&refuses(0)))), 2).await;
        let expected = [none(NoEvidence::Crashed), none(NoEvidence::NotOffered)];
        assert_eq!(answers, expected, "{death}");
    }
}

#[tokio::test]
async fn collectors_that_die_hang_or_lie_every_time_end_the_collection() {
    for (text, why) in [
        ("exit 3".to_owned(), NoEvidence::Crashed),
        (
            "printf 'no message at all'; exec sleep 600".to_owned(),
            NoEvidence::Crashed,
        ),
        // Not one of the devices of the question.
        (say(&[Told::asking(9)]), NoEvidence::Crashed),
        (
            format!("{}; exit 1", say(&[Told::asking(0)])),
            NoEvidence::Crashed,
        ),
        (
            say(&[Told::trouble("the driver could not be used".into())]),
            NoEvidence::Failed,
        ),
    ] {
        assert_eq!(collect(&script(&text), 3).await, vec![none(why); 3], "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_driver_that_never_opens_ends_the_collection() {
    let collection = script("exec sleep 600");
    assert_eq!(collect(&collection, 3).await, vec![none(NoEvidence::Hung); 3]);
}

#[tokio::test]
async fn a_message_longer_than_any_is_not_awaited() {
    // A length of a gibibyte, and bytes without end.
    let text = "printf '\\100\\000\\000\\000'; exec cat /dev/zero";
    assert_eq!(collect(&script(text), 1).await, [none(NoEvidence::Crashed)]);
}

#[tokio::test]
async fn a_collection_that_is_stopped_leaves_no_process() {
    let dir = tempfile::tempdir().unwrap();
    let mark = dir.path().join("pid");
    let text = format!(
        "{}; echo $$ > {}; cat > /dev/null",
        say(&[Told::asking(0)]),
        mark.display()
    );
    let stop = CancellationToken::new();
    let collection = script(&text);
    let asked = devices(2);
    let read = || {
        let file = std::fs::File::open(&mark).ok()?;
        let text = weighbridge::bounded::read_text(file, 64).ok()?;
        text.ends_with('\n').then_some(text)
    };
    let stopped = async {
        while read().is_none() {
            sleep(Duration::from_millis(10)).await;
        }
        stop.cancel();
    };
    let collected = collection.collect(Digest([0; 32]), [7; 32], &asked, &stop);
    let (collected, ()) = tokio::join!(collected, stopped);
    assert_eq!(collected, None);
    let pid = read().unwrap();
    assert!(!Path::new("/proc").join(pid.trim()).exists());
}

#[tokio::test]
async fn none_is_started_while_too_many_are_left_behind() {
    let collection = script(&say(&refuses(0)));
    let left = Arc::clone(&collection.places).try_acquire_many_owned(4).unwrap();
    assert_eq!(collection.left_behind(), 4);
    assert_eq!(collect(&collection, 1).await, [none(NoEvidence::Hung)]);
    drop(left);
    assert_eq!(collect(&collection, 1).await, [none(NoEvidence::NotOffered)]);
}

/// The collector's part, played by this test's own binary: answers go to descriptor 3, because the harness prints to 1.
#[test]
#[ignore = "is run as a child by the tests below"]
fn child() {
    let Ok(frames) = std::fs::File::options().write(true).open("/proc/self/fd/3") else {
        println!("skipped: not run as a child");
        return;
    };
    super::super::collector::serve(io::stdin(), frames).unwrap();
}

/// A collection on the replay library, where it was built, with the library's digest and the devices that it plays.
async fn replayed(scenario: &str) -> Option<(tempfile::TempDir, Collection, Digest, Vec<Attestee>)> {
    let (dir, mut sampler) = crate::sampler::supervisor::tests::replayed(scenario)?;
    let seen = crate::service::look(sampler.clone()).await.unwrap().inventory;
    let text = "exec \"$0\" --exact binding::collection::tests::child --ignored --nocapture 3>&1 1>&2";
    sampler.arguments = vec!["-c".into(), text.into(), std::env::current_exe().unwrap().into()];
    let options = CollectorOptions {
        arguments: sampler.arguments.clone(),
        patience: Duration::from_secs(20),
        ..CollectorOptions::beside(&sampler)
    };
    let devices = seen.devices.iter().map(|device| Attestee {
        index: device.index,
        uuid: device.uuid,
    });
    let devices = devices.collect();
    let collection = Collection::new(options, Arc::new(SystemClock));
    Some((dir, collection, seen.driver.unwrap().library_digest, devices))
}

#[tokio::test]
async fn a_driver_with_confidential_computing_off_offers_none() {
    let Some((_dir, collection, library, mut devices)) = replayed("profile = \"H100\"\ngpus = 3\n").await
    else {
        return;
    };
    // Another device stands at this index than the one that is meant.
    devices[1].uuid = DeviceUuid([0; 16]);
    let never = CancellationToken::new();
    let collected = collection
        .collect(library, [7; 32], &devices, &never)
        .await
        .unwrap();
    let not_offered = || none(NoEvidence::NotOffered);
    assert_eq!(
        collected.answers,
        [not_offered(), none(NoEvidence::Failed), not_offered()]
    );
    // A library that was exchanged since the sampler loaded it is not asked.
    let other = collection
        .collect(Digest([9; 32]), [7; 32], &devices, &never)
        .await
        .unwrap();
    assert_eq!(other.answers, vec![none(NoEvidence::Failed); 3]);
}

#[test]
fn a_collector_is_started_as_the_sampler_is() {
    let sampler = SupervisorOptions::new(
        SamplerOptions {
            nvml: Some("/opt/nvml".to_owned()),
            ..SamplerOptions::default()
        },
        vec![("A".into(), "b".into())],
    );
    let options = CollectorOptions::beside(&sampler);
    assert_eq!(options.program, sampler.program);
    assert_eq!(options.environment, sampler.environment);
    assert_eq!(options.nvml.as_deref(), Some("/opt/nvml"));
    assert_eq!(options.arguments, ["collector"]);
}
