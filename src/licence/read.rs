//! From text to licence.

use super::own;
use super::{
    AllowancePeriod, CataloguePin, ConfidentialTerm, DeclaredActivity, EvidenceRequired, Licence,
    LicensedDevice, LicensedModel, LicensedSigner, Names, OpsGroup, OwnCondition, PciPair, REPORT_SECONDS,
    REPORT_SECONDS_MAX, REPORT_SECONDS_MIN, RuleSetPin, Site, TrainingAllowance, WINDOWS_KEPT_DAYS, Waiver,
};
use crate::document::{DayEnd, Field, Section, Zone, is_country, nearest};
use crate::id::{DeviceUuid, Digest};
use crate::rules::{Limits, Profile, Validity, coded};
use crate::unit::{MicroTppHours, Tpp};

/// More sites than one consignee has under one licence.
const MAX_SITES: usize = 1_000;

pub(super) fn licence(root: &mut Section<'_, '_>, digest: Digest, names: Names<'_>) -> Option<Licence> {
    let licence_id = root.required("licence_id", Field::text);
    let serial = root.required("serial", |f| f.integer(1..=u64::from(u32::MAX)));
    let issuer = root.required("issuer", Field::text);
    let consignee = root.required("consignee", Field::text);
    let zone = root.optional("time_zone", Field::zone).unwrap_or_default();
    let valid_from = root.required("valid_from", |f| f.moment(zone, DayEnd::Start));
    let valid_to = root.required("valid_to", |f| f.moment(zone, DayEnd::Included));
    if let (Some(from), Some(to)) = (valid_from, valid_to)
        && to <= from
    {
        root.mistake_at("valid_to", "`valid_to` does not lie after `valid_from`");
    }
    let manifest_from = root.optional("manifest_from", |f| f.moment(zone, DayEnd::Start));
    if manifest_from.is_some_and(|t| valid_from.is_some_and(|v| t < v) || valid_to.is_some_and(|v| t >= v)) {
        root.mistake_at("manifest_from", "`manifest_from` does not lie within the licence");
    }
    let ruleset_id = root.required("ruleset_id", Field::text);
    let ruleset = ruleset_pin(root);
    let catalogue = root.table("catalogue", catalogue_pin);
    let profiles = root
        .optional("profiles", |f| f.list(profile))
        .unwrap_or_default()
        .into_iter()
        .flatten()
        .collect();
    let sites = sites(root, names);
    let countries_allowed = root
        .optional("countries_allowed", |f| f.list(|c| names.country(c.country()?)))
        .unwrap_or_default();
    let licensed_tpp = root
        .optional("licensed_tpp", |f| f.integer(0..=u64::MAX))
        .map(Tpp);
    let models = root.tables("models", |s| model(s, names));
    let devices = root.tables("device", |s| device(s, zone, names));
    repeated(root, &devices);
    for site in devices.iter().filter_map(|d| d.site.as_deref()) {
        if !sites.iter().any(|s| s.id == site) {
            root.mistake_at(
                "device",
                format!("a device stands at site `{site}`, which the licence does not name"),
            );
        }
    }
    if sites.len() > 1 && devices.iter().any(|d| d.site.is_none()) {
        root.mistake_at(
            "device",
            "the licence names several sites, so each device needs its `site`",
        );
    }
    let manifest_digest = root.optional("manifest_digest", Field::digest);
    let limits = Limits::read(root);
    let training = training(root);
    let training_share_max = root.optional("training_share_max", Field::share);
    let ops_group = root.optional("ops_group", |f| coded(f, OpsGroup::ALL, OpsGroup::text));
    let reported_bounds_suffice = root
        .optional("reported_bounds_suffice", Field::flag)
        .unwrap_or(false);
    let activity = root.tables("activity", |s| activity(s, zone));
    for row in &activity {
        match &row.site {
            Some(site) if !sites.iter().any(|s| s.id == *site) => root.mistake_at(
                "activity",
                format!("activity is declared of site `{site}`, which the licence does not name"),
            ),
            None if sites.len() > 1 => root.mistake_at(
                "activity",
                "the licence names several sites, so each declared activity needs its `site`",
            ),
            _ => {}
        }
    }
    let trial = root.optional("trial", Field::flag).unwrap_or(false);
    let report_seconds = report_seconds(root, trial);
    let windows_kept_days = root
        .optional("windows_kept_days", |f| f.integer(1..=3_660))
        .and_then(|n| u32::try_from(n).ok());
    let approved_nvml = root
        .optional("approved_nvml", |f| f.list(Field::digest))
        .unwrap_or_default();
    let approved_agents = root
        .optional("approved_agents", |f| f.list(Field::digest))
        .unwrap_or_default();
    let driver_versions = versions(root, "driver_versions");
    let vbios_versions = versions(root, "vbios_versions");
    let confidential_compute = root.optional("confidential_compute", |f| {
        coded(f, ConfidentialTerm::ALL, ConfidentialTerm::text)
    });
    let signers = root.tables("signers", |s| LicensedSigner::read(s, zone));
    for site in signers.iter().flat_map(|s| &s.sites) {
        if !sites.iter().any(|s| s.id == *site) {
            root.mistake_at(
                "signers",
                format!("a signer is heard about site `{site}`, which the licence does not name"),
            );
        }
    }
    let evidence_required = root.tables("evidence_required", evidence);
    let remote_access_countries = root
        .optional("remote_access_countries", |f| {
            f.list(|c| names.country(c.country()?))
        })
        .unwrap_or_default();
    let conditions = own::read(root);
    let waivers = root.tables("waivers", |s| waiver(s, zone, names, &conditions));
    Some(Licence {
        licence_id: licence_id?,
        serial: serial?,
        issuer: issuer?,
        consignee: consignee?,
        valid: Validity {
            from: valid_from?,
            to: Some(valid_to?),
        },
        zone,
        ruleset_id: ruleset_id?,
        ruleset,
        catalogue,
        profiles,
        sites,
        countries_allowed,
        licensed_tpp,
        manifest_from,
        models,
        devices,
        manifest_digest,
        limits,
        training,
        training_share_max,
        ops_group,
        reported_bounds_suffice,
        activity,
        report_seconds,
        trial,
        windows_kept_days: windows_kept_days.unwrap_or(WINDOWS_KEPT_DAYS),
        approved_nvml,
        approved_agents,
        driver_versions,
        vbios_versions,
        confidential_compute,
        signers,
        evidence_required,
        remote_access_countries,
        conditions,
        waivers,
        digest,
    })
}

