//! Whose statements a licence has its readers hear.

use super::Licence;
use crate::crypto::PublicKey;
use crate::document::{DayEnd, Field, Section, Zone};
use crate::id::Digest;
use crate::rules::{Validity, coded};
use crate::statement::{Header, Role};
use crate::time::UnixSeconds;
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
    /// Between which times a statement of it must have been issued.
    pub valid: Validity,
}

impl Licence {
    /// Those of the keys that signed a statement whom the licence hears about a site.
    ///
    /// # Errors
    /// Why it hears none; this follows a statement's name in a sentence.
    pub fn hears(&self, header: &Header, signed: &[Digest], site: &str) -> Result<Vec<Digest>, String> {
        let (mut heard, mut why) = (Vec::new(), None);
        for signer in self.signers.iter().filter(|s| signed.contains(&s.key.id())) {
            match signer.deaf_to(header, site) {
                None => heard.push(signer.key.id()),
                reason => why = why.or(reason),
            }
        }
        if heard.is_empty() {
            return Err(why.unwrap_or_else(|| "is signed by nobody whom the licence hears".to_owned()));
        }
        Ok(heard)
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

    /// Why a statement that this key signed is not heard about a site, if so; the answer follows a statement's name in a sentence.
    #[must_use]
    pub fn deaf_to(&self, header: &Header, site: &str) -> Option<String> {
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
