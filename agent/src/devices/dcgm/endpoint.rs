//! Where a host engine listens.
//!
//! Decides: that it is on this machine. The sampler's process has no business with any network, and a host engine elsewhere
//! would tell of other devices.

use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};

/// The port of a host engine that nobody moved.
const PORT: u16 = 5_555;

/// The longest path of a socket: the kernel's 108 bytes, with the zero at the end.
const LONGEST_PATH: usize = 107;

/// The address of a host engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A socket in the file system.
    Unix(PathBuf),
    /// A port on loopback.
    Loopback(SocketAddrV4),
}

/// It is no address on this machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no unix socket (unix:///run/dcgm/sock) and no loopback address (127.0.0.1:5555); a host engine on another machine is not asked"
)]
pub struct NotHere(String);

impl Endpoint {
    /// Reads `unix:///run/dcgm/sock`, `127.0.0.1:5555` or `127.0.0.1`.
    ///
    /// # Errors
    /// [`NotHere`].
    pub fn parse(text: &str) -> Result<Self, NotHere> {
        let elsewhere = || NotHere(text.to_owned());
        if let Some(path) = text.strip_prefix("unix://") {
            let whole = path.starts_with('/') && path.len() <= LONGEST_PATH;
            return if whole && path.chars().all(|c| !c.is_control()) {
                Ok(Self::Unix(PathBuf::from(path)))
            } else {
                Err(elsewhere())
            };
        }
        let address = text
            .parse()
            .or_else(|_| text.parse().map(|address| SocketAddrV4::new(address, PORT)))
            .map_err(|_| elsewhere())?;
        if !address.ip().is_loopback() {
            return Err(elsewhere());
        }
        Ok(Self::Loopback(address))
    }

    /// The socket's path, where it is one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Unix(path) => Some(path),
            Self::Loopback(_) => None,
        }
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Loopback(address) => write!(f, "{address}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_engine_is_on_this_machine() {
        for (text, shown) in [
            ("unix:///run/dcgm/sock", "unix:///run/dcgm/sock"),
            ("127.0.0.1:5555", "127.0.0.1:5555"),
            ("127.0.0.1", "127.0.0.1:5555"),
            ("127.8.0.1:99", "127.8.0.1:99"),
        ] {
            assert_eq!(Endpoint::parse(text).unwrap().to_string(), shown);
        }
        let long = format!("unix:///{}", "a".repeat(LONGEST_PATH));
        for text in [
            "",
            "unix://",
            "unix://run/sock",
            "unix:///run/\nsock",
            long.as_str(),
            "/run/sock",
            "10.0.0.1:5555",
            "0.0.0.0:5555",
            "localhost:5555",
            "::1",
            "127.0.0.1:99999",
        ] {
            let said = Endpoint::parse(text).unwrap_err().to_string();
            assert!(said.contains(text) && said.contains("loopback"), "{said}");
        }
    }
}