fn catalogue_pin(s: &mut Section<'_, '_>) -> Option<CataloguePin> {
    Some(match pin(s, "the catalogue", "least_serial")? {
        Pin::Digest(digest) => CataloguePin::Digest(digest),
        Pin::Signed(key, least_serial) => CataloguePin::Signed { key, least_serial },
    })
}

/// The table `[ruleset]`, or the digest alone as `ruleset_digest`.
fn ruleset_pin(root: &mut Section<'_, '_>) -> Option<RuleSetPin> {
    let alone = root.optional("ruleset_digest", Field::digest);
    let table = root.table("ruleset", |s| pin(s, "the rule set", "least_version"));
    if alone.is_some() && table.is_some() {
        root.mistake_at(
            "ruleset_digest",
            "`ruleset_digest` and [ruleset] both pin the rule set: leave one out",
        );
    }
    Some(match table.or_else(|| alone.map(Pin::Digest))? {
        Pin::Digest(digest) => RuleSetPin::Digest(digest),
        Pin::Signed(key, least_version) => RuleSetPin::Signed { key, least_version },
    })
}

/// How a document is pinned.
enum Pin {
    Digest(Digest),
    Signed(Digest, u64),
}

/// Either a digest, or a key and the least number: both at once would leave open which of them binds.
fn pin(s: &mut Section<'_, '_>, what: &str, least_key: &'static str) -> Option<Pin> {
    let digest = s.optional("digest", Field::digest);
    let key = s.optional("key", Field::digest);
    let least = s.optional(least_key, |f| f.integer(1..=u64::from(u32::MAX)));
    match (digest, key, least) {
        (Some(digest), None, None) => Some(Pin::Digest(digest)),
        (None, Some(key), Some(least)) => Some(Pin::Signed(key, least)),
        // What stands there and cannot be read was named already.
        (None, ..) if s.has("digest") => None,
        (_, None, _) if s.has("key") => None,
        (.., None) if s.has(least_key) => None,
        _ => {
            s.mistake(format!(
                "{what} is pinned by `digest`, or by `key` and `{least_key}` together"
            ));
            None
        }
    }
}

