use super::*;
use redb::backends::InMemoryBackend;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use weighbridge::crypto::sha256;
use weighbridge::time::{DAY_SECONDS, SECOND};

const LIMIT: u64 = 64 << 20;

fn open(path: &Path) -> Spool {
    Spool::open(path, LIMIT, &Entropy::system()).unwrap().0
}

/// Both clocks show these seconds.
fn life(seconds: i64) -> Life {
    Life {
        boot: BootId([1; 16]),
        at: BootNanos(u64::try_from(seconds).unwrap() * SECOND),
        wall: UnixSeconds(seconds),
        starts: 0,
        reported_to: None,
    }
}

/// Seals a stand-in for a report whose bytes name its place.
fn seal(place: &Place, size: usize) -> Sealed {
    let mut bundle = vec![0; size];
    bundle.extend(place.chain.0);
    bundle.extend(place.sequence.to_be_bytes());
    let digest = sha256(&bundle);
    (bundle, digest)
}

fn append(spool: &Spool, seconds: i64, size: usize) -> ChainLink {
    append_in(spool, &life(seconds), size)
}

fn append_in(spool: &Spool, life: &Life, size: usize) -> ChainLink {
    spool
        .append(life, b"windows", |place| Ok(seal(place, size)))
        .unwrap()
}

#[test]
fn a_report_and_its_place_survive_a_reopening_together() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("spool.redb");
    let spool = open(&path);
    let first = append(&spool, 1, 10);
    let failed = spool.append(&life(2), &[], |_| {
        Err(SignError {
            reason: "no key".to_owned(),
        })
    });
    assert!(failed.is_err());
    drop(spool);
    let spool = open(&path);
    assert_eq!(spool.head().unwrap().digest, Some(first.digest));
    let second = append(&spool, 3, 10);
    assert_eq!(
        (first.sequence, second.sequence, first.chain),
        (1, 2, second.chain)
    );
    let waiting = spool.next_waiting(0).unwrap().unwrap();
    assert_eq!(waiting.link, first);
    spool
        .answered(waiting.ordinal, Fate::Receipted, b"receipt", None)
        .unwrap();
    assert_eq!(spool.next_waiting(0).unwrap().unwrap().link, second);
    let (_, _, windows) = spool.report_at(None, 1).unwrap().unwrap();
    assert_eq!(windows, b"windows");
}

#[test]
fn two_processes_do_not_share_a_spool() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("spool.redb");
    let _held = open(&path);
    assert!(matches!(
        Spool::open(&path, LIMIT, &Entropy::system()),
        Err(SpoolError::InUse)
    ));
}

#[test]
fn a_damaged_file_is_set_aside_and_a_new_chain_begins() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("spool.redb");
    let spool = open(&path);
    let old = append(&spool, 1, 100_000);
    drop(spool);
    let whole = std::fs::metadata(&path).unwrap().len();
    for damage in [0usize, 300, 5000, 9000] {
        let mut bytes = bounded_copy(&path);
        for b in bytes.iter_mut().skip(damage).take(64) {
            *b ^= 0x5a;
        }
        let copy = dir.path().join(format!("copy-{damage}"));
        std::fs::write(&copy, &bytes).unwrap();
        let (spool, _) = Spool::open(&copy, LIMIT, &Entropy::system()).unwrap();
        // Either all of it is there, or a new chain has begun; never half.
        let head = spool.head().unwrap();
        assert!(head.digest == Some(old.digest) || head.sequence == 0, "{damage}");
    }
    std::fs::write(&path, b"not a database at all, but long enough to be looked at").unwrap();
    let (spool, opened) = Spool::open(&path, LIMIT, &Entropy::system()).unwrap();
    assert!(
        matches!(opened, Opened::Replaced { .. }),
        "{opened:?}, {whole} bytes"
    );
    assert_ne!(spool.head().unwrap().chain, old.chain);
}

#[test]
fn what_is_only_looked_at_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("spool.redb");
    let (torn, entropy) = (dir.path().join("torn"), Entropy::system());
    let spool = open(&path);
    let sealed = append(&spool, 1, 100_000);
    assert!(matches!(Spool::look_at(&path, &entropy), Err(SpoolError::InUse)));
    // As a power cut leaves it: the file is whole and was never closed.
    std::fs::write(&torn, bounded_copy(&path)).unwrap();
    drop(spool);
    for file in [&path, &torn] {
        let before = bounded_copy(file);
        let looked = Spool::look_at(file, &entropy).unwrap();
        assert_eq!(looked.head().unwrap().digest, Some(sealed.digest));
        assert_eq!(looked.report_at(None, 1).unwrap().unwrap().2, b"windows");
        assert_eq!(looked.sent(0, 9).unwrap().len(), 1);
        // Even what is changed in it is changed in memory alone.
        append(&looked, 2, 200_000);
        assert_eq!(looked.sent(0, 9).unwrap().len(), 2);
        drop(looked);
        assert!(before == bounded_copy(file), "{}", file.display());
    }
    let damaged = b"not a database at all, but long enough to be looked at";
    std::fs::write(&path, damaged).unwrap();
    let error = Spool::look_at(&path, &entropy).unwrap_err().to_string();
    assert!(error.contains("is damaged and was left as it is"), "{error}");
    assert_eq!(bounded_copy(&path), damaged);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
}

