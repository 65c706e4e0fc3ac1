//! Which tenant holds which device, as the operator says through the socket.
//!
//! Decides: whether an attribution is taken, and which pseudonym a tenant goes by: the names stay in one file of the state directory, which no
//! report, log or metric is made from. Trusts who may open the socket. Does not establish that the tenant was the one who computed.

use super::control::{Answer, Ask, Request};
use super::reporter::Now;
use crate::state::{self, StateDir, StateError};
use std::path::Path;
use tracing::{info, warn};
use weighbridge::bounded::MAX_KEY_FILE;
use weighbridge::cbor::{self, DecodeError};
use weighbridge::crypto::{Entropy, KeyError};
use weighbridge::id::{BootId, DeviceUuid, TenantPseudonym};
use weighbridge::report::Holding;
use weighbridge::telemetry::Inventory;
use weighbridge::time::{BootNanos, SECOND, UnixSeconds};
use weighbridge::unit::Ppm;
use zeroize::Zeroizing;

/// The most attributions at one time: eight for each of 64 devices.
const MOST: usize = 512;
/// The longest name of a tenant, in bytes.
const LONGEST_NAME: usize = 256;
/// The largest file of them.
const MAX_FILE: usize = 8 * MAX_KEY_FILE;
/// How far back a start may lie, in seconds: a script takes its time. It counts from now on all the same.
const LATE_S: i64 = 5;
/// Bytes of a key.
const KEY: usize = 32;

weighbridge::record! {
    /// What is asked of the attributions.
    pub struct Attribution {
        /// The device: a UUID, or the driver's index.
        0 => device: String,
        /// The tenant's name.
        1 => tenant: Option<String>,
        /// From when; absent, from now.
        2 => from: Option<UnixSeconds>,
        /// Until when; absent, until it is ended.
        3 => to: Option<UnixSeconds>,
    }
}

weighbridge::record! {
    /// A tenant that holds a device.
    pub struct Attributed {
        /// The device or MIG device, in the driver's spelling.
        0 => device: String,
        /// The tenant's name, which never leaves the node.
        1 => tenant: String,
        /// What reports call it.
        2 => pseudonym: TenantPseudonym,
        /// From when.
        3 => from: UnixSeconds,
        /// Until when; absent, until it is ended.
        4 => to: Option<UnixSeconds>,
    }
}

weighbridge::record! {
    /// One attribution, as it is kept.
    pub struct Kept {
        /// The GPU.
        0 => gpu: DeviceUuid,
        /// The MIG device, and the part of the GPU that it is.
        1 => mig: Option<MigPart>,
        /// The tenant's name.
        2 => tenant: String,
        /// From when, by boot time and by the wall clock.
        3 => from: BootNanos,
        /// The same.
        4 => from_wall: UnixSeconds,
        /// Until when.
        5 => to: Option<BootNanos>,
        /// The same.
        6 => to_wall: Option<UnixSeconds>,
    }
}

weighbridge::row! {
    /// A MIG device.
    pub struct MigPart {
        /// UUID.
        uuid: DeviceUuid,
        /// The part of its GPU that it is.
        part: Ppm,
    }
}

weighbridge::record! {
    /// The file of the attributions.
    pub struct KeptFile {
        /// The boot whose times these are.
        0 => boot: BootId,
        /// They.
        1 => kept: Vec<Kept>,
    }
}

/// Why the attributions cannot be kept on this node. Each needs a person.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttributionsError {
    /// A file.
    #[error(transparent)]
    State(#[from] StateError),
    /// The file is damaged.
    #[error("the tenants' file {path} is damaged: remove it, and attribute the devices anew")]
    Damaged {
        /// It.
        path: String,
        /// Why.
        #[source]
        source: DecodeError,
    },
    /// There is no key where one was configured.
    #[error(
        "`tenant_key` names {path}, where there is no file: make it with `openssl rand -hex 32`, mode 0600"
    )]
    NoKey {
        /// The place.
        path: String,
    },
    /// The key is none.
    #[error("the tenant key {path} is neither {KEY} bytes nor {} hexadecimal digits", 2 * KEY)]
    Key {
        /// Its file.
        path: String,
    },
    /// No random bytes.
    #[error(transparent)]
    Entropy(#[from] KeyError),
}

