//! Power cuts: a program runs over a disk that forgets what was not synced.

use crate::process::binaries;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use weighbridge_unsynced::{DIR, SHADOW, Shadow};

/// The disk below one state directory.
#[derive(Debug)]
pub struct Outage {
    dir: PathBuf,
    at: PathBuf,
    shadow: Shadow,
}

impl Outage {
    /// Watches `dir`, whose present state counts as durable. Nothing may run in it now.
    ///
    /// # Panics
    /// Where the shadow cannot be written.
    #[must_use]
    pub fn over(dir: &Path) -> Self {
        let at = dir.with_extension("shadow");
        let shadow = Shadow::of(dir, &at).unwrap();
        shadow.adopt().unwrap();
        Self {
            dir: dir.to_owned(),
            at,
            shadow,
        }
    }

    /// The environment that puts a program over this disk.
    ///
    /// # Panics
    /// Where the library is not built, saying how to build it.
    #[must_use]
    pub fn environment(&self) -> Vec<(&'static str, OsString)> {
        let library = binaries().join("deps/libweighbridge_unsynced.so");
        assert!(
            library.exists(),
            "{} is not built: run `cargo build --workspace` first",
            library.display()
        );
        vec![
            ("LD_PRELOAD", library.into()),
            (DIR, self.dir.clone().into()),
            (SHADOW, self.at.clone().into()),
        ]
    }

    /// Cuts the power: the directory becomes what was synced. The program must have been killed.
    ///
    /// # Panics
    /// Where the directory cannot be replaced.
    pub fn strike(&self) {
        self.shadow.cut().unwrap();
    }
}
