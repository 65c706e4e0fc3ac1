//! The counters of the host's network links, from sysfs.
//!
//! Decides: which links are the host's own, and which files count their bytes. Virtual interfaces are passed over: what
//! they carry passes a physical one as well, or never leaves the host. Trusts the kernel's sysfs. Does not establish that
//! a card counts right, nor see links that a guest or another network namespace holds.

use std::fs::{self, DirEntry, File};
use std::io;
use std::path::{Path, PathBuf};
use weighbridge::bounded::{self, BoundedReadError};
use weighbridge::telemetry::{HostLinks, LinkCounters, LinkKind, LossReason, Reading};
use weighbridge::time::{BootNanos, SECOND};

/// The most entries of a directory that are looked at: a host with containers has thousands of virtual interfaces.
const MAX_ENTRIES: usize = 16_384;
/// The longest content of a file that is read here.
const MAX_TEXT: usize = 256;
/// The longest name that the kernel gives a function is 32 bytes or so, an interface 15.
const MAX_NAME: usize = 64;
/// `port_xmit_data` and `port_rcv_data` count in units of four bytes (InfiniBand Architecture, volume 1, PortCounters).
const UNIT_BYTES: u64 = 4;
/// ARPHRD_ETHER of the kernel's interface types. ARPHRD_INFINIBAND is left out: IP over InfiniBand passes a port that is
/// counted as such.
const ETHERNET: &str = "1";

/// How long a list of links holds. A link that appears adds nothing for its past, and one that went is noticed at once; to
/// look through the interfaces of a thousand containers each second would cost more than it tells.
const LISTED_NS: u64 = 60 * SECOND;

/// A link, and where its counters stand.
#[derive(Clone, Debug)]
struct Place {
    kind: LinkKind,
    function: String,
    link: String,
    dir: PathBuf,
}

impl Place {
    fn counters(&self) -> LinkCounters {
        let bytes = |data, plain| match self.kind {
            LinkKind::Ethernet => counter(&self.dir, plain),
            LinkKind::Infiniband | LinkKind::RdmaOverEthernet => match words(&self.dir, data) {
                // Cards that are no InfiniBand count plain bytes, by names of their own.
                Reading::Unsupported => counter(&self.dir, &format!("hw_counters/{plain}")),
                counted => counted,
            },
        };
        LinkCounters {
            kind: self.kind,
            function: self.function.clone(),
            link: self.link.clone(),
            tx_bytes: bytes("counters/port_xmit_data", "tx_bytes"),
            rx_bytes: bytes("counters/port_rcv_data", "rx_bytes"),
        }
    }
}

/// Reads the links of a host, again and again.
#[derive(Clone, Debug)]
pub struct LinkReader {
    sysfs: PathBuf,
    places: Vec<Place>,
    whole: bool,
    list_at: BootNanos,
}

impl LinkReader {
    /// A reader of the links under `sysfs` (`/sys` on a host).
    #[must_use]
    pub fn new(sysfs: PathBuf) -> Self {
        Self {
            sysfs,
            places: Vec::new(),
            whole: false,
            list_at: BootNanos(0),
        }
    }

    /// Reads the links at the time `at`.
    ///
    /// A kernel without InfiniBand has no such class, and no such links; where sysfs itself is absent the list is not whole.
    pub fn read(&mut self, at: BootNanos) -> HostLinks {
        if at >= self.list_at || self.places.iter().any(|place| !place.dir.exists()) {
            self.list();
            self.list_at = at.plus(LISTED_NS);
        }
        HostLinks {
            at,
            whole: self.whole,
            links: self.places.iter().map(Place::counters).collect(),
        }
    }

    fn list(&mut self) {
        let class = self.sysfs.join("class");
        self.places.clear();
        self.whole = class.is_dir();
        self.each(&class.join("infiniband"), Self::infiniband);
        self.each(&class.join("net"), Self::interface);
    }

