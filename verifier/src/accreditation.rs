//! `accreditation`: the checker's own list of who is accredited to assess what, where and until when.
//!
//! Decides: what stands on the list. Where anything does, an assessor counts only as far as it says, whatever a licence says; where nothing does, each licence
//! says who is accredited. Does not establish that an accreditation body stands behind an entry: whoever adds one has looked.

use crate::command::{CommandError, Format, Outcome, Session, table};
use crate::fleet::Anchors;
use crate::key::read_public;
use crate::recorder::{AccreditationTerms, Act, ActKind};
use serde_json::{Value, json};
use std::io::Write;
use std::path::PathBuf;
use weighbridge::document::{nearest, plain};
use weighbridge::licence::Accreditation;
use weighbridge::statement::{SecurityArea, Standard};
use weighbridge::time::{DAY_SECONDS, UnixSeconds};

/// The longest number, name or site of an entry, in bytes.
const MAX_WORD: usize = 256;

/// What about accreditations.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum AccreditationCommand {
    /// Put an accreditation on the list, in the place of the one with its number and key. From the first one on, assessors count only as far as the list says.
    /// One that was withdrawn is accredited anew from then on at the earliest, and the old entry stays.
    Add(Box<NewAccreditation>),
    /// List the accreditations.
    List {
        /// For people, or for machines.
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Say from when an accreditation no longer holds. It stays on the list, and what was filed before stands.
    Withdraw {
        /// Its number.
        number: String,
        /// From when, as a date or a time in UTC; from now on by default.
        #[arg(long, value_name = "TIME", value_parser = UnixSeconds::parse)]
        from: Option<UnixSeconds>,
    },
}

/// What an accreditation covers.
#[derive(Clone, Debug, clap::Args)]
pub struct NewAccreditation {
    /// Its number, as statements name it.
    pub number: String,
    /// Who holds it, as its statements name their issuer.
    #[arg(long, value_name = "NAME")]
    pub holder: String,
    /// The holder's public key, in PEM.
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
    /// Areas of security that it covers, with commas between them: physical, cyber, personnel, supply-chain; all by default.
    #[arg(long, value_name = "AREAS", value_delimiter = ',', value_parser = area)]
    pub areas: Vec<SecurityArea>,
    /// Standards that it covers, such as iso-27001; all by default.
    #[arg(long, value_name = "STANDARDS", value_delimiter = ',', value_parser = standard)]
    pub standards: Vec<Standard>,
    /// Sites that it covers, as licences name them; all by default.
    #[arg(long, value_name = "SITES", value_delimiter = ',')]
    pub sites: Vec<String>,
    /// From when it holds, as a date or a time in UTC.
    #[arg(long, value_name = "TIME", value_parser = UnixSeconds::parse)]
    pub valid_from: UnixSeconds,
    /// Until when, that day included; without an end by default.
    #[arg(long, value_name = "TIME", value_parser = until)]
    pub valid_to: Option<UnixSeconds>,
}

fn area(text: &str) -> Result<SecurityArea, String> {
    one_of(text, SecurityArea::ALL, SecurityArea::text)
}

fn standard(text: &str) -> Result<Standard, String> {
    one_of(text, Standard::ALL, Standard::text)
}

fn one_of<T: Copy>(text: &str, all: &'static [T], name: fn(T) -> &'static str) -> Result<T, String> {
    let names = || all.iter().map(|t| name(*t));
    let found = all.iter().copied().find(|t| name(*t) == text);
    found.ok_or_else(|| match nearest(text, names()) {
        Some(right) => format!("did you mean `{right}`?"),
        None => format!("must be one of {}", names().collect::<Vec<_>>().join(", ")),
    })
}

/// The first second after a time; of a day, after the day.
fn until(text: &str) -> Result<UnixSeconds, String> {
    let at = UnixSeconds::parse(text).map_err(|e| e.to_string())?;
    Ok(if text.len() == 10 {
        at.plus(DAY_SECONDS)
    } else {
        at
    })
}

fn refused(why: String) -> CommandError {
    CommandError::Refused { why }
}

impl NewAccreditation {
    fn read(&self) -> Result<Accreditation, CommandError> {
        let words = [("the number", &self.number), ("--holder", &self.holder)];
        let sites = self.sites.iter().map(|s| ("--sites", s));
        for (what, text) in words.into_iter().chain(sites) {
            if text.trim().is_empty() || text.len() > MAX_WORD {
                return Err(refused(format!(
                    "{what} must have 1 to {MAX_WORD} bytes, not all of them spaces"
                )));
            }
            plain(text, false).map_err(|why| refused(format!("{what} {why}")))?;
        }
        if self.valid_to.is_some_and(|to| to <= self.valid_from) {
            return Err(refused("--valid-to lies before --valid-from".to_owned()));
        }
        Ok(Accreditation {
            number: self.number.clone(),
            holder: self.holder.clone(),
            key: read_public(&self.key)?.id(),
            areas: self.areas.clone(),
            standards: self.standards.clone(),
            sites: self.sites.clone(),
            valid_from: self.valid_from,
            valid_to: self.valid_to,
            withdrawn: None,
        })
    }
}

