//! Whose the state directory is. Root would leave files in it that the user who serves cannot read, so it is refused there.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use weighbridge::bounded;

/// The state directory belongs to another user.
#[derive(Debug, thiserror::Error)]
#[error(
    "the state directory {directory} belongs to user {owner}, who could not read what root writes there: run this as \
     `runuser -u {owner} -- weighbridge-verifier ...`",
    directory = directory.display()
)]
pub struct ForeignError {
    directory: PathBuf,
    owner: String,
}

/// Refuses root in the directory of another user.
///
/// # Errors
/// [`ForeignError`].
pub fn check(directory: &Path) -> Result<(), ForeignError> {
    let owner = std::fs::metadata(directory).map_or(0, |m| m.uid());
    if owner == 0 || user() != Some(0) {
        return Ok(());
    }
    Err(ForeignError {
        directory: directory.to_owned(),
        owner: named(owner).unwrap_or_else(|| owner.to_string()),
    })
}

/// The number of the user whose rights this process has, where the kernel tells.
fn user() -> Option<u32> {
    let text = bounded::read_text(File::open("/proc/self/status").ok()?, 64 << 10).ok()?;
    let users = text.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    // The real one, then the effective one.
    users.split_whitespace().nth(1)?.parse().ok()
}

fn named(number: u32) -> Option<String> {
    let text = bounded::read_text(File::open("/etc/passwd").ok()?, 4 << 20).ok()?;
    let wanted = number.to_string();
    text.lines()
        .find(|line| line.split(':').nth(2) == Some(wanted.as_str()))
        .and_then(|line| line.split(':').next())
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_leaves_no_files_in_the_directory_of_another_user() {
        let dir = tempfile::tempdir().unwrap();
        if user() != Some(0) {
            println!("skipped: only root can give a directory to another user");
            return;
        }
        check(dir.path()).unwrap();
        std::os::unix::fs::chown(dir.path(), Some(1), Some(1)).unwrap();
        let said = check(dir.path()).unwrap_err().to_string();
        let owner = named(1).unwrap();
        assert!(
            said.contains(&format!("`runuser -u {owner} -- weighbridge-verifier ...`")),
            "{said}"
        );
    }
}