    /// Calls `add` with every entry of a directory. One that is absent has none; one that cannot be listed, or is longer than
    /// any is, leaves the list short.
    fn each(&mut self, dir: &Path, add: fn(&mut Self, &Path)) {
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return,
            Err(_) => {
                self.whole = false;
                return;
            }
        };
        let mut paths: Vec<_> = entries.flatten().take(MAX_ENTRIES).collect();
        self.whole &= paths.len() < MAX_ENTRIES;
        paths.sort_by_key(DirEntry::file_name);
        for entry in paths {
            add(self, &entry.path());
        }
    }

    /// Adds the ports of an RDMA device.
    fn infiniband(&mut self, device: &Path) {
        let Some(function) = function(device) else {
            // Software RDMA has no function on a bus: what it carries passes an interface.
            return;
        };
        let mut ports = Vec::new();
        match fs::read_dir(device.join("ports")) {
            Ok(entries) => ports.extend(entries.flatten().map(|e| e.path()).take(HostLinks::MOST)),
            Err(_) => self.whole = false,
        }
        for dir in ports {
            let kind = match text(&dir, "link_layer").as_deref() {
                Ok("Ethernet") => LinkKind::RdmaOverEthernet,
                _ => LinkKind::Infiniband,
            };
            let (Some(device), Some(number)) = (name(device), name(&dir)) else {
                continue;
            };
            self.add(Place {
                kind,
                function: function.clone(),
                link: format!("{device}/{number}"),
                dir,
            });
        }
    }

    /// Adds a network interface, if it is one of the host's own cards.
    fn interface(&mut self, interface: &Path) {
        let (Some(function), Some(link)) = (function(interface), name(interface)) else {
            return;
        };
        let ethernet = matches!(text(interface, "type").as_deref(), Ok(ETHERNET));
        if !ethernet || stands_for_another(interface) {
            return;
        }
        self.add(Place {
            kind: LinkKind::Ethernet,
            function,
            link,
            dir: interface.join("statistics"),
        });
    }

    fn add(&mut self, place: Place) {
        if self.places.len() >= HostLinks::MOST {
            self.whole = false;
            return;
        }
        self.places.push(place);
    }
}

/// The function on a bus that a class device belongs to; `None` for a virtual one.
fn function(path: &Path) -> Option<String> {
    name(&fs::canonicalize(path.join("device")).ok()?)
}

fn name(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    (name.len() <= MAX_NAME).then(|| name.to_owned())
}

/// Whether what an interface carries is counted by another that has a function on a bus.
fn stands_for_another(interface: &Path) -> bool {
    // A virtual machine's pair (hv_netvsc, net_failover): the one above, which has a device itself, counts both. A bond or a
    // bridge has none, so its members count.
    if interface.join("master/device").exists() {
        return true;
    }
    // A representor stands on a switch in the card for a port of a guest: the kernel names such ports pf0vf1, c1pf0sf2.
    let port = text(interface, "phys_port_name").unwrap_or_default();
    let of_card = port
        .split_once("pf")
        .map(|(_, rest)| rest.trim_start_matches(|c: char| c.is_ascii_digit()));
    of_card.is_some_and(|rest| rest.starts_with("vf") || rest.starts_with("sf"))
}

/// A counter in units of four bytes. Where a card has it in 32 bits only, it stops at its end: from there on it says nothing.
fn words(path: &Path, name: &str) -> Reading<u64> {
    match counter(path, name) {
        Reading::Value(stopped) if stopped == u64::from(u32::MAX) => Reading::Unsupported,
        Reading::Value(words) => match words.checked_mul(UNIT_BYTES) {
            Some(bytes) => Reading::Value(bytes),
            None => Reading::Lost(LossReason::Malformed),
        },
        other => other,
    }
}

fn counter(path: &Path, name: &str) -> Reading<u64> {
    match text(path, name) {
        Ok(digits) => match digits.parse() {
            Ok(value) => Reading::Value(value),
            Err(_) => Reading::Lost(LossReason::Malformed),
        },
        Err(BoundedReadError::Io(e)) => match e.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::Unsupported => {
                Reading::Unsupported
            }
            io::ErrorKind::PermissionDenied => Reading::Lost(LossReason::NoPermission),
            _ => Reading::Lost(LossReason::Failed),
        },
        Err(_) => Reading::Lost(LossReason::Malformed),
    }
}