fn bounded_copy(path: &Path) -> Vec<u8> {
    weighbridge::bounded::read(std::fs::File::open(path).unwrap(), 1 << 30).unwrap()
}

#[test]
fn the_bound_takes_receipted_reports_first_and_names_what_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, opened) = Spool::open(&dir.path().join("s"), 100_000, &Entropy::system()).unwrap();
    assert_eq!(opened, Opened::New);
    for n in 1..=6 {
        append(&spool, n, 15_000);
    }
    let second = spool.next_waiting(1).unwrap().unwrap();
    assert_eq!(second.link.sequence, 2);
    spool
        .answered(second.ordinal, Fate::Receipted, b"", None)
        .unwrap();
    append(&spool, 7, 15_000);
    assert_eq!(spool.fill().unwrap().lost, 0, "the receipted one made room");
    assert!(spool.report_at(None, 2).unwrap().is_none());
    append(&spool, 8, 15_000);
    let fill = spool.fill().unwrap();
    assert_eq!((fill.lost, fill.waiting, fill.cut_short), (1, 6, 1));
    assert_eq!(spool.next_waiting(0).unwrap().unwrap().link.sequence, 3);
    // The number of the lost one stays taken: the chain shows that it is missing.
    assert_eq!(spool.head().unwrap().sequence, 8);
}

#[test]
fn receipted_reports_go_when_their_days_are_over() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&dir.path().join("s"));
    append(&spool, 0, 10);
    append(&spool, 0, 10);
    spool.answered(0, Fate::Receipted, b"r", None).unwrap();
    append(&spool, 29 * DAY_SECONDS, 10);
    assert!(spool.report_at(None, 1).unwrap().is_some());
    append(&spool, 31 * DAY_SECONDS, 10);
    assert!(spool.report_at(None, 1).unwrap().is_none());
    assert!(
        spool.report_at(None, 2).unwrap().is_some(),
        "what waits is not out of date"
    );
    assert_eq!(spool.fill().unwrap().cut_short, 0);
}

#[test]
fn a_wall_clock_that_is_set_forward_takes_nothing_along() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&dir.path().join("s"));
    append(&spool, 0, 10);
    spool.answered(0, Fate::Receipted, b"r", None).unwrap();
    let ahead = |boot, seconds| Life {
        boot: BootId([boot; 16]),
        wall: UnixSeconds(400 * DAY_SECONDS),
        ..life(seconds)
    };
    for life in [
        ahead(1, 300),
        ahead(2, 20 * DAY_SECONDS),
        ahead(2, 21 * DAY_SECONDS),
    ] {
        append_in(&spool, &life, 10);
    }
    let (_, _, windows) = spool.report_at(None, 1).unwrap().expect("it is kept");
    assert_eq!(windows, b"windows");
    // Days that the host was seen to be up count, in whatever boot.
    append_in(&spool, &ahead(2, 51 * DAY_SECONDS), 10);
    assert!(spool.report_at(None, 1).unwrap().is_none());
}

#[test]
fn a_new_chain_takes_along_what_waits_and_names_the_old_one() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&dir.path().join("s"));
    let first = append(&spool, 1, 10);
    append(&spool, 2, 20);
    append(&spool, 3, 30);
    spool.answered(0, Fate::Receipted, b"r", None).unwrap();
    let successor = Successor {
        chain: first.chain,
        sequence: 9,
        digest: sha256(b"held"),
    };
    let mut places = Vec::new();
    let head = spool
        .begin_chain(successor.clone(), &Entropy::system(), |bundle, place| {
            places.push((bundle.len(), place.clone()));
            Ok(seal(place, 0))
        })
        .unwrap();
    assert_ne!(head.chain, first.chain);
    assert_eq!(head.sequence, 2);
    assert_eq!(places[0].1.successor, Some(successor));
    assert_eq!((places[0].1.sequence, places[0].1.previous), (1, None));
    assert_eq!((places[1].1.sequence, places[1].1.successor.is_none()), (2, true));
    assert!(places[1].1.previous.is_some());
    assert_eq!(spool.digest_at(first.chain, 1).unwrap(), Some(first.digest));
    assert_eq!(spool.digest_at(first.chain, 2).unwrap(), None);
    assert_eq!(spool.next_waiting(0).unwrap().unwrap().link.chain, head.chain);
}