/// Why an attribution is not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum Untaken {
    /// It says too little.
    #[error("which device, and which tenant?")]
    Bare,
    /// The device is not there.
    #[error("this node has no device `{0}`; `weighbridge-agent inventory` lists them")]
    Device(String),
    /// The name cannot be used.
    #[error("a tenant's name has 1 to {LONGEST_NAME} bytes and no control characters")]
    Name,
    /// It begins in the past.
    #[error(
        "--from lies {0} s in the past, and what was measured is not attributed afterwards: leave it out to begin now"
    )]
    Late(i64),
    /// It ends before it begins.
    #[error("--to lies before the start, or in the past")]
    Backwards,
    /// There is no room.
    #[error("{MOST} attributions are kept, and no more: end some with `attribute --end`")]
    Full,
    /// It cannot be kept.
    #[error("the attribution could not be kept")]
    Kept(#[from] AttributionsError),
}

/// The attributions of this node.
pub(super) struct Attributions {
    state: StateDir,
    boot: BootId,
    entropy: Entropy,
    key: Option<Zeroizing<[u8; KEY]>>,
    kept: Vec<(Kept, TenantPseudonym)>,
}

impl std::fmt::Debug for Attributions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Attributions({} kept)", self.kept.len())
    }
}

impl Attributions {
    /// Reads what is kept, and the operator's key where there is one.
    ///
    /// # Errors
    /// [`AttributionsError`].
    pub(super) fn open(
        state: &StateDir,
        key: Option<&Path>,
        boot: BootId,
        entropy: Entropy,
        now: Now,
    ) -> Result<Self, AttributionsError> {
        let mut all = Self {
            key: key.map(configured).transpose()?,
            state: state.clone(),
            boot,
            entropy,
            kept: Vec::new(),
        };
        let path = state.tenants();
        let Some(bytes) = state::read_private_within(&path, MAX_FILE)? else {
            return Ok(all);
        };
        let file: KeptFile = cbor::decode_strict(&bytes).map_err(|source| AttributionsError::Damaged {
            path: path.display().to_string(),
            source,
        })?;
        for mut kept in file.kept.into_iter().take(MOST) {
            if file.boot != boot {
                // Boot time began anew: what the wall clock says has to do.
                kept.from = at(now, kept.from_wall);
                kept.to = kept.to_wall.map(|to| at(now, to));
            }
            let pseudonym = all.pseudonym(&kept.tenant)?;
            all.kept.push((kept, pseudonym));
        }
        Ok(all)
    }

    /// Answers what is asked at `now`.
    ///
    /// # Errors
    /// [`Untaken`], with nothing changed.
    pub(super) fn answer(
        &mut self,
        request: &Request,
        now: Now,
        inventory: &Inventory,
    ) -> Result<Answer, Untaken> {
        match (request.ask, &request.attribution) {
            (Ask::Attributions, _) => Ok(Answer {
                attributions: Some(self.listed(now)),
                ..Answer::text(String::new())
            }),
            (Ask::EndAttribution, Some(asked)) => self.end(asked, now, inventory),
            (_, Some(asked)) => self.begin(asked, now, inventory),
            (_, None) => Err(Untaken::Bare),
        }
    }

    /// For the meter.
    pub(super) fn holdings(&self) -> Vec<Holding> {
        let holding = |(kept, tenant): &(Kept, TenantPseudonym)| Holding {
            device: kept.gpu,
            tenant: *tenant,
            part: kept.mig.as_ref().map(|m| m.part),
            from: kept.from,
            to: kept.to.unwrap_or(BootNanos(u64::MAX)),
        };
        self.kept.iter().map(holding).collect()
    }

    /// Forgets what ended before the report in the making began.
    pub(super) fn forget(&mut self, begun: BootNanos) {
        let before = self.kept.len();
        self.kept.retain(|(kept, _)| kept.to.is_none_or(|to| to > begun));
        if self.kept.len() < before
            && let Err(e) = self.keep()
        {
            // It is in the file a while longer, and forgotten with the next change.
            warn!(
                "ended attributions could not be removed: {}",
                crate::sentence::Sentence(&e)
            );
        }
    }

