//! `node`: lists, shows, approves and revokes nodes.

mod evidence;
mod observed;

use crate::command::{CommandError, Format, Outcome, Session, table};
use crate::fleet::{Copy, Kept};
use crate::recorder::{Act, ActKind};
use crate::store::{DeliveredRow, HeldReport, NodeRow, RefusalRow, token_id};
use clap::builder::NonEmptyStringValueParser;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::Write;
use weighbridge::conditions::DaysAsked;
use weighbridge::id::NodeId;
use weighbridge::time::UnixSeconds;

/// What about nodes.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum NodeCommand {
    /// List all nodes.
    List {
        /// Only those of one site.
        #[arg(long)]
        site: Option<String>,
        /// For people, or for machines.
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Show one node.
    Show {
        /// The node's id, or the first digits of it.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        node: String,
        /// For people, or for machines.
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Let a pending node report.
    Approve {
        /// The node's id, or the first digits of it.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        node: String,
    },
    /// Take the right to report from a node, for ever.
    Revoke {
        /// The node's id, or the first digits of it.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        node: String,
        /// From when its reports no longer count, as a date or a time in UTC that has come; by default, those held by now count.
        #[arg(long, value_name = "TIME", value_parser = UnixSeconds::parse)]
        from: Option<UnixSeconds>,
    },
}

impl Session {
    pub(crate) async fn node(&self, command: NodeCommand, out: &mut dyn Write) -> Outcome {
        match command {
            NodeCommand::List { site, format } => {
                let mut nodes = self.store.nodes().await?;
                nodes.retain(|n| site.as_ref().is_none_or(|s| n.site == *s));
                if let (Format::Text, []) = (format, nodes.as_slice()) {
                    let place = site
                        .as_ref()
                        .map_or_else(String::new, |s| format!(" at site {s}"));
                    writeln!(
                        out,
                        "no node is enrolled{place}: `weighbridge-verifier token new` makes a token for one"
                    )?;
                    return Ok(true);
                }
                let delivered = self.store.delivered().await?;
                list(&nodes, &delivered, format, out)
            }
            NodeCommand::Show { node, format } => self.show(&self.named(&node).await?, format, out).await,
            NodeCommand::Approve { node } => {
                let node = self.named(&node).await?.id;
                self.approve(node).await?;
                writeln!(out, "node {node} is approved")?;
                Ok(true)
            }
            NodeCommand::Revoke { node, from } => {
                let node = self.named(&node).await?.id;
                self.revoke(node, from).await?;
                writeln!(out, "node {node} is revoked")?;
                Ok(true)
            }
        }
    }

    /// The one node whose id begins with these digits.
    async fn named(&self, digits: &str) -> Result<NodeRow, CommandError> {
        let mut nodes = self.store.nodes().await?;
        nodes.retain(|n| n.id.to_string().starts_with(&digits.to_lowercase()));
        match nodes.pop() {
            Some(node) if nodes.is_empty() => Ok(node),
            Some(node) => Err(CommandError::ManyNodes {
                digits: digits.to_owned(),
                nodes: nodes.into_iter().chain([node]).map(|n| n.id).collect(),
            }),
            None => Err(CommandError::NoNode {
                digits: digits.to_owned(),
            }),
        }
    }

    /// Approves a node.
    ///
    /// # Errors
    /// [`CommandError`].
    pub async fn approve(&self, node: NodeId) -> Result<(), CommandError> {
        let mut act = Act::new(ActKind::Approve, self.clock.now());
        act.node = Some(node);
        self.carry_out(&act).await
    }

    /// Revokes a node, from now or from an earlier time.
    ///
    /// # Errors
    /// [`CommandError`].
    pub async fn revoke(&self, node: NodeId, from: Option<UnixSeconds>) -> Result<(), CommandError> {
        let mut act = Act::new(ActKind::Revoke, self.clock.now());
        act.node = Some(node);
        act.from = from;
        self.carry_out(&act).await
    }

    async fn show(&self, node: &NodeRow, format: Format, out: &mut dyn Write) -> Outcome {
        let last = self.store.latest(node.id).await?;
        let refusals = self.store.refusals(node.id).await?;
        let copy = last
            .first()
            .map(|held| Copy::of(held.body.as_deref(), &held.digest, node));
        let kept = Kept::read(&*self.store, node).await?;
        let record = kept.complete(&*self.store, node, &DaysAsked::all()).await?;
        match format {
            Format::Json => {
                let mut value = described(node);
                if let Some(object) = value.as_object_mut() {
                    if let Some(report) = last.first() {
                        object.insert(
                            "latest".to_owned(),
                            json!({ "chain": report.chain, "sequence": report.sequence, "digest": report.digest,
                                    "received": report.at, "leaf": report.leaf }),
                        );
                    }
                    let refusals: Vec<Value> = refusals
                        .iter()
                        .map(|r| json!({ "code": r.code, "count": r.count, "first": r.first_at, "last": r.last_at }))
                        .collect();
                    object.insert("refusals".to_owned(), Value::Array(refusals));
                    object.insert("hardware_evidence".to_owned(), evidence::described(&record)?);
                    object.insert("observations".to_owned(), observed::described(copy.as_ref()));
                }
                writeln!(out, "{value:#}")?;
            }
            Format::Text => {
                in_words(node, last.first(), &refusals, out)?;
                observed::in_words(copy.as_ref(), out)?;
                evidence::in_words(&record, out)?;
            }
        }
        Ok(true)
    }
}

fn described(node: &NodeRow) -> Value {
    json!({
        "node": node.id,
        "site": node.site,
        "state": node.state,
        "key": node.key.id(),
        "key_protection": node.key_protection,
        "token": token_id(&node.token),
        "predecessor": node.predecessor,
        "serials": node.serials,
        "enrolled": node.enrolled_at,
        "approved": node.approved_at,
        "revoked": node.revoked_at,
        "revoked_from": node.revoked_from,
    })
}

/// A node for people: what is not there is left out.
fn in_words(
    node: &NodeRow,
    latest: Option<&HeldReport>,
    refusals: &[RefusalRow],
    out: &mut dyn Write,
) -> std::io::Result<()> {
    let mut line = |name: &str, value: &str| writeln!(out, "{name:<12} {value}");
    line("node", &node.id.to_string())?;
    line("site", &node.site)?;
    line("state", node.state.text())?;
    line("key", &node.key.id().to_string())?;
    line(
        "key held in",
        &format!("{}, as the node says", node.key_protection),
    )?;
    if let Some(before) = node.predecessor {
        line("was before", &before.to_string())?;
    }
    if !node.serials.is_empty() {
        line("serials", &node.serials.join(", "))?;
    }
    line("enrolled", &node.enrolled_at.to_string())?;
    if let Some(at) = node.approved_at {
        line("approved", &at.to_string())?;
    }
    if let Some(at) = node.revoked_at {
        let from = node.revoked_from.unwrap_or(at);
        line(
            "revoked",
            &format!("{at}; its reports do not count from {from} on"),
        )?;
    }
    match latest {
        Some(r) => {
            line(
                "last report",
                &format!("number {} of chain {}", r.sequence, r.chain),
            )?;
            line("", &format!("received {}, leaf {} of the ledger", r.at, r.leaf))?;
            line("", &format!("SHA-256 {}", r.digest))?;
        }
        None => line("last report", "none")?,
    }
    for r in refusals {
        let often = format!("{} or more times, {} to {}", r.count, r.first_at, r.last_at);
        line("refused", &format!("{}, {often}", r.code))?;
    }
    Ok(())
}

fn list(nodes: &[NodeRow], delivered: &[DeliveredRow], format: Format, out: &mut dyn Write) -> Outcome {
    let by_node: HashMap<NodeId, &DeliveredRow> = delivered.iter().map(|d| (d.node, d)).collect();
    match format {
        Format::Json => {
            let all: Vec<Value> = nodes
                .iter()
                .map(|n| {
                    let (mut value, row) = (described(n), by_node.get(&n.id));
                    if let Some(object) = value.as_object_mut() {
                        object.insert("reports".to_owned(), json!(row.map_or(0, |d| d.reports)));
                        object.insert("last_received".to_owned(), json!(row.map(|d| d.last_at)));
                    }
                    value
                })
                .collect();
            writeln!(out, "{:#}", json!({ "nodes": all }))?;
        }
        Format::Text => {
            let mut rows = table([
                "node",
                "site",
                "state",
                "key",
                "enrolled",
                "reports",
                "last received",
            ]);
            for n in nodes {
                let row = by_node.get(&n.id);
                rows.add_row([
                    n.id.to_string(),
                    n.site.clone(),
                    n.state.to_string(),
                    n.key_protection.to_string(),
                    n.enrolled_at.to_string(),
                    row.map_or(0, |d| d.reports).to_string(),
                    row.map_or_else(|| "never".to_owned(), |d| d.last_at.to_string()),
                ]);
            }
            writeln!(out, "{rows}")?;
        }
    }
    Ok(true)
}
