//! `rules`: lists and shows rule sets, finds mistakes in one, signs it and loads it.
//!
//! Decides: which rule sets are at hand. Without a verifier these are the ones that the program carries.

use crate::cause::with_causes;
use crate::command::{CommandError, Format, Outcome, Session};
use crate::config::Config;
use crate::fleet::{Anchors, RuleSets};
use crate::identity::replace;
use crate::key::{Keys, borrowed};
use crate::licence::{is_envelope, read, signed};
use crate::owner;
use crate::recorder::{Act, ActKind, KeyRole};
use crate::store::SqliteStore;
use serde::Serialize;
use serde_json::{Value, json};
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use weighbridge::cbor::Bytes;
use weighbridge::crypto::dsse;
use weighbridge::document::{Mistakes, nearest};
use weighbridge::id::Digest;
use weighbridge::rules::{Base, Citation, PAYLOAD_TYPE, Profile, RuleBook, RuleSet, RuleState, Validity};
use weighbridge::time::UnixSeconds;

/// What about rule sets.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum RulesCommand {
    /// List the rule sets at hand: those that this program carries, and those that were loaded.
    List {
        /// For people, or for machines.
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Show all that a rule set says, with the source of each number.
    Show {
        /// Its id, as `rules list` shows it.
        id: String,
        /// Not the newest version, but this one.
        #[arg(long, value_name = "NUMBER")]
        revision: Option<u64>,
        /// Write its file, byte for byte, such as to sign it or to build upon it; its SHA-256 is the rule set's.
        #[arg(long, conflicts_with = "format")]
        toml: bool,
        /// For people, or for machines.
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// List the mistakes in a rule set, each with its line.
    Lint {
        /// The rule set, in TOML or signed; of a signed one the signature is checked first.
        file: PathBuf,
        /// A rule set on which it rests, in TOML, where that is not at hand; may be given often.
        #[arg(long = "base", value_name = "FILE")]
        bases: Vec<PathBuf>,
        /// For people, or for machines.
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Sign a rule set: exactly its bytes go into FILE.dsse.
    Sign {
        /// The rule set, in TOML.
        file: PathBuf,
        /// The signer's private key, as `key new` makes it, or the URI of one in a token (`pkcs11:token=…;object=…`); may be given often.
        #[arg(long = "key", value_name = "KEY", required = true)]
        keys: Vec<PathBuf>,
        /// A rule set on which it rests, in TOML, where that is not at hand; may be given often.
        #[arg(long = "base", value_name = "FILE")]
        bases: Vec<PathBuf>,
    },
    /// Load a signed rule set into this verifier; a newer version counts before the older.
    Load {
        /// The signed rule set, as `rules sign` makes it.
        file: PathBuf,
    },
}

/// A rule set, as far as it must be named.
#[derive(Clone, Debug, Serialize)]
pub struct RuleSetUsed {
    /// Its id.
    pub id: String,
    /// Its version.
    pub version: u64,
    /// Its name in words.
    pub title: String,
    /// How it stands.
    pub state: RuleState,
    /// From when it holds as a whole; absent where it names no day.
    pub valid_from: Option<UnixSeconds>,
    /// The first second after it.
    pub valid_to: Option<UnixSeconds>,
    /// What took its place.
    pub superseded_by: Option<String>,
    /// The rule set on which it rests.
    pub base: Option<Base>,
    /// The profiles that it asks for.
    pub profiles: Vec<Profile>,
    /// SHA-256 of its bytes.
    pub sha256: Digest,
    /// Who signed it, by the names under which their keys are trusted; none signed those that the program carries.
    pub signed_by: Vec<String>,
}

impl RuleSetUsed {
    /// What there is to say of it in short.
    #[must_use]
    pub fn of(rules: &RuleSet, anchors: &Anchors) -> Self {
        let names = rules.signers.iter();
        let names = names.filter_map(|k| anchors.name_for(KeyRole::Rules, k));
        Self {
            id: rules.id.clone(),
            version: rules.version,
            title: rules.title.clone(),
            state: rules.state,
            valid_from: begun(&rules.validity),
            valid_to: rules.validity.to,
            superseded_by: rules.superseded_by.clone(),
            base: rules.base.clone(),
            profiles: rules.profiles.clone(),
            sha256: rules.digest,
            signed_by: names.map(str::to_owned).collect(),
        }
    }
}

fn begun(validity: &Validity) -> Option<UnixSeconds> {
    Some(validity.from).filter(|t| t.0 != i64::MIN)
}

/// A rule set in one line: how it stands, and until when.
#[must_use]
pub(crate) fn standing(rules: &RuleSet) -> String {
    if rules.absent.is_some() {
        return format!("{}, not at hand", rules.id);
    }
    let end = rules
        .validity
        .to
        .map_or_else(String::new, |to| format!(", until just before {to}"));
    let next = rules
        .superseded_by
        .as_ref()
        .map_or_else(String::new, |next| format!(", superseded by {next}"));
    format!(
        "{}, version {} ({}{end}{next})",
        rules.id, rules.version, rules.state
    )
}

/// The rule sets at hand for whoever may look into the state directory: its own where it holds a verifier, else the carried ones.
///
/// # Errors
/// [`CommandError`].
pub(crate) async fn at_hand(config: &Config) -> Result<(Anchors, RuleSets), CommandError> {
    let anchors = Anchors::read(&config.state_dir)?;
    // Root would leave files of the database there that its owner could not write.
    if owner::check(&config.state_dir).is_err() || !config.database().exists() {
        return Ok((anchors, RuleSets::carried()));
    }
    let store = SqliteStore::open(&config.database()).await?;
    let found = RuleSets::read(&store, &anchors).await?;
    Ok((anchors, found))
}

/// Why a rule set that is named is not one, with the nearest right word.
pub(crate) fn unknown(id: &str, book: &RuleBook) -> String {
    let shown: String = id.chars().filter(|c| !c.is_control()).take(64).collect();
    let ids = book.ids();
    match nearest(&shown, ids.iter().copied()) {
        Some(right) => format!("rule set `{shown}` is not at hand: did you mean `{right}`?"),
        None => format!("rule set `{shown}` is not at hand; these are: {}", ids.join(", ")),
    }
}

/// Carries out the verbs that need no verifier.
pub(crate) async fn rules(command: RulesCommand, config: &Config, out: &mut dyn Write) -> Outcome {
    let (anchors, mut sets) = at_hand(config).await?;
    match command {
        RulesCommand::List { format } => list(&sets, &anchors, format, out),
        RulesCommand::Show {
            id,
            revision,
            toml,
            format,
        } => {
            let found = match revision {
                Some(number) => sets.book.of_version(&id, number),
                None => sets.book.newest(&id),
            };
            let Some(found) = found else {
                let why = match sets.book.newest(&id) {
                    Some(newest) => format!(
                        "rule set `{id}` is at hand in version {}, not in that one",
                        newest.version
                    ),
                    None => unknown(&id, &sets.book),
                };
                return Err(CommandError::Refused { why });
            };
            match toml {
                true => out.write_all(found.text.as_bytes())?,
                false => show(found, &anchors, format, out)?,
            }
            Ok(true)
        }
        RulesCommand::Lint { file, bases, format } => {
            rest_on(&mut sets.book, &bases)?;
            lint(&file, &sets.book, &anchors, format, out)
        }
        RulesCommand::Sign { file, keys, bases } => {
            rest_on(&mut sets.book, &bases)?;
            sign(&file, &keys, &sets.book, config, out)
        }
        RulesCommand::Load { .. } => Ok(false),
    }
}

/// Adds bases from files. Whoever rests on one names its SHA-256, so that nobody need have signed it.
fn rest_on(book: &mut RuleBook, bases: &[PathBuf]) -> Result<(), CommandError> {
    for file in bases {
        let read = book.parse(&read(file)?)?;
        book.add(read).map_err(unusable(file))?;
    }
    Ok(())
}

fn unusable(file: &Path) -> impl Fn(weighbridge::rules::RuleSetError) -> CommandError + use<'_> {
    move |source| CommandError::RuleSet {
        path: file.to_owned(),
        source,
    }
}

fn list(sets: &RuleSets, anchors: &Anchors, format: Format, out: &mut dyn Write) -> Outcome {
    let in_use = |rules: &RuleSet| {
        sets.book
            .newest(&rules.id)
            .is_some_and(|n| n.digest == rules.digest)
    };
    if format == Format::Json {
        let all: Result<Vec<Value>, _> = sets
            .book
            .all()
            .map(|rules| {
                let mut one = serde_json::to_value(RuleSetUsed::of(rules, anchors))?;
                add(&mut one, json!({ "newest": in_use(rules) }));
                Ok::<_, serde_json::Error>(one)
            })
            .collect();
        writeln!(
            out,
            "{:#}",
            json!({ "rule_sets": all?, "passed_over": sets.passed_over })
        )?;
        return Ok(true);
    }
    for rules in sets.book.all() {
        let older = if in_use(rules) {
            ""
        } else {
            "; a newer version is at hand"
        };
        writeln!(out, "{}{older}\n   {}", standing(rules), rules.title)?;
        let by = RuleSetUsed::of(rules, anchors).signed_by;
        if !by.is_empty() {
            writeln!(out, "   signed by {}", by.join(" and "))?;
        }
    }
    for why in &sets.passed_over {
        writeln!(out, "{why}")?;
    }
    Ok(true)
}

fn add(object: &mut Value, more: Value) {
    if let (Value::Object(members), Value::Object(more)) = (object, more) {
        members.extend(more);
    }
}

fn show(rules: &RuleSet, anchors: &Anchors, format: Format, out: &mut dyn Write) -> Result<(), CommandError> {
    if format == Format::Json {
        let mut all = serde_json::to_value(RuleSetUsed::of(rules, anchors))?;
        add(&mut all, contents(rules));
        writeln!(out, "{all:#}")?;
        return Ok(());
    }
    writeln!(
        out,
        "{}\n{}\nSHA-256 {}",
        standing(rules),
        rules.title,
        rules.digest
    )?;
    if let Some(base) = &rules.base {
        writeln!(
            out,
            "rests on {}, version {}, SHA-256 {}",
            base.id, base.version, base.sha256
        )?;
    }
    for (name, says) in rules.limits.said() {
        writeln!(out, " {name}: {says}")?;
        if let Some(citation) = rules.citation(name) {
            source(citation, rules.state, out)?;
        }
    }
    for list in &rules.countries {
        let members = list.members.join(" ");
        writeln!(
            out,
            " list {}, {}, {}: {members}",
            list.list,
            list.title,
            days(&list.validity)
        )?;
        source(&list.citation, rules.state, out)?;
    }
    for maker in &rules.presumed {
        let (vendor, when) = (maker.vendor, days(&maker.validity));
        writeln!(
            out,
            " presumed to break the rules, {when}: {} (PCI vendor {vendor:04x})",
            maker.name
        )?;
        source(&maker.citation, rules.state, out)?;
    }
    for rule in &rules.rules {
        writeln!(
            out,
            " rule {}, {}: {}",
            rule.rule,
            days(&rule.validity),
            rule.title
        )?;
        source(&rule.citation, rules.state, out)?;
    }
    for cap in &rules.country_caps {
        writeln!(
            out,
            " cap of one country ({}), {}: {} TPP",
            cap.scope,
            days(&cap.validity),
            cap.tpp
        )?;
        source(&cap.citation, rules.state, out)?;
    }
    for none in &rules.no_licence {
        writeln!(
            out,
            " no licence is needed, {}: {}",
            days(&none.validity),
            none.title
        )?;
        source(&none.citation, rules.state, out)?;
    }
    Ok(())
}

fn source(citation: &Citation, whole: RuleState, out: &mut dyn Write) -> std::io::Result<()> {
    let state = match citation.state {
        same if same == whole => String::new(),
        other => format!(", {other}"),
    };
    writeln!(
        out,
        "   by {} ({} confidence{state})",
        citation.source, citation.confidence
    )
}

fn days(validity: &Validity) -> String {
    match validity.to {
        Some(to) => format!("from {} until just before {to}", validity.from),
        None => format!("from {}", validity.from),
    }
}

/// What a rule set says, for machines.
fn contents(rules: &RuleSet) -> Value {
    let cited = |citation: &Citation, validity: &Validity, mut of: Value| {
        add(
            &mut of,
            json!({ "citation": citation, "valid_from": validity.from, "valid_to": validity.to }),
        );
        of
    };
    let limits = rules.limits.said();
    let limits = limits
        .iter()
        .map(|(name, says)| json!({ "limit": name, "says": says, "citation": rules.citation(name) }));
    let countries = rules.countries.iter().map(|l| {
        let of = json!({ "list": l.list, "title": l.title, "members": l.members });
        cited(&l.citation, &l.validity, of)
    });
    let presumed = rules.presumed.iter().map(|m| {
        cited(
            &m.citation,
            &m.validity,
            json!({ "vendor": m.vendor, "name": m.name }),
        )
    });
    let others = rules.rules.iter().map(|r| {
        cited(
            &r.citation,
            &r.validity,
            json!({ "rule": r.rule, "title": r.title }),
        )
    });
    let caps = rules.country_caps.iter().map(|c| {
        cited(
            &c.citation,
            &c.validity,
            json!({ "scope": c.scope, "tpp": c.tpp.0 }),
        )
    });
    let no_licence = rules.no_licence.iter().map(|n| {
        let of = json!({
            "rule": n.rule,
            "title": n.title,
            "place_in": n.place_in,
            "place_not_in": n.place_not_in,
            "parties_in": n.parties_in,
            "parties_not_in": n.parties_not_in,
            "within_year": n.within_year,
        });
        cited(&n.citation, &n.validity, of)
    });
    json!({
        "as_of": rules.as_of,
        "limits": limits.collect::<Vec<_>>(),
        "countries": countries.collect::<Vec<_>>(),
        "presumed": presumed.collect::<Vec<_>>(),
        "rules": others.collect::<Vec<_>>(),
        "country_caps": caps.collect::<Vec<_>>(),
        "no_licence": no_licence.collect::<Vec<_>>(),
    })
}

fn lint(file: &Path, book: &RuleBook, anchors: &Anchors, format: Format, out: &mut dyn Write) -> Outcome {
    let mut text = read(file)?;
    let (mut signature, mut by) = ("none", None);
    if is_envelope(&text) {
        let keys = anchors.keys_for(KeyRole::Rules);
        if keys.is_empty() {
            let (payload_type, payload) = dsse::peek(&text)?;
            if payload_type != PAYLOAD_TYPE {
                return Err(no_rule_set(file));
            }
            text = String::from_utf8(payload)
                .map_err(|_| unusable(file)(weighbridge::rules::RuleSetError::Text))?;
            signature = "not checked";
        } else {
            let verified = dsse::verify(&text, PAYLOAD_TYPE, &keys)
                .map_err(|e| unusable(file)(weighbridge::rules::RuleSetError::Untrusted(e)))?;
            let names = verified.signers().iter();
            let names = names.filter_map(|k| anchors.name_for(KeyRole::Rules, k));
            by = Some(names.map(str::to_owned).collect::<Vec<_>>());
            text = String::from_utf8(verified.payload().to_vec())
                .map_err(|_| unusable(file)(weighbridge::rules::RuleSetError::Text))?;
            signature = "checked";
        }
    }
    let parsed = book.parse(&text);
    let clash = parsed.as_ref().ok().and_then(|new| clashing(new, book));
    let sound = parsed.is_ok() && clash.is_none() && signature != "not checked";
    if format == Format::Json {
        let in_lines = parsed.as_ref().err().into_iter().flat_map(|m| &m.0);
        let mistakes: Vec<Value> = in_lines
            .map(|m| json!({ "line": m.line, "what": m.what }))
            .chain(clash.iter().map(|what| json!({ "line": null, "what": what })))
            .collect();
        let new = parsed.as_ref().ok();
        let found = json!({
            "rule_set": new.map(|r| &r.id),
            "version": new.map(|r| r.version),
            "state": new.map(|r| r.state),
            "sha256": new.map(|r| r.digest),
            "signature": signature,
            "signed_by": by,
            "mistakes": mistakes,
        });
        writeln!(out, "{found:#}")?;
        return Ok(sound);
    }
    if let Some(by) = by {
        writeln!(out, "signed by {}", by.join(" and "))?;
    } else if signature == "not checked" {
        writeln!(
            out,
            "signature not checked: no key is trusted to sign rules, so that anyone may have written this; `weighbridge-verifier key trust --for rules` adds one"
        )?;
    }
    match (&parsed, clash) {
        (Err(mistakes), _) => writeln!(out, "{mistakes}")?,
        (Ok(_), Some(what)) => writeln!(out, "{what}")?,
        (Ok(new), None) => writeln!(out, "{}: no mistakes\nSHA-256 {}", standing(new), new.digest)?,
    }
    Ok(sound)
}

fn no_rule_set(file: &Path) -> CommandError {
    CommandError::Refused {
        why: format!("{} is signed, and is no rule set", file.display()),
    }
}

/// How a rule set bears the id and version of another, if so.
fn clashing(new: &RuleSet, book: &RuleBook) -> Option<String> {
    let known = book.of_version(&new.id, new.version)?;
    (known.digest != new.digest).then(|| {
        format!(
            "rule set {}, version {}, is at hand with other content, SHA-256 {}: a change needs a new version",
            known.id, known.version, known.digest
        )
    })
}

/// Signs the file's exact bytes; a rule set with mistakes is not signed.
fn sign(file: &Path, keys: &[PathBuf], book: &RuleBook, config: &Config, out: &mut dyn Write) -> Outcome {
    let text = read(file)?;
    let new = book
        .parse(&text)
        .map_err(|m: Mistakes| unusable(file)(weighbridge::rules::RuleSetError::Mistakes(m)))?;
    if let Some(why) = clashing(&new, book) {
        return Err(CommandError::Refused { why });
    }
    let signers = Keys::new(config).signers(keys)?;
    let envelope = dsse::sign(PAYLOAD_TYPE, text.as_bytes(), &borrowed(&signers))?;
    let mut name = OsString::from(file);
    name.push(".dsse");
    let path = PathBuf::from(name);
    replace(&path, envelope.as_bytes())?;
    writeln!(out, "{}, signed in {}", standing(&new), path.display())?;
    Ok(true)
}

impl Session {
    /// Loads a signed rule set.
    ///
    /// # Errors
    /// [`CommandError`]: no key that is trusted with rule sets signed it, it has mistakes, its base is not at hand, or it bears the id and
    /// version of another.
    pub async fn load_rules(&self, envelope: &str) -> Result<RuleSet, CommandError> {
        let refused = |why: String| CommandError::Refused { why };
        let anchors = Anchors::read(&self.config.state_dir)?;
        let keys = anchors.keys_for(KeyRole::Rules);
        if keys.is_empty() {
            return Err(refused(
                "no key is trusted to sign rules yet; `weighbridge-verifier key trust FILE --as NAME --for rules` adds one"
                    .to_owned(),
            ));
        }
        let mut book = RuleSets::read(&*self.store, &anchors).await?.book;
        let new = book
            .open(envelope, &keys)
            .map_err(|e| refused(format!("the rule set cannot be used: {}", with_causes(&e))))?;
        let known = book.by_digest(&new.digest);
        if known.is_some_and(|k| new.signers.iter().all(|s| k.signers.contains(s))) {
            return Ok(new);
        }
        book.add(new.clone())
            .map_err(|e| refused(format!("the rule set cannot be used: {e}")))?;
        let mut act = Act::new(ActKind::Document, self.clock.now());
        act.document = Some(Bytes(envelope.as_bytes().to_vec()));
        self.carry_out(&act).await?;
        Ok(new)
    }

    pub(crate) async fn load_rules_from(&self, file: &Path, out: &mut dyn Write) -> Outcome {
        let new = self.load_rules(&signed(file, "rules")?).await?;
        let anchors = Anchors::read(&self.config.state_dir)?;
        let book = RuleSets::read(&*self.store, &anchors).await?.book;
        let newer = book.newest(&new.id).filter(|n| n.version > new.version);
        let beside = newer.map_or_else(String::new, |n| {
            format!(
                "; version {} stays the one to go by, and this one is for licences that pin it",
                n.version
            )
        });
        writeln!(out, "{} is loaded{beside}", standing(&new))?;
        Ok(true)
    }
}