/// An empty list would allow no version at all, and was hardly meant so.
fn versions(root: &mut Section<'_, '_>, key: &'static str) -> Vec<String> {
    let listed = root.optional(key, |f| match f.list(Field::text)? {
        none if none.is_empty() => Err("lists no version: leave it out to allow any".to_owned()),
        listed => Ok(listed),
    });
    listed.unwrap_or_default()
}

/// Sites stand as `site_ids = […]`, as `[[site]]` tables with a country, or as both, which then must agree.
fn sites(root: &mut Section<'_, '_>, names: Names<'_>) -> Vec<Site> {
    let ids = root.optional("site_ids", |f| f.list(Field::text));
    let mut sites = root.tables("site", |s| {
        let id = s.required("id", Field::text);
        let country = s.required("country", |f| names.country(f.country()?));
        let address = s.optional("address", Field::text);
        Some(Site {
            id: id?,
            country: Some(country?),
            address,
        })
    });
    if sites.len() > MAX_SITES || ids.as_ref().is_some_and(|ids| ids.len() > MAX_SITES) {
        root.mistake(format!("more than {MAX_SITES} sites are named"));
        return Vec::new();
    }
    for id in ids.iter().flatten() {
        if !sites.iter().any(|s| s.id == *id) {
            sites.push(Site {
                id: id.clone(),
                country: None,
                address: None,
            });
        }
    }
    if let Some(ids) = &ids {
        for site in sites.iter().filter(|s| !ids.contains(&s.id)) {
            root.mistake_at(
                "site_ids",
                format!("`site_ids` lacks `{}`, which stands in a [[site]]", site.id),
            );
        }
    }
    if sites.is_empty() {
        root.mistake("no site is named: write [[site]] with `id` and `country`, or `site_ids`");
    }
    if sites.len() > MAX_SITES {
        root.mistake(format!("more than {MAX_SITES} sites are named"));
    }
    sites
}

fn model(s: &mut Section<'_, '_>, names: Names<'_>) -> Option<LicensedModel> {
    let catalogue_id = s.required("catalogue_id", |f| names.model(f.text()?));
    let count = s.required("count", |f| f.integer(0..=u64::from(u32::MAX)));
    Some(LicensedModel {
        catalogue_id: catalogue_id?,
        count: count?,
    })
}

fn device(s: &mut Section<'_, '_>, zone: Zone, names: Names<'_>) -> Option<LicensedDevice> {
    let uuid = s.optional("uuid", |f| {
        DeviceUuid::parse_nvml(&f.text()?)
            .map_err(|_| "must be a UUID such as GPU-1653b042-3c11-4d21-9a00-0123456789ab".to_owned())
    });
    let model = s.optional("model", |f| names.model(f.text()?));
    let row = LicensedDevice {
        uuid,
        serial: s.optional("serial", Field::text),
        pci: s.optional("pci", |f| names.pci(pci(&f.text()?)?, model.as_deref())),
        model,
        device_id: s.optional("device_id", Field::digest),
        site: s.optional("site", Field::text),
        in_service: s.optional("in_service", |f| f.moment(zone, DayEnd::Start)),
    };
    if row.uuid.is_none() && row.serial.is_none() {
        s.mistake("a device needs `uuid`, `serial` or both");
        return None;
    }
    Some(row)
}