    fn begin(&mut self, asked: &Attribution, now: Now, inventory: &Inventory) -> Result<Answer, Untaken> {
        let tenant = asked.tenant.as_ref().ok_or(Untaken::Bare)?;
        if !(1..=LONGEST_NAME).contains(&tenant.len()) || tenant.chars().any(char::is_control) {
            return Err(Untaken::Name);
        }
        let (gpu, mig) = found(&asked.device, inventory)?;
        let from_wall = asked.from.unwrap_or(now.wall);
        let late = now.wall.since(from_wall);
        if late > LATE_S {
            return Err(Untaken::Late(late));
        }
        let from_wall = from_wall.max(now.wall);
        if asked.to.is_some_and(|to| to <= from_wall) {
            return Err(Untaken::Backwards);
        }
        if self.kept.len() >= MOST {
            return Err(Untaken::Full);
        }
        let pseudonym = self.pseudonym(tenant)?;
        let kept = Kept {
            gpu,
            mig,
            tenant: tenant.clone(),
            from: at(now, from_wall),
            from_wall,
            to: asked.to.map(|to| at(now, to)),
            to_wall: asked.to,
        };
        let device = spelt(&kept);
        let same = |(known, _): &&(Kept, TenantPseudonym)| {
            (known.gpu, &known.mig, &known.tenant) == (kept.gpu, &kept.mig, &kept.tenant)
        };
        let open = |(known, _): &(Kept, TenantPseudonym)| known.from <= kept.from && known.to.is_none();
        if self.kept.iter().filter(same).any(open) && kept.to.is_none() {
            return Ok(Answer::text(format!(
                "{device} is attributed to {pseudonym} already"
            )));
        }
        self.kept.push((kept, pseudonym));
        if let Err(e) = self.keep() {
            self.kept.pop();
            return Err(e.into());
        }
        info!(device, tenant = %pseudonym, "a device is attributed");
        let until = asked.to.map_or_else(String::new, |to| format!(" to {to}"));
        Ok(Answer::text(format!(
            "{device} is attributed to {pseudonym} from {from_wall}{until}"
        )))
    }

    fn end(&mut self, asked: &Attribution, now: Now, inventory: &Inventory) -> Result<Answer, Untaken> {
        let before = self.kept.clone();
        // What is gone from the node may be held all the same.
        let matches = |kept: &Kept| match found(&asked.device, inventory) {
            Ok((gpu, mig)) => kept.gpu == gpu && kept.mig == mig,
            Err(_) => spelt(kept).eq_ignore_ascii_case(&asked.device),
        };
        if found(&asked.device, inventory).is_err() && !before.iter().any(|(kept, _)| matches(kept)) {
            return Err(Untaken::Device(asked.device.chars().take(64).collect()));
        }
        let whose = |kept: &Kept| asked.tenant.as_ref().is_none_or(|t| *t == kept.tenant);
        let mut ended = 0u32;
        let held = |kept: &Kept| kept.to.is_none_or(|to| to > now.boot);
        for (kept, _) in self
            .kept
            .iter_mut()
            .filter(|(k, _)| matches(k) && whose(k) && held(k))
        {
            kept.to = Some(now.boot);
            kept.to_wall = Some(now.wall);
            ended = ended.saturating_add(1);
        }
        // One that lay in the future never was.
        self.kept
            .retain(|(kept, _)| kept.to.is_none_or(|to| kept.from < to));
        if ended == 0 {
            return Ok(Answer::text("nobody held it"));
        }
        if let Err(e) = self.keep() {
            self.kept = before;
            return Err(e.into());
        }
        info!(ended, "attributions ended");
        Ok(Answer::text(format!("ended: {ended}")))
    }

