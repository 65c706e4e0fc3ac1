//! A disk that forgets what was not synced.
//!
//! SIGKILL ends a program, but the kernel keeps what it had written; a power cut does not. Preloaded into a program (`LD_PRELOAD`), this
//! library takes the place of `fsync` and `fdatasync` and copies what each call made durable into a [`Shadow`] beside the directory that
//! `WEIGHBRIDGE_UNSYNCED_DIR` names. When the program was killed, a test lets the shadow take the directory's place ([`Shadow::cut`]):
//! whatever was not synced is gone.
//!
//! It decides what is durable: the bytes of a file as they were at its last `fsync` or `fdatasync`, and the names in a directory as they
//! were at the last `fsync` of that directory. That is what POSIX promises and no more. A file system that keeps the name of a file when
//! the file is synced, as ext4 does, is kinder. All other ways to make something durable (`O_SYNC`, `msync`, `sync`, `syncfs`, a system call
//! without the C library) count as none, so a program that relies on them is seen to lose, never to keep.
//!
//! It trusts the program and the test. It does not show what a disk does that lies about its cache, nor writes that reach it torn or
//! in another order without having been asked to: it drops all of what was not synced, and plain SIGKILL keeps all of it.
#![expect(
    unsafe_code,
    reason = "two functions of the C library are replaced; nothing else here is unsafe"
)]

mod shadow;

pub use shadow::Shadow;

use std::ffi::c_int;
use std::fs::File;
use std::mem::ManuallyDrop;
use std::os::fd::FromRawFd;
use std::path::PathBuf;
use std::sync::OnceLock;

/// Names the directory whose files are watched.
pub const DIR: &str = "WEIGHBRIDGE_UNSYNCED_DIR";
/// Names the directory that holds its shadow; on the same file system, and not within the one watched.
pub const SHADOW: &str = "WEIGHBRIDGE_UNSYNCED_SHADOW";

/// `fsync(2)`.
#[unsafe(no_mangle)]
pub extern "C" fn fsync(fd: c_int) -> c_int {
    sync(fd, libc::SYS_fsync)
}

/// `fdatasync(2)`.
#[unsafe(no_mangle)]
pub extern "C" fn fdatasync(fd: c_int) -> c_int {
    sync(fd, libc::SYS_fdatasync)
}

/// Where `fd` is watched the shadow is the disk, and the real one need not be waited for. Without the two variables every call goes to
/// the kernel, as in a test that is linked with this crate.
fn sync(fd: c_int, call: libc::c_long) -> c_int {
    static WATCHED: OnceLock<Option<Shadow>> = OnceLock::new();
    let Some(shadow) = WATCHED.get_or_init(watched) else {
        return kernel(fd, call);
    };
    if fd < 0 {
        return kernel(fd, call);
    }
    // SAFETY: the caller holds the descriptor open during this call, and `ManuallyDrop` leaves closing it to the caller.
    let file = ManuallyDrop::new(unsafe { File::from_raw_fd(fd) });
    match shadow.synced(&file) {
        Ok(true) => 0,
        Ok(false) => kernel(fd, call),
        Err(e) => {
            eprintln!("weighbridge-unsynced: the shadow could not be written: {e}");
            // SAFETY: the C library gives every thread a place for its error number.
            unsafe { *libc::__errno_location() = libc::EIO };
            -1
        }
    }
}

fn watched() -> Option<Shadow> {
    let dir = PathBuf::from(std::env::var_os(DIR)?);
    let shadow = PathBuf::from(std::env::var_os(SHADOW)?);
    match Shadow::of(&dir, &shadow) {
        Ok(shadow) => Some(shadow),
        Err(e) => {
            eprintln!("weighbridge-unsynced: {} is not watched: {e}", dir.display());
            None
        }
    }
}

fn kernel(fd: c_int, call: libc::c_long) -> c_int {
    // SAFETY: both calls take one descriptor, touch no memory of this process and check what they are given.
    let result = unsafe { libc::syscall(call, fd) };
    c_int::try_from(result).unwrap_or(-1)
}