fn pci(text: &str) -> Result<PciPair, String> {
    text.split_once(':')
        .filter(|(v, d)| v.len() == 4 && d.len() == 4)
        .and_then(|(v, d)| {
            Some(PciPair {
                vendor: u16::from_str_radix(v, 16).ok()?,
                device: u16::from_str_radix(d, 16).ok()?,
            })
        })
        .ok_or_else(|| "must be PCI vendor and device, such as \"10de:2330\"".to_owned())
}

fn repeated(root: &Section<'_, '_>, devices: &[LicensedDevice]) {
    let mut uuids: Vec<_> = devices.iter().filter_map(|d| d.uuid).collect();
    uuids.sort();
    for pair in uuids.windows(2) {
        if let [a, b] = pair
            && a == b
        {
            root.mistake_at("device", format!("{} stands twice on the manifest", a.nvml()));
        }
    }
    let mut keys: Vec<_> = devices.iter().filter_map(|d| d.device_id).collect();
    keys.sort();
    for pair in keys.windows(2) {
        if let [a, b] = pair
            && a == b
        {
            root.mistake_at("device", format!("device_id {a} stands twice on the manifest"));
        }
    }
    let mut serials: Vec<_> = devices.iter().filter_map(|d| d.serial.as_deref()).collect();
    serials.sort_unstable();
    for pair in serials.windows(2) {
        if let [a, b] = pair
            && a == b
        {
            root.mistake_at(
                "device",
                format!("serial number {a} stands twice on the manifest"),
            );
        }
    }
}

fn training(root: &mut Section<'_, '_>) -> Option<TrainingAllowance> {
    let most = root
        .optional("tpp_hours_max", Field::large)
        .map(|hours| MicroTppHours(hours.saturating_mul(1_000_000)));
    let period = root.optional("tpp_hours_period", |f| {
        coded(f, AllowancePeriod::ALL, AllowancePeriod::text)
    });
    if most.is_some() != period.is_some() {
        root.mistake("`tpp_hours_max` and `tpp_hours_period` belong together, and one of them is missing");
    }
    Some(TrainingAllowance {
        most: most?,
        period: period?,
    })
}

fn activity(s: &mut Section<'_, '_>, zone: Zone) -> Option<DeclaredActivity> {
    let site = s.optional("site", Field::text);
    let from = s.required("from", |f| f.moment(zone, DayEnd::Start));
    let to = s.required("to", |f| f.moment(zone, DayEnd::Included));
    let busy_share = s.optional("busy_share", Field::share);
    let training_share = s.optional("training_share", Field::share);
    if busy_share.is_none() && training_share.is_none() {
        s.mistake("declared activity needs `busy_share`, `training_share` or both");
    }
    if let (Some(from), Some(to)) = (from, to)
        && to <= from
    {
        s.mistake_at("to", "`to` does not lie after `from`");
    }
    Some(DeclaredActivity {
        site,
        from: from?,
        to: to?,
        busy_share,
        training_share,
    })
}

/// A profile; `all`, which every licence has, is none.
fn profile(field: &Field<'_, '_>) -> Result<Option<Profile>, String> {
    let names: Vec<&str> = ["all"]
        .into_iter()
        .chain(Profile::ALL.iter().map(|p| p.text()))
        .collect();
    let word = field.word(&names)?;
    Ok(Profile::ALL.iter().copied().find(|p| p.text() == word))
}

fn report_seconds(root: &mut Section<'_, '_>, trial: bool) -> u32 {
    let seconds = root.optional("report_seconds", |f| f.integer(1..=REPORT_SECONDS_MAX));
    if seconds.is_some_and(|s| s < REPORT_SECONDS_MIN) && !trial {
        root.mistake_at(
            "report_seconds",
            format!("`report_seconds` below {REPORT_SECONDS_MIN} needs `trial = true`, and every finding then says trial"),
        );
    }
    seconds
        .and_then(|s| u32::try_from(s).ok())
        .unwrap_or(REPORT_SECONDS)
}