fn text(path: &Path, name: &str) -> Result<String, BoundedReadError> {
    let text = bounded::read_text(File::open(path.join(name))?, MAX_TEXT)?;
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// A tree as the kernel lays it out: class devices that link to functions.
    struct Tree(tempfile::TempDir);

    impl Tree {
        fn new() -> Self {
            let root = tempfile::tempdir().unwrap();
            fs::create_dir_all(root.path().join("class/net")).unwrap();
            Self(root)
        }

        fn write(&self, path: &str, text: &str) {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("{text}\n")).unwrap();
        }

        fn belongs(&self, class_device: &str, function: &str) {
            let function = self.0.path().join("devices").join(function);
            fs::create_dir_all(&function).unwrap();
            symlink(
                function,
                self.0.path().join("class").join(class_device).join("device"),
            )
            .unwrap();
        }

        fn interface(&self, name: &str, function: Option<&str>, kind: &str, tx: u64, rx: u64) {
            self.write(&format!("class/net/{name}/type"), kind);
            self.write(&format!("class/net/{name}/statistics/tx_bytes"), &tx.to_string());
            self.write(&format!("class/net/{name}/statistics/rx_bytes"), &rx.to_string());
            if let Some(function) = function {
                self.belongs(&format!("net/{name}"), function);
            }
        }

        fn port(&self, device: &str, function: &str, layer: &str, tx: &str, rx: &str) {
            let port = format!("class/infiniband/{device}/ports/1");
            self.write(&format!("{port}/link_layer"), layer);
            self.write(&format!("{port}/counters/port_xmit_data"), tx);
            self.write(&format!("{port}/counters/port_rcv_data"), rx);
            self.belongs(&format!("infiniband/{device}"), function);
        }

        fn read(&self) -> HostLinks {
            LinkReader::new(self.0.path().to_owned()).read(BootNanos(7))
        }
    }

    fn shown(links: &HostLinks) -> Vec<(LinkKind, &str, Reading<u64>, Reading<u64>)> {
        let links = links.links.iter();
        links
            .map(|l| (l.kind, l.link.as_str(), l.tx_bytes, l.rx_bytes))
            .collect()
    }

    #[test]
    fn ports_and_cards_are_read_and_virtual_interfaces_are_not() {
        let tree = Tree::new();
        tree.port("mlx5_0", "0000:1a:00.0", "InfiniBand", "1000", "2000");
        tree.port("mlx5_1", "0000:3b:00.0", "Ethernet", "10", "20");
        tree.port("rxe0", "gone", "Ethernet", "1", "1");
        fs::remove_file(tree.0.path().join("class/infiniband/rxe0/device")).unwrap();
        tree.interface("ens1", Some("0000:3b:00.0"), "1", 70, 80);
        // IP over the InfiniBand port, loopback, a container's pair, a bridge, a bond.
        tree.interface("ibp26s0", Some("0000:1a:00.0"), "32", 5, 5);
        for (name, kind) in [("lo", "772"), ("veth1", "1"), ("br0", "1"), ("bond0", "1")] {
            tree.interface(name, None, kind, 9, 9);
        }
        symlink("../bond0", tree.0.path().join("class/net/ens1/master")).unwrap();
        let found = tree.read();
        assert!(found.whole && found.at == BootNanos(7));
        let value = Reading::Value;
        assert_eq!(
            shown(&found),
            [
                (LinkKind::Infiniband, "mlx5_0/1", value(4_000), value(8_000)),
                (LinkKind::RdmaOverEthernet, "mlx5_1/1", value(40), value(80)),
                (LinkKind::Ethernet, "ens1", value(70), value(80)),
            ]
        );
        assert_eq!(found.links[1].function, found.links[2].function);
    }

    #[test]
    fn what_another_interface_counts_is_passed_over() {
        let tree = Tree::new();
        tree.interface("eth0", Some("vmbus_1"), "1", 100, 100);
        tree.interface("enP1", Some("0001:00:02.0"), "1", 90, 90);
        symlink("../eth0", tree.0.path().join("class/net/enP1/master")).unwrap();
        tree.interface("ens2", Some("0000:5a:00.0"), "1", 1, 1);
        tree.write("class/net/ens2/phys_port_name", "p0");
        for (name, port) in [("ens2_0", "pf0vf3"), ("ens2_1", "c1pf0sf88")] {
            tree.interface(name, Some("0000:5a:00.0"), "1", 2, 2);
            tree.write(&format!("class/net/{name}/phys_port_name"), port);
        }
        let found = tree.read();
        let names: Vec<_> = shown(&found)
            .iter()
            .map(|(_, name, ..)| (*name).to_owned())
            .collect();
        assert_eq!(names, ["ens2", "eth0"]);
    }

    #[test]
    fn other_cards_count_by_their_own_names_and_what_cannot_count_is_unsupported() {
        let tree = Tree::new();
        tree.write("class/infiniband/efa_0/ports/1/link_layer", "Unspecified");
        tree.write("class/infiniband/efa_0/ports/1/hw_counters/tx_bytes", "123");
        tree.belongs("infiniband/efa_0", "0000:10:00.0");
        // 32 bits, and at their end.
        tree.port("qib0", "0000:11:00.0", "InfiniBand", "4294967295", "17");
        tree.port(
            "mlx5_9",
            "0000:12:00.0",
            "InfiniBand",
            "18446744073709551615",
            "many",
        );
        let malformed = Reading::Lost(LossReason::Malformed);
        assert_eq!(
            shown(&tree.read()),
            [
                (
                    LinkKind::Infiniband,
                    "efa_0/1",
                    Reading::Value(123),
                    Reading::Unsupported
                ),
                (LinkKind::Infiniband, "mlx5_9/1", malformed, malformed),
                (
                    LinkKind::Infiniband,
                    "qib0/1",
                    Reading::Unsupported,
                    Reading::Value(68)
                ),
            ]
        );
    }

    #[test]
    fn a_tree_without_end_is_not_whole_and_neither_is_none() {
        let tree = Tree::new();
        for n in 0..=HostLinks::MOST {
            tree.interface(&format!("e{n}"), Some(&format!("f{n}")), "1", 1, 1);
        }
        let found = tree.read();
        assert!(!found.whole && found.links.len() == HostLinks::MOST);
        assert!(
            !LinkReader::new(tree.0.path().join("absent"))
                .read(BootNanos(0))
                .whole
        );
        let none = Tree::new().read();
        assert!(none.whole && none.links.is_empty());
        let long = Tree::new();
        long.interface("e0", Some("f0"), "1", 1, 1);
        long.write("class/net/e0/statistics/tx_bytes", &"1".repeat(1 << 20));
        assert_eq!(
            long.read().links[0].tx_bytes,
            Reading::Lost(LossReason::Malformed)
        );
    }

    #[test]
    fn a_link_that_goes_is_noticed_at_once_and_one_that_comes_within_a_minute() {
        let tree = Tree::new();
        tree.interface("ens1", Some("0000:01:00.0"), "1", 1, 1);
        let mut reader = LinkReader::new(tree.0.path().to_owned());
        let mut names = |seconds: u64| {
            let found = reader.read(BootNanos(seconds * SECOND));
            found.links.into_iter().map(|l| l.link).collect::<Vec<_>>()
        };
        assert_eq!(names(1), ["ens1"]);
        tree.interface("ens2", Some("0000:02:00.0"), "1", 1, 1);
        assert_eq!(names(2), ["ens1"]);
        assert_eq!(names(61), ["ens1", "ens2"]);
        fs::remove_dir_all(tree.0.path().join("class/net/ens1")).unwrap();
        assert_eq!(names(62), ["ens2"]);
    }
}
