//! Licences for tests and the demo, written as a person would write them.

use nvidia_ml::Identity;
use weighbridge::time::UnixSeconds;

/// What a licence for tests says, beside its manifest.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Its id.
    pub licence_id: String,
    /// From when it holds: time before is nobody's, time after that no report covers counts as unobserved.
    pub valid_from: UnixSeconds,
    /// Sites.
    pub sites: Vec<String>,
    /// Length of a report, in seconds; below 60 the licence is a trial.
    pub report_seconds: u32,
    /// TPP-hours that may go into training in a day.
    pub training_per_day: Option<u64>,
    /// Further lines, before the first table.
    pub more: String,
}

impl Terms {
    /// An ordinary licence for one site.
    #[must_use]
    pub fn at(site: &str) -> Self {
        Self {
            licence_id: format!("WB-{site}"),
            valid_from: now(),
            sites: vec![site.to_owned()],
            report_seconds: 300,
            training_per_day: None,
            more: String::new(),
        }
    }

    /// Writes the licence with a manifest of (device, site).
    #[must_use]
    pub fn write(&self, manifest: &[(&Identity, &str)]) -> String {
        let mut out = format!(
            r#"licence_id = "{}"
serial = 1
issuer = "Example Accelerators Inc."
consignee = "Harbour Compute Pte. Ltd."
valid_from = {}
valid_to = 2099-12-31
ruleset_id = "us-ear-enforced-2026-05"
countries_allowed = ["SG"]
licensed_tpp = 4_000_000
key_protection_min = "file"
report_seconds = {}
trial = {}
"#,
            self.licence_id,
            self.valid_from,
            self.report_seconds,
            self.report_seconds < 60
        );
        if let Some(most) = self.training_per_day {
            out.push_str(&format!("tpp_hours_max = {most}\ntpp_hours_period = \"day\"\n"));
        }
        out.push_str(&self.more);
        for site in &self.sites {
            out.push_str(&format!("\n[[site]]\nid = \"{site}\"\ncountry = \"SG\"\n"));
        }
        out.push_str("\n[[models]]\ncatalogue_id = \"H100 SXM5 80GB\"\ncount = 64\n");
        for (device, site) in manifest {
            out.push_str(&format!(
                "\n[[device]]\nuuid = \"{}\"\nserial = \"{}\"\nsite = \"{site}\"\n",
                device.uuid, device.serial
            ));
        }
        out
    }
}

/// An ordinary licence for `site` with a manifest.
#[must_use]
pub fn for_site(site: &str, manifest: &[&Identity]) -> String {
    let rows: Vec<_> = manifest.iter().map(|d| (*d, site)).collect();
    Terms::at(site).write(&rows)
}

/// The wall clock.
///
/// # Panics
/// Where the clock stands before 1970.
#[must_use]
pub fn now() -> UnixSeconds {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    UnixSeconds(i64::try_from(since.as_secs()).unwrap())
}