    fn listed(&self, now: Now) -> Vec<Attributed> {
        let held = self
            .kept
            .iter()
            .filter(|(kept, _)| kept.to.is_none_or(|to| to > now.boot));
        held.map(|(kept, pseudonym)| Attributed {
            device: spelt(kept),
            tenant: kept.tenant.clone(),
            pseudonym: *pseudonym,
            from: kept.from_wall,
            to: kept.to_wall,
        })
        .collect()
    }

    fn keep(&self) -> Result<(), AttributionsError> {
        let file = KeptFile {
            boot: self.boot,
            kept: self.kept.iter().map(|(kept, _)| kept.clone()).collect(),
        };
        Ok(state::replace_private(
            &self.state.tenants(),
            &cbor::encode(&file),
        )?)
    }

    /// The pseudonym of a name. Where the operator gave no key, one of the node's own is made when it is first needed.
    fn pseudonym(&mut self, tenant: &str) -> Result<TenantPseudonym, AttributionsError> {
        if self.key.is_none() {
            warn!(
                "no `tenant_key` is configured: tenants go by pseudonyms of this node's own, which differ by node"
            );
            let path = self.state.tenant_key();
            let drawn = Zeroizing::new(self.entropy.draw::<KEY>()?);
            state::create_private(&path, drawn.as_slice())?;
            self.key = Some(configured(&path)?);
        }
        let key = self
            .key
            .as_deref()
            .ok_or_else(|| no_key(&self.state.tenant_key()))?;
        Ok(TenantPseudonym::of(key, tenant))
    }
}

fn no_key(path: &Path) -> AttributionsError {
    AttributionsError::NoKey {
        path: path.display().to_string(),
    }
}

/// Reads a key: its bytes, or these in hexadecimal.
fn configured(path: &Path) -> Result<Zeroizing<[u8; KEY]>, AttributionsError> {
    let bytes = Zeroizing::new(state::read_private(path)?.ok_or_else(|| no_key(path))?);
    let raw = <[u8; KEY]>::try_from(bytes.as_slice()).ok();
    let key = raw.or_else(|| {
        let digits = std::str::from_utf8(&bytes).ok()?.trim();
        weighbridge::id::Digest::parse(digits).ok().map(|d| d.0)
    });
    key.map(Zeroizing::new).ok_or_else(|| AttributionsError::Key {
        path: path.display().to_string(),
    })
}

/// A device by its UUID, that of a MIG device, or the driver's index. Where no driver is in use, any GPU may be there.
fn found(text: &str, inventory: &Inventory) -> Result<(DeviceUuid, Option<MigPart>), Untaken> {
    let unknown = || Untaken::Device(text.chars().take(64).collect());
    let by_index = |index: u16| {
        inventory
            .devices
            .iter()
            .find(|d| d.index == index)
            .map(|d| d.uuid)
    };
    if let Ok(index) = text.parse::<u16>() {
        return Ok((by_index(index).ok_or_else(unknown)?, None));
    }
    let uuid = DeviceUuid::parse_nvml(text).map_err(|_| unknown())?;
    if text.starts_with("MIG-") {
        let mut divided = inventory.mig_devices.iter().flatten();
        let mig = divided.find(|m| m.uuid == uuid).ok_or_else(unknown)?;
        let part = MigPart { uuid, part: mig.part };
        return Ok((by_index(mig.index).ok_or_else(unknown)?, Some(part)));
    }
    let listed = inventory.devices.iter().any(|d| d.uuid == uuid);
    if listed || inventory.driver.is_none() {
        Ok((uuid, None))
    } else {
        Err(unknown())
    }
}

/// What a device is called.
fn spelt(kept: &Kept) -> String {
    match &kept.mig {
        Some(mig) => mig.uuid.nvml_mig(),
        None => kept.gpu.nvml(),
    }
}

/// A wall time as boot time, by what both clocks say now.
fn at(now: Now, wall: UnixSeconds) -> BootNanos {
    let ahead = wall.since(now.wall);
    let ns = ahead.unsigned_abs().saturating_mul(SECOND);
    if ahead < 0 {
        now.boot.before(ns)
    } else {
        now.boot.plus(ns)
    }
}

#[cfg(test)]
#[path = "attribution_tests.rs"]
mod tests;
