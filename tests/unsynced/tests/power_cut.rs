//! A program under the library, and what a power cut leaves of its work.
//!
//! The program is this test itself, started anew: [`play`] does one small thing and dies without closing anything.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::panic,
    missing_docs,
    reason = "tests: where one panics it fails"
)]

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use weighbridge_unsynced::{DIR, SHADOW, Shadow};

const ACT: &str = "WEIGHBRIDGE_UNSYNCED_ACT";

struct Disk {
    _temporary: tempfile::TempDir,
    dir: PathBuf,
    shadow: PathBuf,
}

impl Disk {
    fn new() -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let dir = temporary.path().join("state");
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("old"), "as it was").unwrap();
        let disk = Self {
            shadow: temporary.path().join("shadow"),
            dir,
            _temporary: temporary,
        };
        disk.shadow().adopt().unwrap();
        disk
    }

    fn shadow(&self) -> Shadow {
        Shadow::of(&self.dir, &self.shadow).unwrap()
    }

    /// Runs an act of [`play`] under the library, until the power is cut.
    fn run(&self, act: &str) {
        let own = std::env::current_exe().unwrap();
        let library = own.with_file_name("libweighbridge_unsynced.so");
        assert!(library.exists(), "{} is not built", library.display());
        let output = Command::new(own)
            .args(["--exact", "play", "--nocapture"])
            .env("LD_PRELOAD", library)
            .env(DIR, &self.dir)
            .env(SHADOW, &self.shadow)
            .env(ACT, act)
            .output()
            .unwrap();
        assert!(!output.status.success(), "the act should have ended in death");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            !said.contains("panicked") && !said.contains("weighbridge-unsynced:"),
            "{said}"
        );
        self.shadow().cut().unwrap();
    }

    fn text(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.dir.join(name)).ok()
    }
}

#[test]
fn bytes_are_those_of_the_last_sync() {
    let disk = Disk::new();
    disk.run("append, sync, append");
    assert_eq!(disk.text("old").unwrap(), "as it was, and synced");
}

#[test]
fn an_overwrite_or_truncation_without_a_sync_did_not_happen() {
    let disk = Disk::new();
    disk.run("overwrite");
    assert_eq!(disk.text("old").unwrap(), "as it was");
}

#[test]
fn a_new_file_is_there_once_its_directory_is_synced_and_holds_what_was_synced() {
    let disk = Disk::new();
    disk.run("new file, synced without its directory");
    assert_eq!(disk.text("new"), None);
    disk.run("new file, its directory synced without it");
    assert_eq!(disk.text("new").unwrap(), "");
    let disk = Disk::new();
    disk.run("new file, both synced");
    assert_eq!(disk.text("new").unwrap(), "new");
    let mode = fs::metadata(disk.dir.join("new")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_rename_counts_once_the_directory_is_synced() {
    let disk = Disk::new();
    disk.run("replace, without the directory");
    assert_eq!(disk.text("old").unwrap(), "as it was");
    assert_eq!(disk.text("staged"), None);
    disk.run("replace, and the directory");
    assert_eq!(disk.text("old").unwrap(), "replaced");
    assert_eq!(disk.text("staged"), None);
}

#[test]
fn a_removal_counts_once_the_directory_is_synced_even_where_the_inode_could_be_used_again() {
    let disk = Disk::new();
    disk.run("remove, and make others");
    assert_eq!(disk.text("old").unwrap(), "as it was");
    assert_eq!(disk.text("other"), None);
    disk.run("remove, and sync the directory");
    assert_eq!(disk.text("old"), None);
}

#[test]
fn a_second_cut_takes_what_came_after_the_first() {
    let disk = Disk::new();
    for _ in 0..3 {
        disk.run("append, sync, append");
    }
    assert_eq!(
        disk.text("old").unwrap(),
        "as it was, and synced, and synced, and synced"
    );
}

#[test]
fn directories_below_are_watched_as_well() {
    let disk = Disk::new();
    disk.run("new directory with a file, all synced");
    assert_eq!(disk.text("below/deep").unwrap(), "deep");
    disk.run("new directory with a file, upper one not synced");
    assert_eq!(disk.text("lost/deep"), None);
}

/// Not a test of its own: the program that the tests above run.
#[test]
fn play() {
    let (Some(act), Some(dir)) = (std::env::var_os(ACT), std::env::var_os(DIR)) else {
        return;
    };
    let dir = PathBuf::from(dir);
    let old = dir.join("old");
    match act.to_str().unwrap() {
        "append, sync, append" => {
            let mut file = OpenOptions::new().append(true).open(&old).unwrap();
            file.write_all(b", and synced").unwrap();
            file.sync_data().unwrap();
            file.write_all(b", and lost").unwrap();
        }
        "overwrite" => {
            let mut file = OpenOptions::new().write(true).open(&old).unwrap();
            file.write_all(b"AS").unwrap();
            file.set_len(4).unwrap();
        }
        "new file, synced without its directory" => make(&dir.join("new"), "new").sync_all().unwrap(),
        "new file, its directory synced without it" => {
            drop(make(&dir.join("new"), "new"));
            sync_directory(&dir);
        }
        "new file, both synced" => {
            let file = make(&dir.join("new"), "new");
            file.set_permissions(PermissionsExt::from_mode(0o600)).unwrap();
            file.sync_all().unwrap();
            sync_directory(&dir);
        }
        "replace, without the directory" => replace(&dir),
        "replace, and the directory" => {
            replace(&dir);
            sync_directory(&dir);
        }
        "remove, and make others" => {
            fs::remove_file(&old).unwrap();
            for _ in 0..20 {
                make(&dir.join("other"), "another").sync_all().unwrap();
                fs::remove_file(dir.join("other")).unwrap();
            }
            make(&dir.join("other"), "another").sync_all().unwrap();
        }
        "remove, and sync the directory" => {
            fs::remove_file(&old).unwrap();
            sync_directory(&dir);
        }
        "new directory with a file, all synced" => {
            deep(&dir.join("below"));
            sync_directory(&dir);
        }
        "new directory with a file, upper one not synced" => deep(&dir.join("lost")),
        other => panic!("no act is called `{other}`"),
    }
    std::process::abort();
}

fn make(path: &Path, text: &str) -> File {
    let mut file = File::create(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn replace(dir: &Path) {
    make(&dir.join("staged"), "replaced").sync_all().unwrap();
    fs::rename(dir.join("staged"), dir.join("old")).unwrap();
}

fn deep(dir: &Path) {
    fs::create_dir(dir).unwrap();
    make(&dir.join("deep"), "deep").sync_all().unwrap();
    sync_directory(dir);
}

fn sync_directory(dir: &Path) {
    File::open(dir).unwrap().sync_all().unwrap();
}