fn evidence(s: &mut Section<'_, '_>) -> Option<EvidenceRequired> {
    let kind = s.required("type", Field::text);
    let max_age = s.optional("max_age", Field::span);
    let issuers = s.optional("issuers", |f| f.list(Field::text)).unwrap_or_default();
    Some(EvidenceRequired {
        kind: kind?,
        max_age,
        issuers,
    })
}

fn waiver(s: &mut Section<'_, '_>, zone: Zone, names: Names<'_>, own: &[OwnCondition]) -> Option<Waiver> {
    let condition = s.required("condition", |f| match f.text()? {
        id if own.iter().any(|c| c.id == id) => Ok(id),
        id => names.condition(id),
    });
    let until = s.required("until", |f| f.moment(zone, DayEnd::Included));
    let reason = s.required("reason", Field::text);
    Some(Waiver {
        condition: condition?,
        until: until?,
        reason: reason?,
    })
}

impl Names<'_> {
    fn model(self, name: String) -> Result<String, String> {
        let Self::Known { catalogue, .. } = self else {
            return Ok(name);
        };
        let models = catalogue.models();
        if models.iter().any(|m| m.is_called(&name)) {
            return Ok(name);
        }
        let known = models
            .iter()
            .flat_map(|m| std::iter::once(&m.name).chain(&m.driver_names));
        Err(match nearest(&name, known.map(String::as_str)) {
            Some(right) => format!("is `{name}`, which the catalogue does not hold: did you mean `{right}`?"),
            None => format!("is `{name}`, and the catalogue of this version holds no such model"),
        })
    }

    /// A device whose PCI id is not one of its model's would stand off the manifest that was meant to list it.
    fn pci(self, pair: PciPair, model: Option<&str>) -> Result<PciPair, String> {
        let (Self::Known { catalogue, .. }, Some(name)) = (self, model) else {
            return Ok(pair);
        };
        let called = catalogue.models().iter().filter(|m| m.is_called(name));
        let known: Vec<PciPair> = called
            .flat_map(|m| &m.pci)
            .map(|&(vendor, device)| PciPair { vendor, device })
            .collect();
        if known.is_empty() || known.contains(&pair) {
            return Ok(pair);
        }
        let known: Vec<String> = known.iter().map(ToString::to_string).collect();
        Err(format!(
            "is `{pair}`, and the catalogue knows {name} by {}",
            known.join(", ")
        ))
    }

    fn country(self, code: String) -> Result<String, String> {
        match self {
            Self::Known { .. } if !is_country(&code) => {
                Err(format!("is `{code}`, which ISO 3166-1 assigns to no country"))
            }
            _ => Ok(code),
        }
    }

    fn condition(self, id: String) -> Result<String, String> {
        if !is_condition_id(&id) {
            return Err(format!(
                "is `{id}`, which is not the id of a condition, such as INV-11"
            ));
        }
        match self {
            Self::Known { conditions, .. } if !conditions.contains(&id.as_str()) => {
                Err(match nearest(&id, conditions.iter().copied()) {
                    Some(right) => {
                        format!("is `{id}`, and no condition has this id: did you mean `{right}`?")
                    }
                    None => format!("is `{id}`, and no condition has this id"),
                })
            }
            _ => Ok(id),
        }
    }
}

/// Three capital letters, a hyphen, two digits.
fn is_condition_id(id: &str) -> bool {
    id.len() == 6
        && id.split_once('-').is_some_and(|(family, number)| {
            family.len() == 3
                && family.bytes().all(|b| b.is_ascii_uppercase())
                && number.bytes().all(|b| b.is_ascii_digit())
        })
}
