//! Whose statements a licence has its readers hear.

use super::{Accreditation, Licence, Standing};
use crate::crypto::PublicKey;
use crate::document::{DayEnd, Field, Section, Zone};
use crate::id::Digest;
use crate::rules::{Validity, coded};
use crate::statement::{AreaExamined, Header, Role, Statement};
use crate::time::{UnixSeconds, span};
use data_encoding::BASE64;

/// A party whose statements are heard about the licence's sites (`[[signers]]`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LicensedSigner {
    /// Who it is.
    pub name: String,
    /// As what it is heard.
    pub role: Role,
    /// Its key.
    pub key: PublicKey,
    /// The accreditation that its statements must name, where the licence states one.
    pub accreditation: Option<String>,
    /// About which sites; about all of the licence's where none is named.
    pub sites: Vec<String>,
    /// Between which times a statement of it must have been issued; before the end it must be on file too.
    pub valid: Validity,
}

/// A key that a licence hears in a statement, and how far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeardAs<'a> {
    /// Its id.
    pub key: Digest,
    /// The accreditation of the checker's list under which it speaks; absent for others than assessors, and where that list is empty.
    pub accreditation: Option<&'a Accreditation>,
}

impl HeardAs<'_> {
    /// Whether it is heard about an area that an attestation speaks of.
    #[must_use]
    pub fn covers(&self, examined: &AreaExamined) -> bool {
        self.accreditation.is_none_or(|a| a.covers(examined))
    }
}

impl Licence {
    /// Those of the keys that signed a statement whom the licence hears about a site, as far as the checker lets them speak. `filed` is when it was
    /// put on file, `tolerance` by how many seconds it may be dated later than that.
    ///
    /// # Errors
    /// Why it hears none; this follows a statement's name in a sentence.
    pub fn hears<'a>(
        &self,
        (statement, signed): (&Statement, &[Digest]),
        (filed, tolerance): (UnixSeconds, i64),
        site: &str,
        standing: &'a Standing,
    ) -> Result<Vec<HeardAs<'a>>, String> {
        if let Some(why) = statement.header.postdated(filed, tolerance) {
            return Err(why);
        }
        let (mut heard, mut why) = (Vec::new(), None);
        for signer in self.signers.iter().filter(|s| signed.contains(&s.key.id())) {
            match signer.hear(statement, filed, site, standing) {
                Ok(as_whom) => heard.push(as_whom),
                Err(reason) => why = why.or(Some(reason)),
            }
        }
        if heard.is_empty() {
            return Err(why.unwrap_or_else(|| "is signed by nobody whom the licence hears".to_owned()));
        }
        Ok(heard)
    }
}

impl Header {
    /// Why it cannot have been issued when it says, if it was filed at this time by a clock that may be off by so many seconds.
    fn postdated(&self, filed: UnixSeconds, tolerance: i64) -> Option<String> {
        let ahead = self.issued.0.since(filed);
        (ahead > tolerance).then(|| {
            format!(
                "is dated in the future: issued on {}, {} after it was filed on {filed}, and {} are allowed",
                self.issued.0,
                span(ahead),
                span(tolerance)
            )
        })
    }
}

impl LicensedSigner {
    pub(super) fn read(s: &mut Section<'_, '_>, zone: Zone) -> Option<Self> {
        let name = s.required("name", Field::text);
        let role = s.required("role", |f| coded(f, Role::ALL, Role::text));
        let key = s.required("key", |f| {
            let text = f.text()?;
            let spki = BASE64.decode(text.as_bytes()).ok();
            spki.and_then(|spki| PublicKey::from_spki(&spki).ok())
                .ok_or_else(|| {
                    "must be a public key in base64, the line between BEGIN and END of its file".to_owned()
                })
        });
        let accreditation = s.optional("accreditation", Field::text);
        let sites = s.optional("sites", |f| f.list(Field::text)).unwrap_or_default();
        let from = s.optional("valid_from", |f| f.moment(zone, DayEnd::Start));
        let to = s.optional("valid_to", |f| f.moment(zone, DayEnd::Included));
        Some(Self {
            name: name?,
            role: role?,
            key: key?,
            accreditation,
            sites,
            valid: Validity {
                from: from.unwrap_or(UnixSeconds(i64::MIN)),
                to,
            },
        })
    }

    fn hear<'a>(
        &self,
        statement: &Statement,
        filed: UnixSeconds,
        site: &str,
        standing: &'a Standing,
    ) -> Result<HeardAs<'a>, String> {
        let (key, header) = (self.key.id(), &statement.header);
        if let Some(why) = self.deaf_to(header, filed, site) {
            return Err(why);
        }
        // The licence is the issuer's, the anchors are the checker's: it need not believe a key that it knows to be lost.
        if let Some(why) = standing.silenced(&key, filed) {
            return Err(why);
        }
        let accreditation = match self.role {
            Role::Assessor => standing.accreditation(&key, statement, filed, site)?,
            _ => None,
        };
        Ok(HeardAs { key, accreditation })
    }

    /// Whether its signature beside the issuer's is heard about a site, as far as the checker lets it speak.
    pub(crate) fn seconds(
        &self,
        header: &Header,
        filed: UnixSeconds,
        site: &str,
        standing: &Standing,
    ) -> bool {
        let (key, issued) = (self.key.id(), header.issued.0);
        (self.sites.is_empty() || self.sites.iter().any(|s| s == site))
            && self.valid.holds(issued)
            && self.valid.to.is_none_or(|end| filed < end)
            && standing.silenced(&key, filed).is_none()
            && (self.role != Role::Assessor || standing.accredits(&key, &self.name, (issued, filed), site))
    }

    /// Why the licence does not hear a statement that this key signed about a site, if so.
    fn deaf_to(&self, header: &Header, filed: UnixSeconds, site: &str) -> Option<String> {
        if header.role != self.role {
            return Some(format!(
                "is given as {}, and the licence hears {} as {}",
                header.role, self.name, self.role
            ));
        }
        if !self.sites.is_empty() && !self.sites.iter().any(|s| s == site) {
            return Some(format!(
                "is of {}, whom the licence hears about {} only",
                self.name,
                self.sites.join(", ")
            ));
        }
        let named = header.accreditation.as_ref().map(|a| a.as_str());
        if let Some(accreditation) = self.accreditation.as_deref().filter(|a| named != Some(*a)) {
            return Some(format!(
                "does not name {}, under which the licence hears {}",
                accreditation, self.name
            ));
        }
        if !self.valid.holds(header.issued.0) {
            return Some(format!(
                "was issued on {}, when the licence did not hear {}",
                header.issued.0, self.name
            ));
        }
        // What is filed after the end may have been dated back.
        if let Some(end) = self.valid.to.filter(|end| filed >= *end) {
            return Some(format!(
                "was filed on {filed}, and what the licence hears of {} had to be on file before {end}",
                self.name
            ));
        }
        // Whoever holds a key speaks in its own name: an assessor who lent itself another's would borrow its independence too.
        if header.issuer.as_str() != self.name {
            return Some(format!(
                "is given in the name of {}, and the licence knows its key as that of {}",
                header.issuer, self.name
            ));
        }
        None
    }

    pub(super) fn sentence(&self) -> String {
        let sites = match self.sites.as_slice() {
            [] => "all sites".to_owned(),
            some => some.join(", "),
        };
        let accreditation = self
            .accreditation
            .as_ref()
            .map_or_else(String::new, |a| format!(" under accreditation {a}"));
        format!(
            "Statements of {} are heard as those of the {}{accreditation}, about {sites}; key {}.",
            self.name,
            self.role,
            self.key.id()
        )
    }
}