#[test]
fn what_the_verifier_lost_waits_again() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&dir.path().join("s"));
    for n in 0..3 {
        append(&spool, 1, 10);
        spool.answered(n, Fate::Receipted, b"r", None).unwrap();
    }
    assert_eq!(spool.resend_above(3).unwrap(), 0);
    assert_eq!(spool.resend_above(1).unwrap(), 2);
    assert_eq!(spool.next_waiting(0).unwrap().unwrap().link.sequence, 2);
}

#[test]
fn a_challenge_is_answered_once_and_starts_are_counted_until_a_report() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let spool = open(&path);
    let now = (BootId([1; 16]), BootNanos(5), UnixSeconds(5));
    assert_eq!(spool.started(now.0, now.1, now.2).unwrap(), (None, 1));
    let (before, starts) = spool.started(now.0, now.1, now.2).unwrap();
    assert_eq!((before.unwrap().starts, starts), (1, 2));
    let standing = Standing {
        challenge: Some(Challenge([7; 32])),
        ..Standing::default()
    };
    spool.remember(&standing).unwrap();
    let mut answered = Vec::new();
    for _ in 0..2 {
        spool
            .append(&life(9), &[], |place| {
                answered.push(place.standing.challenge);
                Ok(seal(place, 1))
            })
            .unwrap();
    }
    assert_eq!(answered, [standing.challenge, None]);
    assert_eq!(spool.started(now.0, now.1, now.2).unwrap().1, 1);
}

/// A disk that can be full.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    content: Arc<InMemoryBackend>,
    full: Arc<AtomicBool>,
}

impl Disk {
    /// A spool on a new disk, and the switch that fills it.
    pub(crate) fn spool() -> (Spool, Arc<AtomicBool>) {
        let disk = Self {
            content: Arc::new(InMemoryBackend::new()),
            full: Arc::default(),
        };
        let full = Arc::clone(&disk.full);
        let spool = Spool::on(move || disk.clone(), LIMIT, &Entropy::system()).unwrap();
        (spool, full)
    }

    fn room(&self) -> io::Result<()> {
        if self.full.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        self.content.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.content.read(offset, out)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.room()?;
        self.content.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.room()
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.room()?;
        self.content.write(offset, data)
    }
}

#[test]
fn a_full_disk_takes_no_place_and_is_used_again_when_there_is_room() {
    let (spool, full) = Disk::spool();
    let first = append(&spool, 1, 10);
    full.store(true, Ordering::Relaxed);
    for _ in 0..3 {
        let failed = spool.append(&life(2), &[], |place| Ok(seal(place, 100_000)));
        assert!(matches!(failed, Err(SpoolError::Database(_))), "{failed:?}");
    }
    full.store(false, Ordering::Relaxed);
    let second = append(&spool, 3, 10);
    assert_eq!((second.chain, second.sequence), (first.chain, 2));
    assert_eq!(spool.next_waiting(0).unwrap().unwrap().link, first);
}

#[test]
fn what_was_sent_is_listed_in_its_order_with_what_became_of_it() {
    let spool = Spool::in_memory(&Entropy::system()).unwrap();
    let first = append(&spool, 1, 10);
    let second = append(&spool, 2, 10);
    let waiting = spool.next_waiting(0).unwrap().unwrap();
    spool
        .answered(waiting.ordinal, Fate::Receipted, b"receipt", None)
        .unwrap();
    let sent = spool.sent(0, 10).unwrap();
    let told: Vec<_> = sent.iter().map(|s| (s.sequence, s.report, s.state)).collect();
    assert_eq!(
        told,
        [
            (1, first.digest, Fate::Receipted),
            (2, second.digest, Fate::Waiting)
        ]
    );
    // Page by page.
    let one = spool.sent(0, 1).unwrap();
    assert_eq!(one, sent[..1]);
    assert_eq!(spool.sent(one[0].ordinal + 1, 1).unwrap(), sent[1..]);
    assert_eq!(
        spool.answer_at(None, 1).unwrap().as_deref(),
        Some(&b"receipt"[..])
    );
    assert_eq!(spool.answer_at(Some(first.chain), 2).unwrap(), None);
    assert_eq!(spool.answer_at(None, 3).unwrap(), None);
}
