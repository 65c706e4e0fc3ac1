//! What the operator says of a meter: a `[[meter]]` table of the configuration file.

use reqwest::Url;
use std::path::PathBuf;
use weighbridge::document::{Field, Section};
use weighbridge::id::Digest;
use weighbridge::telemetry::MeterKind;

/// From one reading to the next, in seconds, where nothing is said.
const EVERY_S: u32 = 10;
/// The shortest and the longest time that may be said. A BMC takes a second or so to answer; in the longest report there
/// should be more than one reading.
const EVERY_BOUNDS: std::ops::RangeInclusive<u64> = 2..=300;

/// A meter that is to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeterConfig {
    /// What it is.
    pub kind: MeterKind,
    /// The resource that holds its reading.
    pub url: Url,
    /// How it is known.
    pub trust: MeterTrust,
    /// The file with what opens it, where it asks for that.
    pub credentials: Option<PathBuf>,
    /// From one reading to the next, in seconds.
    pub every_s: u32,
}

/// By what a meter is known. The authorities that the system trusts are not asked: few meters have a name of the public's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MeterTrust {
    /// Its certificate leads to one in this PEM file, and holds for its name.
    Authority(PathBuf),
    /// Its certificate has this SHA-256, whatever it says of its name and its time.
    Pinned(Digest),
}

/// Reads a `[[meter]]` table.
pub fn read(section: &mut Section<'_, '_>) -> Option<MeterConfig> {
    let kind = section.required("kind", |field| {
        let words: Vec<_> = MeterKind::ALL.iter().map(|kind| kind.text()).collect();
        let word = field.word(&words)?;
        MeterKind::ALL
            .iter()
            .copied()
            .find(|kind| kind.text() == word)
            .ok_or_else(|| format!("is `{word}`"))
    });
    let url = section.required("url", address);
    let authority = section.optional("ca", |field| field.text().map(PathBuf::from));
    let pinned = section.optional("certificate_sha256", digest);
    let credentials = section.optional("credentials", |field| field.text().map(PathBuf::from));
    let every_s = section.optional("every_s", |field| {
        let seconds = field.integer(EVERY_BOUNDS)?;
        u32::try_from(seconds).map_err(|e| e.to_string())
    });
    let trust = match (authority, pinned) {
        (Some(path), None) => MeterTrust::Authority(path),
        (None, Some(digest)) => MeterTrust::Pinned(digest),
        _ => {
            section.mistake("`meter` needs either `ca` or `certificate_sha256`, by which the meter is known");
            return None;
        }
    };
    Some(MeterConfig {
        kind: kind?,
        url: url?,
        trust,
        credentials,
        every_s: every_s.unwrap_or(EVERY_S),
    })
}

/// The address of a resource. What opens it never stands in it, since an address is shown.
fn address(field: &Field<'_, '_>) -> Result<Url, String> {
    let text = field.text()?;
    let wrong = || {
        "must be an address such as https://bmc.example/redfish/v1/Chassis/1/EnvironmentMetrics".to_owned()
    };
    let url = Url::parse(&text).map_err(|_| wrong())?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            "holds a user or a password: these belong into the file that `credentials` names".to_owned(),
        );
    }
    if url.scheme() != "https" || !url.has_host() || url.fragment().is_some() {
        return Err(wrong());
    }
    Ok(url)
}

/// A SHA-256 in hexadecimal, with or without the colons that `openssl x509 -fingerprint` writes.
fn digest(field: &Field<'_, '_>) -> Result<Digest, String> {
    let hex: String = field.text()?.chars().filter(|c| *c != ':').collect();
    Digest::parse(&hex).map_err(|_| {
        "must be the SHA-256 of the certificate, 64 hexadecimal digits, as `openssl x509 -fingerprint -sha256` prints it".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use weighbridge::document::Document;

    fn parse(text: &str) -> Result<Vec<MeterConfig>, String> {
        let document = Document::open(text);
        let mut root = document.root();
        let meters = root.tables("meter", read);
        root.finish();
        document.finish(Some(meters)).map_err(|e| e.in_one_line())
    }

    #[test]
    fn a_meter_is_read_with_its_defaults() {
        let text = "[[meter]]\nkind = \"bmc\"\nurl = \"https://10.0.0.7/redfish/v1/Chassis/1/Power\"\nca = \"/etc/ca.pem\"\n\
                    [[meter]]\nkind = \"pdu\"\nurl = \"https://pdu/redfish/v1/PowerEquipment/RackPDUs/1/Outlets/A1\"\n\
                    certificate_sha256 = \"AA:AA\"\nevery_s = 30\n";
        let pin = ["AA"; 32].join(":");
        let meters = parse(&text.replace("AA:AA", &pin)).unwrap();
        assert_eq!(meters.len(), 2);
        assert_eq!((meters[0].kind, meters[0].every_s), (MeterKind::Bmc, 10));
        assert_eq!(meters[0].trust, MeterTrust::Authority("/etc/ca.pem".into()));
        assert_eq!((meters[1].kind, meters[1].every_s), (MeterKind::Pdu, 30));
        assert_eq!(meters[1].trust, MeterTrust::Pinned(Digest([0xaa; 32])));
    }

    #[test]
    fn every_mistake_says_what_to_write() {
        for (text, said) in [
            (
                "kind = \"pdus\"\nurl = \"https://x/\"\nca = \"a\"",
                "did you mean `pdu`",
            ),
            (
                "kind = \"bmc\"\nurl = \"http://x/\"\nca = \"a\"",
                "must be an address such as https://",
            ),
            (
                "kind = \"bmc\"\nurl = \"https://u:p@x/\"\nca = \"a\"",
                "belong into the file",
            ),
            (
                "kind = \"bmc\"\nurl = \"https://x/\"",
                "either `ca` or `certificate_sha256`",
            ),
            ("kind = \"bmc\"\nca = \"a\"", "`meter.url` is missing"),
            (
                "kind = \"bmc\"\nurl = \"https://x/\"\ncertificate_sha256 = \"ab\"",
                "64 hexadecimal digits",
            ),
            (
                "kind = \"bmc\"\nurl = \"https://x/\"\nca = \"a\"\nevery_s = 1",
                "must be 2 to 300",
            ),
            (
                "kind = \"bmc\"\nurl = \"https://x/\"\nca = \"a\"\npassword = \"p\"",
                "`meter.password` is not a key",
            ),
        ] {
            let told = parse(&format!("[[meter]]\n{text}\n")).unwrap_err();
            assert!(told.contains(said) && !told.contains("u:p"), "{text}: {told}");
        }
    }
}