fn terms(listed: &Accreditation) -> AccreditationTerms {
    AccreditationTerms {
        number: listed.number.clone(),
        areas: listed.areas.iter().map(ToString::to_string).collect(),
        standards: listed.standards.iter().map(ToString::to_string).collect(),
        sites: listed.sites.clone(),
        valid_from: Some(listed.valid_from),
        valid_to: listed.valid_to,
    }
}

impl Session {
    pub(crate) async fn accreditation(&self, command: AccreditationCommand, out: &mut dyn Write) -> Outcome {
        match command {
            AccreditationCommand::Add(new) => {
                let listed = new.read()?;
                self.is_new(&listed)?;
                let mut act = Act::new(ActKind::Accredit, self.clock.now());
                act.key = Some(listed.key);
                act.issuer = Some(listed.holder.clone());
                act.accreditation = Some(terms(&listed));
                self.anchor(&act).await?;
                let said = format!(
                    "accreditation {} of {} is on the list; it covers {}",
                    listed.number,
                    listed.holder,
                    listed.scope()
                );
                Anchors::change(&self.config.state_dir, |a| a.accredit(listed))?;
                writeln!(out, "{said}")?;
            }
            AccreditationCommand::Withdraw { number, from } => self.withdraw(&number, from, out).await?,
            AccreditationCommand::List { format } => {
                let anchors = Anchors::read(&self.config.state_dir)?;
                list(anchors.accreditations(), format, out)?;
            }
        }
        Ok(true)
    }

    /// Demands that an accreditation does not lift the withdrawal of another of its number.
    fn is_new(&self, listed: &Accreditation) -> Result<(), CommandError> {
        let anchors = Anchors::read(&self.config.state_dir)?;
        let withdrawn = anchors.withdrawal(&listed.number);
        match withdrawn.filter(|from| listed.valid_from < *from) {
            None => Ok(()),
            Some(from) => Err(refused(format!(
                "accreditation {} was withdrawn from {from} on, which is final: one that was accredited anew holds from a later time, so give --valid-from {from} or later",
                listed.number
            ))),
        }
    }

    async fn withdraw(
        &self,
        number: &str,
        from: Option<UnixSeconds>,
        out: &mut dyn Write,
    ) -> Result<(), CommandError> {
        let (anchors, now) = (Anchors::read(&self.config.state_dir)?, self.clock.now());
        let known = anchors.accreditations().iter();
        let known: Vec<_> = known.filter(|a| a.number == number).collect();
        let Some(listed) = known.last() else {
            return Err(refused(format!(
                "the list holds no accreditation `{}`; `weighbridge-verifier accreditation list` shows those that there are",
                number
                    .chars()
                    .filter(|c| !c.is_control())
                    .take(64)
                    .collect::<String>()
            )));
        };
        if let Some(from) = from.filter(|from| *from > now) {
            return Err(refused(format!(
                "an accreditation holds until it is withdrawn, so that cannot count from {from}: the verifier's time is {now}; give that or an earlier time, or none"
            )));
        }
        let from = from.unwrap_or_else(|| now.plus(1));
        let already = |a: &&Accreditation| a.withdrawn.is_some_and(|w| w <= from);
        if let Some(earlier) = anchors.withdrawal(number).filter(|_| known.iter().all(already)) {
            return Err(refused(format!(
                "accreditation {number} of {} was withdrawn from {earlier} on already; only an earlier time changes that",
                listed.holder
            )));
        }
        let mut act = Act::new(ActKind::Withdraw, now);
        act.issuer = Some(listed.holder.clone());
        act.from = Some(from);
        act.accreditation = Some(AccreditationTerms {
            number: number.to_owned(),
            areas: Vec::new(),
            standards: Vec::new(),
            sites: Vec::new(),
            valid_from: None,
            valid_to: None,
        });
        self.anchor(&act).await?;
        Anchors::change(&self.config.state_dir, |a| a.withdraw(number, from))?;
        writeln!(
            out,
            "accreditation {number} of {} is withdrawn from {from} on; what was filed before stands",
            listed.holder
        )?;
        Ok(())
    }
}

fn list(all: &[Accreditation], format: Format, out: &mut dyn Write) -> Result<(), CommandError> {
    match format {
        Format::Json => {
            let all: Vec<Value> = all.iter().map(value).collect();
            writeln!(out, "{:#}", json!({ "accreditations": all }))?;
        }
        Format::Text if all.is_empty() => writeln!(
            out,
            "the list is empty, and each licence says who is accredited: `weighbridge-verifier accreditation add` puts an accreditation on it"
        )?,
        Format::Text => {
            let mut rows = table(["number", "holder", "covers", "sites", "from", "until"]);
            for listed in all {
                rows.add_row([
                    listed.number.clone(),
                    listed.holder.clone(),
                    listed.scope(),
                    match listed.sites.as_slice() {
                        [] => "all".to_owned(),
                        some => some.join(", "),
                    },
                    listed.valid_from.to_string(),
                    listed.end().map_or_else(|| "-".to_owned(), |t| t.to_string()),
                ]);
            }
            writeln!(out, "{}", rows.trim_fmt())?;
        }
    }
    Ok(())
}

fn value(listed: &Accreditation) -> Value {
    json!({
        "number": listed.number,
        "holder": listed.holder,
        "key": listed.key,
        "areas": listed.areas,
        "standards": listed.standards,
        "sites": listed.sites,
        "valid_from": listed.valid_from,
        "valid_to": listed.valid_to,
        "withdrawn": listed.withdrawn,
    })
}
